"""docs/api.md lists the operations that a scheduler serves: each of them, and no other."""

import re
from collections.abc import Iterator

from support.prose import ROOT
from support.running import Bench, on_a_scheduler

_BELOW = "/v2/environments/{cluster}"
_METHODS = "GET|POST|PUT|PATCH|DELETE"


def documented() -> Iterator[tuple[str, str]]:
    """Method and path of every call in a table; names of parts of a path do not matter."""
    for line in (ROOT / "docs" / "api.md").read_text().splitlines():
        if line.startswith("| `"):
            calls = line.split(" | ")[0]
            for method, path in re.findall(rf"`({_METHODS}) ([/…]\S+)`", calls):
                yield method, _plain(path.replace("…", _BELOW))


def served(bench: Bench) -> Iterator[tuple[str, str]]:
    """The same of the OpenAPI document, but probes and the like, which the text speaks of."""
    for path, item in bench.ask("GET", "/openapi.json").json["paths"].items():
        if path.startswith(("/v1/", "/v2/")):
            for method in item:
                if method.upper() in _METHODS.split("|"):
                    yield method.upper(), _plain(path)


def _plain(path: str) -> str:
    plain = re.sub(r"\{\w+\}", "{}", path.partition("?")[0].rstrip("/"))
    return re.sub(r"/(hosts|holds)/\{\}(?:/\{\})+$", r"/\1/{}", plain)  # a host by its ARN


def test_the_document_lists_what_is_served() -> None:
    found = on_a_scheduler(lambda bench: sorted(served(bench)), hosts=0)
    assert len(found) > 30
    assert sorted(set(documented())) == sorted(set(found))
