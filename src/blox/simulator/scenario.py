"""One seed played: a workload against a world, judged at each step, healed, and judged again."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from blox.base.clock import LoopClock
from blox.scheduler import invariants
from blox.scheduler.model import Deployment, DeploymentStatus
from blox.scheduler.reasons import sentence
from blox.settings import Settings
from blox.simulator import disturber, loop
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.oracle import Allowances, Oracle, ReportedHost, Statistics, Violation
from blox.simulator.scenario_people import People, Wanted
from blox.simulator.state_service import StateServices
from blox.simulator.workload import USER_ACTIONS, Action, Size, Step, Workload
from blox.simulator.world import Process
from blox.store.memory import MemoryData
from blox.store.sqlite import InlineExecutor, SqliteStore

HEALING = 5400.0
"""Virtual seconds from the end of the faults to the last judgement: twice the longest W, and the
longest back-off."""
_ANSWERS = 9
"""How often, in that time, the user looks whether something waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to."""

    seed: int
    violations: tuple[Violation, ...]
    tolerated: int
    """Hosts with two while an assumption was broken on purpose."""
    doubles_named: int
    """Slots that the scheduler itself found and named as having too many."""
    statistics: Statistics
    trace: str
    """A digest of everything that the cloud was asked and did: equal seeds have equal traces."""
    steps: int
    features: tuple[str, ...]
    failure: str = ""
    """Why the scheduler's process, or a service, ended by itself; "" if none did."""
    http: bool = False
    """Cluster-state-services kept the view."""

    @property
    def good(self) -> bool:
        return not self.violations and not self.failure


class Scenario:
    """Plays one seed."""

    def __init__(
        self,
        seed: int,
        *,
        size: Size | None = None,
        settings: Settings | None = None,
        broken: bool = False,
        sqlite: Path | None = None,
        http: bool = False,
        verbose: bool = False,
    ) -> None:
        """`broken`: the simulated ECS breaks E and V on purpose. `sqlite`: the store is a file here
        instead of the simulated memory; its own faults are then not simulated. `http`: the view is
        kept by cluster-state-services, which have troubles of their own."""
        self.seed = seed
        self._random = Random(seed)
        self._settings = settings or Settings()
        self.workload = Workload(Random(self._random.getrandbits(64)), size)
        switches = self.workload.switches
        if broken:
            switches = replace(switches, acceptance_overrun=300.0, read_overrun=900.0)
        self._sqlite = sqlite
        self._cloud = Cloud(
            self._random.getrandbits(64),
            assumptions=self._settings.assumptions,
            switches=switches,
            quotas=self._random.random() < 0.3,
        )
        self._verbose = verbose
        self._live = LiveCloud(self._cloud)
        self._data = MemoryData()
        self._with_queue = self._random.random() < 0.8
        self._feed: Feed | None = None
        self._clock: LoopClock | None = None
        self._process: Process | None = None
        self.services: StateServices | None = None
        if http:
            self.services = StateServices(
                self._live,
                random=Random(f"{seed}, the services"),
                settings=self._settings,
                turmoil=self.workload.healing_at,
                verbose=verbose,
            )
        self._requests: list[asyncio.Task[None]] = []
        self._failure = ""
        self._doubles = 0
        self.oracle = Oracle(
            self._cloud,
            allowances=Allowances(assumption_broken=broken),
            ours=lambda call: call.caller == "blox",
        )
        self._people = People(self.oracle, self._live, lambda: self._process, verbose=verbose)

    def play(self) -> Outcome:
        """The whole of it, under virtual time."""
        return loop.run(self._play())

    async def _play(self) -> Outcome:
        self._clock = LoopClock(self._live.epoch)
        self._live.observe(self._judge)
        if self._with_queue and self.services is None:
            self._feed = Feed(self._live, random=Random(self._random.getrandbits(64)))
        for step in self.workload.setup:
            if step.action not in USER_ACTIONS:
                self._on_cloud(step)
        if self.services is not None:
            await self.services.start()
        await self._start()
        for step in self.workload.setup:
            if step.action in USER_ACTIONS:
                await self._do(step)
        for step in self.workload.steps:
            await self._until(step.at)
            if self._verbose:
                print(step)  # noqa: T201 (asked for)
            await self._do(step)
            self._check_process()
        await self._heal()
        now = self._live.now()
        self.oracle.healed(now, reported=self._reported)
        statistics = self.oracle.statistics(now)
        trace = self._trace()
        violations = [*self.oracle.violations, *self._of_services()]
        await self._kill()
        if self.services is not None:
            await self.services.close()
        self._live.close()
        return Outcome(
            seed=self.seed,
            violations=tuple(violations),
            tolerated=len(self.oracle.tolerated),
            doubles_named=self._doubles,
            statistics=statistics,
            trace=trace,
            steps=len(self.workload.steps),
            features=tuple(self.workload.features),
            failure=self._failure,
            http=self.services is not None,
        )

    def _of_services(self) -> Iterator[Violation]:
        """What is wrong with the services, and with those who follow them."""
        if self.services is not None:
            for text in self.services.judge():
                yield Violation(promise=7, at=self._live.now(), environment="", host="", text=text)

    async def _until(self, at: float) -> None:
        wait = at - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    def _judge(self) -> None:
        self.oracle.step(self._live.now())

    def _check_process(self) -> None:
        if self._process is not None and self._process.failure is not None and not self._failure:
            self._failure = repr(self._process.failure)
        if self.services is not None and not self._failure:
            self._failure = self.services.failure

    # --- Steps ------------------------------------------------------------------------------------

    async def _do(self, step: Step) -> None:
        match step.action:
            case Action.PROCESS_KILL:
                await self._kill()
            case Action.PROCESS_RESTART:
                await self._start()
            case Action.PROCESS_PAUSE:
                self._pause(step.number("seconds"))
            case Action.CLOCK_STEP:
                assert self._clock is not None
                self._clock.step += step.number("seconds")
            case Action.STORE_FAIL | Action.STORE_MEND:
                self._store(step)
            case Action.PARTITION_BEGIN | Action.PARTITION_END:
                self._partition(step, begun=step.action is Action.PARTITION_BEGIN)
            case Action.QUEUE_FAIL | Action.QUEUE_MEND:
                if self._feed is not None:
                    self._feed.silent = step.action is Action.QUEUE_FAIL
                if self.services is not None:
                    self.services.quiet(silent=step.action is Action.QUEUE_FAIL)
            case Action.STORE_LOSE:
                await self._lose(step)
            case Action.HEAL:
                pass
            case action if action in USER_ACTIONS:
                self._request(step)
            case _:
                self._on_cloud(step)

    def _on_cloud(self, step: Step) -> None:
        disturber.apply(step, self._cloud, self._live.now())
        self._live.settle()

    async def _start(self) -> None:
        if self._process is not None:
            return
        assert self._clock is not None
        store = None
        if self._sqlite is not None:
            store = await SqliteStore.open(
                self._sqlite, clock=self._clock, executor=InlineExecutor()
            )
        process = Process(
            self._live,
            self._feed,
            random=self._random,
            settings=self._settings,
            data=self._data,
            store=store,
            clock=self._clock,
            service=None if self.services is None else self.services.line,
        )
        await process.start()
        process.scheduler.reconciler.subscribe(self._decided)
        self._process = process
        for environment in process.repository.environments():
            self._people.learn(process, environment.id)
        self.oracle.sighted(now=self._live.now())

    async def _kill(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            self._doubles += process.scheduler.state.doubles_seen
            await process.kill()
            self.oracle.blinded(now=self._live.now())

    async def _lose(self, step: Step) -> None:
        """The store is gone, and with it all that the process knew. The user begins anew."""
        await self._kill()
        self._data = MemoryData()
        if self._sqlite is not None:
            self._sqlite = self._sqlite.with_name(f"again-{self._sqlite.name}")
        again = self._people.lose_all(step.text("existing"))
        await self._start()
        for request in again:
            self._request(request)

    def _request(self, step: Step) -> None:
        self._requests.append(asyncio.create_task(self._people.do(step)))

    def _pause(self, seconds: float) -> None:
        running = asyncio.get_running_loop()
        assert isinstance(running, loop.VirtualLoop)
        self.oracle.blinded(now=self._live.now())
        running.jump(seconds)
        self._live.settle()
        self.oracle.sighted(now=self._live.now())

    def _store(self, step: Step) -> None:
        if self._process is not None:
            self._process.trouble.failing = step.action is Action.STORE_FAIL
            self._process.trouble.after_applying = bool(step.arguments.get("applied", False))

    def _partition(self, step: Step, *, begun: bool) -> None:
        if self._process is not None:
            self._process.transport.partitioned = begun
        if self.services is not None:
            self.services.line.partitioned = begun and bool(step.arguments.get("lost"))
        if begun:
            self.oracle.blinded(now=self._live.now())
        elif self._process is not None:
            self.oracle.sighted(now=self._live.now())

    # --- What blox says ---------------------------------------------------------------------------

    def _decided(self, environment_id: str) -> None:
        """A pass changed something: a deployment that is completed now must really be."""
        process = self._process
        if process is None:
            return
        self._check_memory(process, environment_id)
        self._people.learn(process, environment_id)
        for user in self._people.of(environment_id):
            newest = process.repository.newest_deployment(environment_id)
            if (
                newest is not None
                and newest.status is DeploymentStatus.COMPLETED
                and newest.id not in user.completed
                and self._is_of(process, user, newest)
            ):
                user.completed[newest.id] = None
                self.oracle.completed(user.key, now=self._live.now())

    @staticmethod
    def _is_of(process: Process, user: Wanted, deployment: Deployment) -> bool:
        """Whether the deployment is of what the user wants now; a newer wish may be on its way."""
        environment = process.repository.environment(deployment.environment_id)
        if environment is None:
            return False
        return environment.revision(deployment.revision).digest == user.content

    def _check_memory(self, process: Process, environment_id: str) -> None:
        """After a pass: does what the scheduler remembers hold together?"""
        state = process.scheduler.state
        tracked = state.tracked.get(environment_id)
        environment = process.repository.environment(environment_id)
        if tracked is None or environment is None or self._failure:
            return
        live = {
            host: sum(
                task.live and environment.digest_of(task) is not None
                for task in state.view.tasks_on(host)
            )
            for listed in tracked.board.ready
            for host in listed
            if not tracked.all_dirty and host not in tracked.dirty
        }
        problems = invariants.check(
            tracked.board,
            environment_id=environment_id,
            attempts=state.book.on_cluster(tracked.cluster_arn),
            live=live,
        )
        if problems:
            self._failure = f"{self._live.now():.3f} " + "; ".join(problems)

    def _reported(self) -> Iterator[ReportedHost]:
        process = self._process
        assert process is not None
        for user in self._people.wanted.values():
            tracked = process.scheduler.state.tracked.get(user.environment_id)
            if tracked is None:
                continue
            for host, verdict in sorted(tracked.board.verdicts.items()):
                yield ReportedHost(
                    environment=user.key,
                    host=host,
                    state=verdict.slot_class.value,
                    reason=sentence(verdict.reason, verdict.details),
                )

    # --- The end ----------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """Everything that can be mended is mended, and time passes."""
        self._cloud.faults = Faults.none()
        if self._feed is not None:
            self._feed.silent = False
        if self.services is not None:
            await self.services.mend()
        await self._start()
        process = self._process
        assert process is not None
        process.trouble.failing = False
        process.transport.partitioned = False
        self.oracle.sighted(now=self._live.now())
        await asyncio.gather(*self._requests)
        await self._people.ask_again(process)
        ends = asyncio.get_running_loop().time() + HEALING
        for _ in range(_ANSWERS):
            if self.services is not None:
                self.services.look()
            await asyncio.sleep(HEALING / _ANSWERS)
            await self._people.answer(process)
            if asyncio.get_running_loop().time() < ends - HEALING / 2:
                await self._people.ask_again(process)
        self._check_process()

    def _trace(self) -> str:
        digest = hashlib.sha256()
        for call in self._cloud.log:
            digest.update(f"{call.time!r} {call.operation} {call.params!r} {call.outcome}".encode())
        for task in self._cloud.tasks.values():
            digest.update(f"{task.arn} {task.created_at!r} {task.last_status}".encode())
        return digest.hexdigest()
