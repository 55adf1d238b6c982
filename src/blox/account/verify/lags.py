"""Measured times: until reads show a task, until its record is made, until its event comes.

A maximum over a few tasks can break an assumption; it can never prove one.
"""

import asyncio
from collections.abc import Sequence

from blox.account.verify.client import CannotAsk, objects, text, texts
from blox.account.verify.definitions import VARIABLE
from blox.account.verify.events import overrides_of
from blox.account.verify.lab import EventLog, Lab, Sample, usable
from blox.account.verify.report import Finding, judged, not_asked

SIGHTINGS = 3
"""Looks in a row that must show a task before it counts as visible."""
_EVENT_TASKS = 10


async def read_lag(lab: Lab) -> list[Finding]:
    """A few tasks, and both kinds of reads until each shows all of them."""
    samples = await _samples(lab, lab.patience.starts)
    allowed = lab.orders.assumptions.read_lag
    listing, describing = _Misses(samples), _Misses(samples)
    give_up = max(sample.received for sample in samples) + allowed + lab.patience.visible
    while not (listing.over and describing.over) and lab.ecs.monotonic() < give_up:
        begun, shown = await _listed(lab)
        listing.take(begun, shown)
        begun, shown = await _described(lab, samples)
        describing.take(begun, shown)
        await asyncio.sleep(lab.patience.poll)
    seen = (
        f"{len(samples)} tasks: after StartTask's answer ListTasks {listing.words}, "
        f"DescribeTasks {describing.words}"
    )
    return [judged("read-lag", seen, same=max(listing.worst, describing.worst) <= allowed)]


async def _samples(lab: Lab, wanted: int) -> list[Sample]:
    """New tasks, one after the other over the hosts."""
    known = len(lab.samples)
    for number in range(wanted):
        host = lab.alike[number % len(lab.alike)]
        usable(await lab.start([host.arn]), failures_tell=False)
    samples = lab.samples[known:]
    if not samples:
        raise CannotAsk(f"not one of {wanted} tasks started")
    return samples


class _Misses:
    """What one kind of read missed: for each task, the seconds from the answer of its start to the
    begin of the last read that did not show it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._received = {sample.arn: sample.received for sample in samples}
        self._missed = dict.fromkeys(self._received, 0.0)
        self._in_a_row = dict.fromkeys(self._received, 0)

    @property
    def over(self) -> bool:
        """Whether every task was shown often enough in a row."""
        return min(self._in_a_row.values()) >= SIGHTINGS

    @property
    def worst(self) -> float:
        """0: nothing was missed."""
        return max(self._missed.values())

    @property
    def words(self) -> str:
        """The same in words."""
        return f"missed one for up to {self.worst:.1f} s" if self.worst else "missed none"

    def take(self, begun: float, shown: Sequence[str]) -> None:
        """One read that began then and showed these."""
        for arn, received in self._received.items():
            if arn in shown:
                self._in_a_row[arn] += 1
            else:
                self._in_a_row[arn] = 0
                self._missed[arn] = max(0.0, begun - received)


async def _listed(lab: Lab) -> tuple[float, list[str]]:
    """When a listing of this run's tasks began, and what it showed."""
    answer = await lab.ecs.ask("ListTasks", {"startedBy": lab.orders.started_by})
    return answer.begun, texts(answer.body, "taskArns")


async def _described(lab: Lab, samples: Sequence[Sample]) -> tuple[float, list[str]]:
    """When a description of these tasks began, and which of them it showed."""
    answer = await lab.ecs.ask("DescribeTasks", {"tasks": [sample.arn for sample in samples]})
    return answer.begun, [text(task, "taskArn") for task in objects(answer.body, "tasks")]


async def acceptance_lag(lab: Lab) -> list[Finding]:
    """createdAt of every task that was started, beside the time of its request and the Date of its
    answer. The request's time is a lower bound, so the lag is at most what is shown."""
    if not lab.samples:
        await _samples(lab, 3)
    known = [(sample, sample.created) for sample in lab.samples if sample.created is not None]
    if not known:
        raise CannotAsk("no answer carried a task's createdAt")
    allowed = lab.orders.assumptions.acceptance_lag
    from_request = max(created - sample.sent for sample, created in known)
    # A Date has whole seconds, cut off.
    from_date = max(
        (created - sample.date for sample, created in known if sample.date is not None), default=0.0
    )
    after = f"up to {from_date:.1f} s after" if from_date > 1.0 else "never after"
    seen = (
        f"{len(known)} tasks: createdAt up to {max(0.0, from_request):.1f} s after the request, "
        f"{after} the answer's Date"
    )
    return [judged("acceptance-lag", seen, same=max(from_request, from_date - 1.0) <= allowed)]


async def events(lab: Lab) -> list[Finding]:
    """The first event of each task that was started: when it came, and whether it carries what
    the overrides set."""
    log = lab.events
    if log is None:
        raise CannotAsk("no queue was named: --queue NAME, of a queue that ECS's events go into")
    if not lab.samples:
        await _samples(lab, 3)
    samples = lab.samples[:_EVENT_TASKS]
    deadline = max(sample.received for sample in samples) + lab.patience.event
    while lab.ecs.monotonic() < deadline and not all(log.of_task(s.arn) for s in samples):
        await log.changed(min(1.0, max(0.0, deadline - lab.ecs.monotonic())))
    return [_latency(lab, log, samples), _overrides(log, samples)]


def _latency(lab: Lab, log: EventLog, samples: Sequence[Sample]) -> Finding:
    came = [
        log.of_task(sample.arn)[0].received - sample.received
        for sample in samples
        if log.of_task(sample.arn)
    ]
    if not came and log.trouble is not None:
        raise CannotAsk(log.trouble)
    missing = len(samples) - len(came)
    parts = []
    if came:
        times = sorted(max(0.0, one) for one in came)
        middle, worst = times[len(times) // 2], times[-1]
        parts.append(f"{len(times)} tasks: median {middle:.1f} s, worst {worst:.1f} s")
    if missing:
        parts.append(f"no event of {missing} of them within {lab.patience.event:g} s")
    return judged("event-latency", "; ".join(parts), same=not missing)


def _overrides(log: EventLog, samples: Sequence[Sample]) -> Finding:
    found = [
        overrides_of(event, container=sample.container, variable=VARIABLE) is not None
        for sample in samples
        for event in log.of_task(sample.arn)
    ]
    if not found:
        return not_asked("event-overrides", "no event came")
    seen = f"{sum(found)} of {len(found)} events carry them"
    return judged("event-overrides", seen, same=all(found))
