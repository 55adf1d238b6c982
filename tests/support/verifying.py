"""Runs of `blox verify-aws` against a cloud: in process under virtual time, or over the wire."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from blox.account.verify.cleanup import Left, find_left
from blox.account.verify.client import APART, RawEcs
from blox.account.verify.definitions import DRAIN_MARK, FAMILY, MARK
from blox.account.verify.events import Events
from blox.account.verify.hosts import choose
from blox.account.verify.lab import Lab, Orders, Patience
from blox.account.verify.report import Answered, CleanUp, Finding, Report
from blox.account.verify.verification import Survey, Verification, clean_up, survey
from blox.base.ambient import Clock
from blox.base.clock import LoopClock
from blox.base.entropy import SeededEntropy
from blox.clusterstate.source import EventSource, M
from blox.ecs.port import Transport
from blox.settings import Assumptions
from blox.simulator import loop
from blox.simulator.client import SimTransport
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.model import Switches

RUN = "20261122-0123abcd"
OTHER_TASKS = ("payments", "search")
"""Families of tasks that somebody else runs: they must outlive every run."""


@dataclass(kw_only=True)
class Bench:
    """One cloud with a cluster `sandbox`, hosts, and tasks of others."""

    cloud: Cloud
    hosts: list[str]
    foreign: list[str] = field(default_factory=list)

    @property
    def ours(self) -> list[str]:
        """Everything of ours that is still there, in words."""
        cloud = self.cloud
        found = [
            f"task {task.arn}"
            for task in cloud.tasks.values()
            if task.started_by.startswith("blox-verify/") and task.desired_status == "RUNNING"
        ]
        found += [
            f"definition {definition.arn}"
            for definition in cloud.definitions.values()
            if definition.family == FAMILY and definition.active
        ]
        for host in cloud.hosts.values():
            found += [f"{name} on {host.arn}" for name in (MARK, DRAIN_MARK) if name in host.custom]
            found += [f"{host.arn} is {host.status}"] * (host.status != "ACTIVE")
        return found

    @property
    def others_are_well(self) -> bool:
        """Whether nobody touched the tasks of others."""
        tasks = [self.cloud.tasks[arn] for arn in self.foreign]
        return all(task.live and task.desired_status == "RUNNING" for task in tasks)


def furnish(
    cloud: Cloud, *, now: float, hosts: int = 2, external: bool = False, foreign: bool = True
) -> Bench:
    """A cluster `sandbox`: hosts, the first of them ECS Anywhere's with `external`; a task of
    somebody else on the last one."""
    cloud.add_cluster("sandbox", now=now)
    bench = Bench(cloud=cloud, hosts=[])
    for number in range(hosts):
        arn = cloud.add_host("sandbox", now=now, external=external and number == 0)
        bench.hosts.append(arn)
    if foreign:
        for family in OTHER_TASKS:
            cloud.add_definition(family, now=now, cpu=32, memory=32)
            started = cloud.start_foreign("sandbox", bench.hosts[-1], family, now=now)
            bench.foreign.append(started)
    return bench


@dataclass(kw_only=True)
class Stage:
    """One run that is about to begin."""

    bench: Bench
    verification: Verification
    lab: Lab
    live: LiveCloud | None
    told: list[Answered]
    notes: list[str]
    saved: list[Report]
    close: Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """There is no queue to close."""


async def prepare(
    bench: Bench,
    transport: Transport,
    *,
    clock: Clock,
    only: Sequence[str],
    queue: EventSource[M] | None = None,
    drain: bool = False,
    attributes: bool = False,
    temporary: bool = True,
    definition: tuple[str, str] | None = None,
    named: Sequence[str] = (),
    assumptions: Assumptions | None = None,
    patience: Patience | None = None,
    apart: float = APART,
) -> Stage:
    """Survey and orders, as the command makes them."""
    ecs = RawEcs(transport, cluster="sandbox", clock=clock, apart=apart)
    found: Survey = await survey(ecs)
    hosts = choose(found.hosts, named)
    orders = Orders(
        run=RUN,
        hosts=hosts,
        definition=None if definition is None else definition[0],
        container=None if definition is None else definition[1],
        drain=next((host for host in hosts if not host.running), None) if drain else None,
        attributes=attributes,
        temporary=temporary,
        assumptions=assumptions or Assumptions(),
        patience=patience or Patience(),
    )
    events = None
    if queue is not None:
        events = Events(queue, started_by=orders.started_by, clock=clock)
        events.start()
    lab = Lab(ecs, orders, uniform=SeededEntropy(3).uniform, events=events)
    told: list[Answered] = []
    notes: list[str] = []
    saved: list[Report] = []
    blank = Report(
        blox="1",
        run=RUN,
        cluster=found.arn,
        region=found.region,
        account=found.account,
    )
    verification = Verification(
        lab, blank, only=only, tell=told.append, note=notes.append, save=saved.append
    )
    return Stage(
        bench=bench,
        verification=verification,
        lab=lab,
        live=None,
        told=told,
        notes=notes,
        saved=saved,
        close=_nothing if events is None else events.close,
    )


async def _ordinary(stage: Stage) -> Report:
    return await stage.verification.run()


@dataclass(kw_only=True)
class Verified:
    """What came of a run."""

    report: Report
    bench: Bench
    stage: Stage

    def outcome(self, question: str) -> str:
        """`as assumed`, `differs` or `could not be asked`."""
        return self._finding(question).outcome.value

    def observed(self, question: str) -> str:
        """What was seen, or why it was not."""
        return self._finding(question).observed

    def _finding(self, question: str) -> Finding:
        found = [a.finding for a in self.report.answers if a.finding.question == question]
        assert len(found) == 1, f"{question} was answered {len(found)} times"
        return found[0]


def verified(
    *only: str,
    switches: Switches | None = None,
    faults: Faults | None = None,
    assumptions: Assumptions | None = None,
    queue: bool = False,
    hosts: int = 2,
    external: bool = False,
    seed: int = 5,
    meanwhile: Callable[[Bench], None] | None = None,
    tap: Callable[[Transport], Transport] = lambda transport: transport,
    run: Callable[[Stage], Awaitable[Report]] = _ordinary,
    **orders: Any,
) -> Verified:
    """A run under virtual time. `meanwhile` may change the cloud before it begins; `run` may do
    something else with the stage than run it to its end; `tap` may stand between."""

    async def main() -> Verified:
        clock = LoopClock()
        cloud = Cloud("verify", switches=switches, assumptions=assumptions)
        live = LiveCloud(cloud, epoch=clock.epoch)
        bench = furnish(cloud, now=live.now() - 1000.0, hosts=hosts, external=external)
        live.settle()
        if meanwhile is not None:
            meanwhile(bench)
        transport = SimTransport(live, clock=clock, random=Random(seed))
        feed = Feed(live, random=Random(6)) if queue else None
        stage = await prepare(
            bench,
            tap(transport),
            clock=clock,
            only=only,
            queue=feed,
            assumptions=assumptions,
            **orders,
        )
        stage.live = live
        cloud.faults = faults or Faults.none()
        report = await run(stage)
        await stage.close()
        live.close()
        return Verified(report=report, bench=bench, stage=stage)

    return loop.run(main())


async def swept(bench: Bench, transport: Transport, clock: Clock) -> tuple[Left, CleanUp]:
    """What `--clean-up` finds and what it makes of that."""
    ecs = RawEcs(transport, cluster="sandbox", clock=clock)
    left = await find_left(ecs)
    done = await clean_up(
        ecs, left, assumptions=Assumptions(), patience=Patience(), note=lambda _: None
    )
    return left, done
