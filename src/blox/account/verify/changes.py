"""What a changed host shows: an attribute put and taken away, a drain and the way back.

Both only when they were allowed. Before a host is drained it is given an attribute, so that
whatever happens to this process, `blox verify-aws --clean-up` finds the host and puts it back.
"""

from collections.abc import Callable

from blox.account.verify.client import CannotAsk, Json, NoAnswer, objects, served, text
from blox.account.verify.definitions import DRAIN_MARK, MARK
from blox.account.verify.hosts import Host
from blox.account.verify.lab import Lab, Placed, usable
from blox.account.verify.report import Finding, judged, not_asked

STATE = "UpdateContainerInstancesState"
NOT_ALLOWED_TO_DRAIN = "no host may be drained: --allow-drain, or --drain-host HOST"
NOT_ALLOWED_ATTRIBUTES = "no attribute may be put on a host: --allow-attributes"


async def attributes_version(lab: Lab) -> list[Finding]:
    """An attribute put on the first host, then taken away."""
    question, host = "attributes-version", lab.host
    if not lab.orders.attributes:
        return [not_asked(question, NOT_ALLOWED_ATTRIBUTES)]
    await _quiet(lab, host)
    since = lab.ecs.monotonic()
    bumped = []
    told = False
    for put in (True, False):
        before = await _version(lab, host)
        if put:
            attribute = {"name": MARK, "value": lab.orders.run, "targetId": host.arn}
            asked = {"attributes": [attribute]}
            served(await lab.change("PutAttributes", asked, host, mark=MARK))
        else:
            gone = {"name": MARK, "targetId": host.arn}
            await lab.ecs.ask("DeleteAttributes", {"attributes": [gone]})
        bumped.append(await _rises(lab, host, before))
        told = told or await _told(lab, host, since, _marked)
    return [judged(question, _words(lab, bumped, told=told), same=not any(bumped) and not told)]


async def draining(lab: Lab) -> list[Finding]:
    """One host to DRAINING and back, with a StartTask in between."""
    host = lab.orders.drain
    if host is None:
        return [
            not_asked("start-on-draining", NOT_ALLOWED_TO_DRAIN),
            not_asked("draining-version", NOT_ALLOWED_TO_DRAIN),
        ]
    await _mark(lab, host)
    try:
        return await _drained(lab, host)
    finally:
        await put_back(lab, host)


async def _mark(lab: Lab, host: Host) -> None:
    """Make the host findable. Raises CannotAsk; then nothing was changed."""
    now = await _look(lab, host)
    if text(now, "status") != "ACTIVE":
        raise CannotAsk(f"{host.name} is {text(now, 'status')} by now, and is left alone")
    value = f"{lab.orders.run}:{int(lab.ecs.now())}"
    attribute = {"name": DRAIN_MARK, "value": value, "targetId": host.arn}
    asked = {"attributes": [attribute]}
    answer = await lab.change("PutAttributes", asked, host, mark=DRAIN_MARK)
    if not answer.served:
        raise CannotAsk(
            f"{host.name} is not drained without an attribute by which --clean-up finds it again, "
            f"and PutAttributes was refused: {answer.words}"
        )


async def _drained(lab: Lab, host: Host) -> list[Finding]:
    await _quiet(lab, host)
    since = lab.ecs.monotonic()
    bumped = [await _set(lab, host, "DRAINING")]
    told = await _told(lab, host, since, lambda detail: text(detail, "status") == "DRAINING")
    placed = await lab.start([host.arn])
    for arn in placed.arns:
        await lab.stop(arn)
        await lab.stopped(arn)
    await _quiet(lab, host)
    since = lab.ecs.monotonic()
    bumped.append(await _set(lab, host, "ACTIVE"))
    if told:
        told = await _told(lab, host, since, lambda detail: text(detail, "status") == "ACTIVE")
    same = all(bumped) and (lab.events is None or told)
    return [
        _started(placed),
        judged("draining-version", _words(lab, bumped, told=told), same=same),
    ]


def _started(placed: Placed) -> Finding:
    try:
        usable(placed)
    except CannotAsk as error:
        return not_asked("start-on-draining", error.message)
    return judged("start-on-draining", placed.words, same=len(placed.tasks) == 1)


async def _set(lab: Lab, host: Host, status: str) -> bool:
    """Change the host's status; whether its version rose by that."""
    before = await _version(lab, host)
    members = {"containerInstances": [host.arn], "status": status}
    if status == "DRAINING":
        answer = served(await lab.change(STATE, members, host))
    else:
        answer = await lab.ecs.ask(STATE, members)
    failures = objects(answer.body, "failures")
    if failures:
        raise CannotAsk(f"{host.name} could not be set to {status}: {text(failures[0], 'reason')}")
    return await _rises(lab, host, before)


async def put_back(lab: Lab, host: Host) -> None:
    """The host ACTIVE, then its mark away. What fails here is done at the end of the run."""
    try:
        now = await _look(lab, host)
        if text(now, "status") == "DRAINING":
            lab.seen_changed(STATE, host.name)
            await _set(lab, host, "ACTIVE")
        if lab.unsure_changes:
            return  # a late DRAINING may come yet, and the mark must be there then
        mark = {"name": DRAIN_MARK, "targetId": host.arn}
        await lab.ecs.ask("DeleteAttributes", {"attributes": [mark]})
    except (CannotAsk, NoAnswer):
        return


# --- Looking --------------------------------------------------------------------------------------


async def _look(lab: Lab, host: Host) -> Json:
    answer = await lab.ecs.ask("DescribeContainerInstances", {"containerInstances": [host.arn]})
    found = objects(answer.body, "containerInstances")
    if not found:
        raise CannotAsk(f"{host.name} is not there any more")
    return found[0]


async def _version(lab: Lab, host: Host) -> int:
    version = (await _look(lab, host)).get("version")
    if not isinstance(version, int):
        raise CannotAsk("the host's document carries no version")
    return version


async def _rises(lab: Lab, host: Host, before: int) -> bool:
    """Whether the host's version comes to be higher than that, soon."""

    async def look() -> Json:
        return {"version": await _version(lab, host)}

    seen = await lab.until(
        look, lambda now: int(now["version"]) > before, within=lab.patience.settled
    )
    return seen is not None


async def _quiet(lab: Lab, host: Host) -> None:
    """Wait until nothing changes on the host. Raises CannotAsk when something always does."""
    await lab.all_stopped()
    for _ in range(6):
        before = await _version(lab, host)
        if not await _rises(lab, host, before):
            return
    raise CannotAsk(f"{host.name} changes all the time for other reasons")


async def _told(lab: Lab, host: Host, since: float, holds: Callable[[Json], bool]) -> bool:
    """Whether an event about the host, of which this holds, came since then or comes soon."""
    log = lab.events
    if log is None:
        return False
    deadline = lab.ecs.monotonic() + lab.patience.settled
    while True:
        if any(holds(event.detail) for event in log.of_host(host.arn, since=since)):
            return True
        left = deadline - lab.ecs.monotonic()
        if left <= 0:
            return False
        await log.changed(left)


def _marked(detail: Json) -> bool:
    """Whether an event shows the host with the attribute."""
    return any(text(attribute, "name") == MARK for attribute in objects(detail, "attributes"))


def _words(lab: Lab, bumped: list[bool], *, told: bool) -> str:
    versions = {2: "version raised both ways", 1: "version raised one way", 0: "version unchanged"}
    parts = [versions[sum(bumped)]]
    if lab.events is None:
        parts.append("no queue to see events in")
    else:
        parts.append("an event came" if told else "no event came")
    return ", ".join(parts)
