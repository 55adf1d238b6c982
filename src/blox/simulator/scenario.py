"""One seed played: a workload against a world, judged at each step, healed, and judged again."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from blox.base.clock import LoopClock
from blox.base.errors import BloxError, Unavailable
from blox.scheduler import invariants
from blox.scheduler.model import Deployment, DeploymentStatus, Environment, Policy
from blox.scheduler.reasons import sentence
from blox.scheduler.service import Wish
from blox.settings import Settings
from blox.simulator import disturber, loop
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.model import HostRecord
from blox.simulator.oracle import Allowances, Oracle, ReportedHost, Statistics, Violation
from blox.simulator.workload import EVERYWHERE, Action, Size, Step, Workload
from blox.simulator.world import Process
from blox.store.memory import MemoryData
from blox.store.sqlite import InlineExecutor, SqliteStore

HEALING = 5400.0
"""Virtual seconds from the end of the faults to the last judgement: twice the longest W, and the
longest back-off."""


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
    """Why the scheduler's process ended by itself; "" if it did not."""

    @property
    def good(self) -> bool:
        return not self.violations and not self.failure


@dataclass(slots=True)
class _User:
    """What the user has of one environment."""

    key: str
    name: str
    cluster: str
    family: str
    pool: str
    max_unavailable: str
    environment_id: str = ""
    definition: str = ""
    content: str = ""
    completed: dict[str, None] = field(default_factory=dict)


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
        verbose: bool = False,
    ) -> None:
        """`broken`: the simulated ECS breaks E and V on purpose. `sqlite`: the store is a file here
        instead of the simulated memory; its own faults are then not simulated."""
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
        self._users: dict[str, _User] = {}
        self._made = 0
        self._hands = asyncio.Lock()
        self._requests: list[asyncio.Task[None]] = []
        self._failure = ""
        self._doubles = 0
        self.oracle = Oracle(
            self._cloud,
            allowances=Allowances(assumption_broken=broken),
            ours=lambda call: call.caller == "blox",
        )

    def play(self) -> Outcome:
        """The whole of it, under virtual time."""
        return loop.run(self._play())

    async def _play(self) -> Outcome:
        self._clock = LoopClock(self._live.epoch)
        self._live.observe(self._judge)
        if self._with_queue:
            self._feed = Feed(self._live, random=Random(self._random.getrandbits(64)))
        for step in self.workload.setup:
            if step.action not in _USER:
                self._on_cloud(step)
        await self._start()
        for step in self.workload.setup:
            if step.action in _USER:
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
        await self._kill()
        self._live.close()
        return Outcome(
            seed=self.seed,
            violations=tuple(self.oracle.violations),
            tolerated=len(self.oracle.tolerated),
            doubles_named=self._doubles,
            statistics=statistics,
            trace=trace,
            steps=len(self.workload.steps),
            features=tuple(self.workload.features),
            failure=self._failure,
        )

    async def _until(self, at: float) -> None:
        wait = at - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    def _judge(self) -> None:
        self.oracle.step(self._live.now())

    def _check_process(self) -> None:
        if self._process is not None and self._process.failure is not None and not self._failure:
            self._failure = repr(self._process.failure)

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
                self._partition(begun=step.action is Action.PARTITION_BEGIN)
            case Action.QUEUE_FAIL | Action.QUEUE_MEND:
                if self._feed is not None:
                    self._feed.silent = step.action is Action.QUEUE_FAIL
            case Action.HEAL:
                pass
            case action if action in _USER:
                self._requests.append(asyncio.create_task(self._user(step)))
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
        )
        await process.start()
        process.scheduler.reconciler.changed = self._decided
        self._process = process
        self.oracle.sighted(now=self._live.now())

    async def _kill(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            self._doubles += process.scheduler.state.doubles_seen
            await process.kill()
            self.oracle.blinded(now=self._live.now())

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

    def _partition(self, *, begun: bool) -> None:
        if self._process is not None:
            self._process.transport.partitioned = begun
        if begun:
            self.oracle.blinded(now=self._live.now())
        elif self._process is not None:
            self.oracle.sighted(now=self._live.now())

    # --- The user ---------------------------------------------------------------------------------

    async def _user(self, step: Step) -> None:
        """A person at work, one thing after the other: what is refused or unanswered is tried again
        until it is done, for ten minutes."""
        async with self._hands:
            await self._persist(step)

    async def _persist(self, step: Step) -> None:
        for _ in range(20):
            process = self._process
            if process is not None:
                try:
                    await self._ask(process, step)
                except BloxError as error:
                    if self._verbose:
                        print("     refused:", error.message)  # noqa: T201 (asked for)
                else:
                    return
            await asyncio.sleep(30.0)

    async def _ask(self, process: Process, step: Step) -> None:
        name = step.text("environment")
        if step.action is Action.ENVIRONMENT_CREATE:
            await self._create(process, step)
            return
        user = self._users.get(name)
        if user is None or not user.environment_id:
            return
        if step.action is Action.ENVIRONMENT_DELETE:
            if user.definition:
                self.oracle.expect_none(user.key, now=self._live.now())
            try:
                await process.service.delete(user.environment_id)
            except BloxError:
                if self._exists(process, user):
                    if user.definition:
                        self._expect(user)
                    raise
            del self._users[name]
            return
        await self._deploy(process, user, step)

    async def _create(self, process: Process, step: Step) -> None:
        name = step.text("environment")
        if name in self._users:
            return
        self._made += 1
        user = _User(
            key=f"{name}#{self._made}",
            name=name,
            cluster=step.text("cluster"),
            family=step.text("family"),
            pool=step.text("pool"),
            max_unavailable=step.text("max_unavailable") or "10%",
        )
        wish = Wish(
            task_definition=user.family,
            selector=_selector(user.pool),
            policy=Policy(max_unavailable=user.max_unavailable),
        )
        known = process.repository.named(name)
        environment = known[0] if known else await process.service.create(name, user.cluster, wish)
        user.environment_id = environment.id
        self._users[name] = user
        process.environments_changed()
        await self._deploy(process, user, step)

    async def _deploy(self, process: Process, user: _User, step: Step) -> None:
        pool = step.text("pool") if step.action is Action.MOVE_POOL else user.pool
        changed = await process.service.change(
            user.environment_id,
            Wish(task_definition=user.family, selector=_selector(pool)),
        )
        definition = changed.newest.definition_arn
        before = (user.pool, user.definition, user.content)
        user.pool, user.definition, user.content = pool, definition, changed.newest.digest
        self._expect(user)
        try:
            await process.service.deploy(
                user.environment_id, supersede=bool(step.arguments.get("supersede", True))
            )
        except Unavailable:
            # The new wish may be in force all the same; it is asked for again until it surely is.
            self._learn_deployments(process, user)
            raise
        except BloxError:
            self._learn_deployments(process, user)
            user.pool, user.definition, user.content = before
            self._expect(user)
            raise
        self._learn_deployments(process, user)

    def _exists(self, process: Process, user: _User) -> bool:
        environment = process.repository.environment(user.environment_id)
        return environment is not None and environment.deleted_at is None

    def _learn_deployments(self, process: Process, user: _User) -> None:
        environment = process.repository.environment(user.environment_id)
        if environment is not None:
            for deployment_id, digest in environment.deployed.items():
                self.oracle.deployed(user.key, deployment_id, content=digest)

    def _expect(self, user: _User) -> None:
        self.oracle.expect(
            user.key,
            now=self._live.now(),
            name=user.name,
            cluster=user.cluster,
            definition=user.definition,
            content=user.content,
            selector=_InPool(user.pool),
            max_unavailable=user.max_unavailable,
        )

    # --- What blox says ---------------------------------------------------------------------------

    def _decided(self, environment_id: str) -> None:
        """A pass changed something: a deployment that is completed now must really be."""
        process = self._process
        if process is None:
            return
        self._check_memory(process, environment_id)
        for user in self._users.values():
            if user.environment_id != environment_id:
                continue
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
    def _is_of(process: Process, user: _User, deployment: Deployment) -> bool:
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
                task.live and task.started_by in environment.deployed
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
        for user in self._users.values():
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
        await self._start()
        process = self._process
        assert process is not None
        process.trouble.failing = False
        process.transport.partitioned = False
        self.oracle.sighted(now=self._live.now())
        await asyncio.gather(*self._requests)
        for user in list(self._users.values()):
            await self._deploy_again(process, user)
        await asyncio.sleep(HEALING)
        self._check_process()

    async def _deploy_again(self, process: Process, user: _User) -> None:
        """What failed in the turmoil is asked for once more."""
        environment: Environment | None = process.repository.environment(user.environment_id)
        if environment is None:
            return
        newest = process.repository.newest_deployment(user.environment_id)
        if newest is None or newest.status is DeploymentStatus.FAILED:
            step = Step(at=0.0, action=Action.DEPLOY, arguments={"environment": user.name})
            await self._deploy(process, user, step)

    def _trace(self) -> str:
        digest = hashlib.sha256()
        for call in self._cloud.log:
            digest.update(f"{call.time!r} {call.operation} {call.params!r} {call.outcome}".encode())
        for task in self._cloud.tasks.values():
            digest.update(f"{task.arn} {task.created_at!r} {task.last_status}".encode())
        return digest.hexdigest()


_USER = frozenset(
    {Action.ENVIRONMENT_CREATE, Action.ENVIRONMENT_DELETE, Action.DEPLOY, Action.MOVE_POOL}
)


def _selector(pool: str) -> str:
    return "" if pool == EVERYWHERE else f"attribute:{disturber.POOL} == {pool}"


@dataclass(frozen=True, slots=True)
class _InPool:
    pool: str

    def __call__(self, host: HostRecord) -> bool:
        return self.pool == EVERYWHERE or host.attributes.get(disturber.POOL) == self.pool
