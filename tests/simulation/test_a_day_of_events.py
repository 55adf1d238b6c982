"""A day of events, replayed with its time compressed: whatever the service keeps has a bound that
does not depend on how long it runs.

The view, the catalogue, its log and the stored copy are the real ones. Everything that can be
reached from them is counted: the members of every container, by where it is.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from blox.base.clock import LoopClock
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.view import View
from blox.ecs.events import HostEvent, TaskEvent, read_event
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from blox.store.memory import MemoryData, MemoryStore
from support.copying import copy_of, host_told, task_told
from support.documents import CLUSTER, PREFIX, host_arn, task_arn, task_event
from support.scriptedecs import ScriptedEcs

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
EVERY: Final = 6.0
"""Seconds between two events: a task begins, runs and ends."""
HOSTS: Final = 10
DELETIONS: Final = 100
"""That the log keeps: in a day there are many times as many."""
SAMPLED: Final = 100
"""Events between two counts: what is tidied up now and then is counted before and after."""
SLACK: Final = 60
"""Members that a container may have more, as chance has it."""


class Service:
    """What a cluster-state-service keeps, and the ECS that it reads."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.ecs = ScriptedEcs(self.clock)
        self.data = MemoryData()
        self.copy: StoredCopy = copy_of(MemoryStore(self.clock, data=self.data), self.clock)
        self.random = Random("day")
        self.began = 0
        self.running: deque[int] = deque()
        self.ended: deque[int] = deque()

    async def start(self) -> None:
        self.catalogue = await self.copy.load()
        self.catalogue.log._kept = DELETIONS
        self.view = View(
            self.ecs,
            self.clock,
            assumptions=Assumptions(),
            settings=ViewSettings(stopped_kept=600.0),
            queue=True,
            catalogue=self.catalogue,
        )
        self.ecs.put(*(host_told(number) for number in range(HOSTS)))
        await self.view.follow(CLUSTER)
        self.view.queue_flows(flowing=True)

    def happen(self) -> None:
        """One task changes: ECS shows it so from now on, and sends the event, perhaps twice."""
        self.ecs.calls.clear()
        if len(self.running) < 30 + 10 * self.random.random():
            self.began += 1
            self.running.append(self.began)
            self._told(self.began, "RUNNING", version=1)
        else:
            number = self.running.popleft()
            self.ended.append(number)
            self._told(number, "STOPPED", version=2)
        while len(self.ended) > 100:  # ECS shows an ended task for an hour or less.
            del self.ecs.tasks[task_arn(self.ended.popleft())]
        if self.random.random() < 0.05:  # Of a cluster that nobody watches.
            self._event(self.began, "RUNNING", 1, cluster=f"cluster-{self.began}")

    def _told(self, number: int, status: str, *, version: int) -> None:
        host = host_arn(number % HOSTS)
        document = task_told(number, lastStatus=status, version=version, containerInstanceArn=host)
        desired = "STOPPED" if status == "STOPPED" else "RUNNING"
        self.ecs.put(replace(document, desired_status=desired))
        for _ in range(1 + (self.random.random() < 0.1)):
            self._event(number, status, version)

    def _event(self, number: int, status: str, version: int, *, cluster: str = "demo") -> None:
        body = task_event(
            number,
            time=self.clock.wall(),
            taskArn=task_arn(number, cluster),
            clusterArn=f"{PREFIX}:cluster/{cluster}",
            containerInstanceArn=host_arn(number % HOSTS, cluster),
            lastStatus=status,
            desiredStatus=status,
            version=version,
        )
        event = read_event(body, whole=True)
        assert isinstance(event, TaskEvent | HostEvent)
        self.view.apply(event)

    def sizes(self) -> Counter[str]:
        """How many members the containers have, by where they are."""
        return counted(
            catalogue=self.catalogue, view=self.view, copy=self.copy, stored=self.data.records
        )


def counted(**roots: object) -> Counter[str]:
    """The members of everything of ours that these refer to, those of one place together; and the
    length of all texts."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    left: deque[tuple[str, object]] = deque(roots.items())
    while left:
        place, item = left.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            found[place] += len(item)
            left += [(f"{place}[]", value) for value in item.values()]
        elif isinstance(item, list | tuple | set | frozenset | deque):
            found[place] += len(item)
            left += [(f"{place}[]", value) for value in item]
        elif isinstance(item, bytes | str):
            found["texts"] += len(item)
        elif isinstance(item, Struct) or type(item).__module__.startswith("blox."):
            left += [(f"{place}.{name}", value) for name, value in members(item)]
    return found


def members(item: object) -> Iterator[tuple[str, object]]:
    """The attributes of an object."""
    names = list(getattr(item, "__dict__", ()))
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    names += getattr(item, "__struct_fields__", ())
    for name in dict.fromkeys(names):
        if hasattr(item, name):
            yield name, getattr(item, name)


def day(
    plant: Callable[[Service], None] = lambda _: None, *, seconds: float = DAY
) -> tuple[Counter[str], Counter[str], Service]:
    """The most that it keeps in the first and in the last quarter of that time."""

    async def main() -> tuple[Counter[str], Counter[str], Service]:
        service = Service()
        await service.start()
        plant(service)
        copying = asyncio.create_task(service.copy.run())
        first: Counter[str] = Counter()
        last: Counter[str] = Counter()
        for number in range(events := int(seconds / EVERY)):
            await asyncio.sleep(EVERY)
            service.happen()
            if number % SAMPLED == 0 and number < events / 4:
                first |= service.sizes()
            elif number % SAMPLED == 0 and number > 3 * events / 4:
                last |= service.sizes()
        await service.copy.settled()
        copying.cancel()
        await asyncio.wait([copying])
        await service.view.close()
        return first, last, service

    return loop.run(main())


def grown(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    """Where there is more in the end than chance explains."""
    return {
        place: (before[place], number)
        for place, number in after.items()
        if number > 1.25 * before[place] + SLACK
    }


def test_after_a_day_it_keeps_no_more_than_after_a_quarter() -> None:
    before, after, service = day()
    assert grown(before, after) == {}
    assert service.view.counters.events_applied > 0.9 * DAY / EVERY
    assert service.view.counters.sweeps_completed > DAY / 120
    # Far more was let go of than is kept anywhere; and it was there to be counted.
    assert service.began > 6000
    assert service.catalogue.log.floor > 0
    assert 100 < service.catalogue.count("task", CLUSTER) < 400
    assert 100 < before["stored"] < 400
    assert before["catalogue.log._newest"] > DELETIONS
    assert before["view._watched[].cluster.records._tasks"] > 100


def test_a_leak_anywhere_is_noticed() -> None:
    def deletions_stay(service: Service) -> None:
        service.catalogue.log._kept = 10**9

    def records_stay(service: Service) -> None:
        service.view._watched[CLUSTER].cluster._may_leave = lambda *_: False  # type: ignore[method-assign]

    def touched_stay(service: Service) -> None:
        kept: list[Any] = []
        service.view.subscribe(kept.append)
        service.view._leaked = kept  # type: ignore[attr-defined]

    for plant, where in (
        (deletions_stay, "catalogue.log._newest"),
        (records_stay, "view._watched[].cluster.records._tasks"),
        (touched_stay, "view._leaked"),
    ):
        before, after, _ = day(plant, seconds=4 * HOUR)
        assert where in grown(before, after), plant
