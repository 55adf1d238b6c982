"""How long after an event a start call leaves: promise 3, measured in production.

An event marks the hosts that it concerns; a start call on a marked host takes the mark away and
tells its age. What is measured is the time since the *newest* event about the host, because older
ones may have nothing to do with the start. Starts that wait (for a back-off, a budget, an agent)
are in it too: the verdicts tell them apart, this number does not.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from blox.base.ambient import Clock
from blox.ecs.port import EcsActs, MarkOutcome, Permit, StartOutcome, StartRequest, StopOutcome
from blox.ecs.seen import Touched

FORGOTTEN_AFTER: Final = 60.0
"""Seconds: a start so long after an event was not caused by it."""


class StartDelays:
    """Marks of hosts, oldest first."""

    def __init__(self, clock: Clock, *, observe: Callable[[float], None]) -> None:
        """`observe` is told each delay in seconds."""
        self._clock = clock
        self._observe = observe
        self._received: float | None = None
        self._marks: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many hosts are marked."""
        return len(self._marks)

    def event_begins(self) -> None:
        """An event came and is applied now: what it touches until `event_ends` is marked."""
        self._received = self._clock.monotonic()

    def event_ends(self) -> None:
        self._received = None

    def touched(self, change: Touched) -> None:
        """The view changed: because of an event, or not."""
        if self._received is None:
            return
        for host in change.hosts:
            self._marks[host] = self._received
            self._marks.move_to_end(host)
        while self._marks and next(iter(self._marks.values())) < self._received - FORGOTTEN_AFTER:
            self._marks.popitem(last=False)

    def started(self, hosts: Iterable[str]) -> None:
        """A start call on these hosts is about to leave."""
        now = self._clock.monotonic()
        for host in hosts:
            marked = self._marks.pop(host, None)
            if marked is not None and now - marked <= FORGOTTEN_AFTER:
                self._observe(now - marked)


class TimedActs:
    """`EcsActs` that tells the delays when a start is permitted to leave."""

    def __init__(self, acts: EcsActs, delays: StartDelays) -> None:
        self._acts = acts
        self._delays = delays

    async def start_task(self, request: StartRequest, permit: Permit) -> StartOutcome:
        def timed() -> str | None:
            refusal = permit()
            if refusal is None:
                self._delays.started(request.hosts)
            return refusal

        return await self._acts.start_task(request, timed)

    async def stop_task(
        self, cluster: str, task: str, *, reason: str, permit: Permit
    ) -> StopOutcome:
        return await self._acts.stop_task(cluster, task, reason=reason, permit=permit)

    async def put_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, value: str, permit: Permit
    ) -> MarkOutcome:
        return await self._acts.put_attribute(cluster, hosts, name=name, value=value, permit=permit)

    async def delete_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, permit: Permit
    ) -> MarkOutcome:
        return await self._acts.delete_attribute(cluster, hosts, name=name, permit=permit)
