"""Every error as an answer: one sentence under /v1, problem details elsewhere."""

from collections.abc import Mapping
from typing import Final

from blox.base.errors import BloxError
from blox.http.problems import (
    NOTHING,
    PROBLEM_JSON,
    Refused,
    encode_problem,
    problem_of,
)
from blox.http.texts import PLAIN, UNSUPPORTED_FILTER, sentence_of, text_status_of

INTERNAL: Final = Refused(
    500, "blox made a mistake here. Its log has the details, at the time of this request."
)


def error_answer(
    error: BloxError, *, path: str, unsupported_filter: str = UNSUPPORTED_FILTER
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers (content type included) and body of the answer to a request for `path`.
    `unsupported_filter`: as `sentence_of` takes it."""
    headers = dict(error.headers if isinstance(error, Refused) else NOTHING)
    if speaks_text(path):
        headers["content-type"] = PLAIN
        sentence = sentence_of(error, unsupported_filter=unsupported_filter)
        return text_status_of(error), headers, sentence.encode()
    headers["content-type"] = PROBLEM_JSON
    problem = problem_of(error, instance=path)
    extra = error.extra if isinstance(error, Refused) else NOTHING
    return problem.status, headers, encode_problem(problem, extra=extra)


def speaks_text(path: str) -> bool:
    """Whether errors at this path are plain sentences."""
    first = path.lstrip("/").split("/", 1)[0]
    return first == "v1"
