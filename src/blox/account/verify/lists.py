"""What ListTasks and DescribeTasks take: filters, sizes, tokens. Reads, and two tasks to read.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
"""

import asyncio

from blox.account.verify.client import Answer, CannotAsk, Json, text, texts
from blox.account.verify.lab import Lab, own_family
from blox.account.verify.report import Finding, judged
from blox.ecs.errors import DENIED_CODES

REFUSED = "InvalidParameterException"


async def describe_101(lab: Lab) -> list[Finding]:
    """101 ids of tasks that do not exist."""
    ids = [f"{number:032x}" for number in range(1, 102)]
    answer = _counting(await lab.ecs.call("DescribeTasks", {"tasks": ids}))
    return [judged("describe-101", answer.words, same=answer.code == REFUSED)]


async def filters(lab: Lab) -> list[Finding]:
    """Filters that may not go together."""
    started_by, host = lab.orders.started_by, lab.host.arn
    findings = []
    for question, taken, members in (
        (
            "list-started-by-stopped",
            False,
            {"startedBy": started_by, "desiredStatus": "STOPPED"},
        ),
        ("list-started-by-host", False, {"startedBy": started_by, "containerInstance": host}),
        ("list-host-family", True, {"containerInstance": host, "family": own_family(lab)}),
    ):
        answer = _counting(await lab.ecs.call("ListTasks", members))
        same = answer.served if taken else answer.code == REFUSED
        findings.append(judged(question, "taken" if answer.served else answer.words, same=same))
    return findings


def _counting(answer: Answer) -> Answer:
    """An answer that is one to the question. Raises CannotAsk."""
    if answer.code in DENIED_CODES or answer.status >= 500:
        raise CannotAsk(f"{answer.operation} was refused: {answer.words}")
    return answer


async def list_tokens(lab: Lab) -> list[Finding]:
    """Two tasks, listed one a page; the first stops between the pages. Then the token again, when
    it is older."""
    ours = [await lab.one(lab.host), await lab.one(lab.host)]
    await _listed(lab, ours)
    page = await _page(lab, None)
    token, first = text(page, "nextToken"), texts(page, "taskArns")
    if not token or len(first) != 1:
        raise CannotAsk(
            f"with maxResults 1 ListTasks gave {len(first)} tasks and "
            f"{'a' if token else 'no'} token"
        )
    if first[0] not in ours:
        raise CannotAsk("another task of this run came between: the answer to its start was lost")
    other = next(arn for arn in ours if arn not in first)
    await lab.stop(first[0])
    await lab.stopped(first[0])
    rest = await _rest(lab, token)
    await asyncio.sleep(lab.patience.token)
    later = await lab.ecs.call("ListTasks", _members(lab, token))
    listed = other in rest
    seen = (
        f"the task that stayed was {'listed' if listed else 'skipped'} after another had stopped; "
        f"after {lab.patience.token:g} s the token was "
        f"{'still taken' if later.served else f'refused: {later.words}'}"
    )
    return [judged("list-tokens", seen, same=listed and later.served)]


async def _listed(lab: Lab, arns: list[str]) -> None:
    """Wait until a listing shows these. Raises CannotAsk."""

    async def look() -> Json:
        found = await lab.ecs.every("ListTasks", {"startedBy": lab.orders.started_by}, "taskArns")
        return {"taskArns": found}

    within = lab.orders.assumptions.read_lag + lab.patience.visible
    if await lab.until(look, lambda page: set(arns) <= set(texts(page, "taskArns")), within=within):
        return
    raise CannotAsk(f"its tasks were not listed after {within:g} s")


def _members(lab: Lab, token: str | None) -> dict[str, object]:
    more = {} if token is None else {"nextToken": token}
    return {"startedBy": lab.orders.started_by, "maxResults": 1, **more}


async def _page(lab: Lab, token: str | None) -> Json:
    return (await lab.ecs.ask("ListTasks", _members(lab, token))).body


async def _rest(lab: Lab, token: str) -> list[str]:
    """What the pages behind a token list."""
    found: list[str] = []
    following: str | None = token
    while following:
        page = await _page(lab, following)
        found += texts(page, "taskArns")
        following = text(page, "nextToken")
    return found
