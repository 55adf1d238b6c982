"""The user of a played seed: one person who asks for things, persists, and tells the judge.

The judge is told before a request is sent what it may lead to, and after it was answered what came
of it. Where an answer was lost, the user looks at what blox says that it has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from blox.base.errors import BloxError, Conflict, NotFound, Unavailable
from blox.base.ids import short_id
from blox.scheduler.adopting import Existing
from blox.scheduler.adoption import Choice
from blox.scheduler.model import Confirmation, Environment, Policy
from blox.scheduler.service import Wish
from blox.simulator import disturber
from blox.simulator.live import LiveCloud
from blox.simulator.model import HostRecord
from blox.simulator.oracle import Oracle
from blox.simulator.oracle_truth import Order
from blox.simulator.workload import EVERYWHERE, Action, Step
from blox.simulator.world import Process

_TRIES, _PAUSE = 20, 30.0
"""What is refused or unanswered is tried again so often, so many seconds apart."""

_Frozen = tuple[Literal["everything", "cluster", "environment"], str, str]
"""The scope of a freeze, its target as blox names it, and as the judge does."""
_EVERYTHING: _Frozen = ("everything", "", "")


@dataclass(slots=True)
class Wanted:
    """What the user has of one environment."""

    key: str
    name: str
    cluster: str
    family: str
    pool: str
    max_unavailable: str
    existing: Existing
    when_idle: float | None
    environment_id: str = ""
    definition: str = ""
    content: str = ""
    completed: dict[str, None] = field(default_factory=dict)
    to_replace: bool = False
    """Whether the tasks adopted last are to be replaced."""
    adopted: dict[str, None] = field(default_factory=dict)
    """Ids of adopted tasks that the judge knows of."""
    confirmed: Confirmation | None = None

    @property
    def policy(self) -> Policy:
        return Policy(max_unavailable=self.max_unavailable, when_idle=self.when_idle)


class People:
    """Asks one scheduler process after the other."""

    def __init__(
        self,
        oracle: Oracle,
        live: LiveCloud,
        process: Callable[[], Process | None],
        *,
        verbose: bool,
    ) -> None:
        """`process()`: the one that runs now."""
        self.wanted: dict[str, Wanted] = {}
        """By name, those that are there."""
        self._oracle = oracle
        self._live = live
        self._process = process
        self._verbose = verbose
        self._left: list[Wanted] = []
        """Deleted ones whose tasks nobody has taken over."""
        self._orders: list[tuple[str, Order]] = []
        """By what is frozen, or the host's ARN."""
        self._made = 0
        self._hands = asyncio.Lock()
        self._asks: dict[Action, Callable[[Process, Wanted, Step], Awaitable[None]]] = {
            Action.ENVIRONMENT_DELETE: self._delete,
            Action.ENVIRONMENT_END: self._end,
            Action.DEPLOY: self._deploy,
            Action.MOVE_POOL: self._deploy,
            Action.ADOPT: self._adopt,
            Action.CONFIRM: self._confirm,
            Action.FREEZE: self._freeze,
        }

    # --- Asking -----------------------------------------------------------------------------------

    async def do(self, step: Step) -> None:
        """One thing after the other: what is refused or unanswered is tried again until it is done,
        for ten minutes."""
        async with self._hands:
            for _ in range(_TRIES):
                process = self._process()
                if process is not None:
                    try:
                        await self._ask(process, step)
                    except BloxError as error:
                        if self._verbose:
                            print("     refused:", error.message)  # noqa: T201 (asked for)
                    else:
                        return
                await asyncio.sleep(_PAUSE)

    async def _ask(self, process: Process, step: Step) -> None:
        match step.action:
            case Action.ENVIRONMENT_CREATE:
                await self._create(process, step)
            case Action.THAW:
                await self._thaw(process)
            case Action.HOLD:
                await self._hold(process, step)
            case Action.RELEASE:
                await self._release(process, step)
            case action:
                wanted = self.wanted.get(step.text("environment"))
                if wanted is not None and wanted.environment_id:
                    await self._asks[action](process, wanted, step)

    def of(self, environment_id: str) -> Iterator[Wanted]:
        """What the user has of it; nothing, if it is none of the user's any more."""
        return (w for w in self.wanted.values() if w.environment_id == environment_id)

    @property
    def _now(self) -> float:
        return self._live.now()

    # --- Environments -----------------------------------------------------------------------------

    async def _create(self, process: Process, step: Step) -> None:
        name = step.text("environment")
        if name in self.wanted:
            if not self.wanted[name].definition:
                await self._deploy(process, self.wanted[name], step)
            return
        wanted = self._new(name, step)
        environment = next((e for e in process.repository.named(name) if not e.ending), None)
        if environment is None:
            environment = await process.service.create(
                name,
                wanted.cluster,
                Wish(
                    task_definition=wanted.family,
                    selector=selector(wanted.pool),
                    policy=wanted.policy,
                ),
                existing=wanted.existing,
            )
        wanted.environment_id = environment.id
        self.wanted[name] = wanted
        self._expect(wanted)
        self._inherit(wanted)
        self.learn(process, environment.id)
        process.environments_changed()
        await self._deploy(process, wanted, step)

    def _new(self, name: str, step: Step) -> Wanted:
        self._made += 1
        existing = Existing(step.text("existing") or Existing.WAIT)
        return Wanted(
            key=f"{name}#{self._made}",
            name=name,
            cluster=step.text("cluster"),
            family=step.text("family"),
            pool=step.text("pool"),
            max_unavailable=step.text("max_unavailable") or "10%",
            existing=existing,
            when_idle=step.number("when_idle") or None,
            to_replace=existing is Existing.STOP,
        )

    def _inherit(self, wanted: Wanted) -> None:
        """What deleted ones of this name left is the new one's."""
        for left in list(self._left):
            if (left.name, left.cluster) == (wanted.name, wanted.cluster):
                self._left.remove(left)
                self._oracle.inherits(wanted.key, left.key, now=self._now)
                wanted.adopted |= left.adopted

    async def _delete(self, process: Process, wanted: Wanted, _: Step) -> None:
        self._oracle.expect_none(wanted.key, now=self._now)
        await self._gone(process, wanted, stop_tasks=False)

    async def _end(self, process: Process, wanted: Wanted, _: Step) -> None:
        self._oracle.ends(wanted.key, now=self._now)
        await self._gone(process, wanted, stop_tasks=True)

    async def _gone(self, process: Process, wanted: Wanted, *, stop_tasks: bool) -> None:
        try:
            await process.service.delete(wanted.environment_id, stop_tasks=stop_tasks)
        except BloxError:
            environment = _live(process, wanted)
            if environment is not None and not environment.ending:
                self._expect(wanted)
                raise
        del self.wanted[wanted.name]
        self._left.append(wanted)

    async def _deploy(self, process: Process, wanted: Wanted, step: Step) -> None:
        pool = step.text("pool") if step.action is Action.MOVE_POOL else wanted.pool
        changed = await process.service.change(
            wanted.environment_id, Wish(task_definition=wanted.family, selector=selector(pool))
        )
        before = (wanted.pool, wanted.definition, wanted.content)
        wanted.pool, wanted.definition = pool, changed.newest.definition_arn
        wanted.content = changed.newest.digest
        self._expect(wanted)
        try:
            await process.service.deploy(
                wanted.environment_id, supersede=bool(step.arguments.get("supersede", True))
            )
        except Unavailable:
            # The new wish may be in force all the same; it is asked for again until it surely is.
            self._learn_deployments(process, wanted)
            raise
        except BloxError:
            self._learn_deployments(process, wanted)
            wanted.pool, wanted.definition, wanted.content = before
            self._expect(wanted)
            raise
        self._learn_deployments(process, wanted)

    def _learn_deployments(self, process: Process, wanted: Wanted) -> None:
        environment = process.repository.environment(wanted.environment_id)
        if environment is not None:
            for deployment_id, digest in environment.deployed.items():
                self._oracle.deployed(wanted.key, deployment_id, content=digest)

    def _expect(self, wanted: Wanted) -> None:
        self._oracle.expect(
            wanted.key,
            now=self._now,
            name=wanted.name,
            cluster=wanted.cluster,
            definition=wanted.definition,
            content=wanted.content,
            selector=_InPool(wanted.pool),
            max_unavailable=wanted.max_unavailable,
            beside=wanted.existing is Existing.BESIDE,
            when_idle=wanted.when_idle,
        )

    # --- Adopting and confirming ------------------------------------------------------------------

    async def _adopt(self, process: Process, wanted: Wanted, step: Step) -> None:
        environment = _live(process, wanted)
        if environment is None:
            return
        share = step.number("share")
        chosen: tuple[str, ...] = ()
        if share < 1.0:
            running = [
                task.arn
                for task in self._live.cloud.tasks.values()
                if task.live and task.family == wanted.family
            ]
            chosen = tuple(running[:: max(1, round(1 / share))])
            if not chosen:
                return
        wanted.to_replace = bool(step.arguments.get("replace", False))
        try:
            await process.service.adopting.adopt(
                environment, Choice(tasks=chosen), to_replace=wanted.to_replace
            )
        finally:
            self.learn(process, wanted.environment_id)

    async def _confirm(self, process: Process, wanted: Wanted, _: Step) -> None:
        environment = _live(process, wanted)
        if environment is None:
            return
        try:
            await process.service.orders.confirm(environment)
        except Conflict:
            return  # None is held.
        finally:
            self.learn(process, wanted.environment_id)

    def learn(self, process: Process, environment_id: str) -> None:
        """Tell the judge what blox says that was adopted and confirmed, and was not told yet."""
        environment = process.repository.environment(environment_id)
        if environment is None:
            return
        for wanted in (*self.of(environment_id), *self._left):
            if wanted.environment_id != environment_id:
                continue
            new = [task for task in environment.adopted if task not in wanted.adopted]
            if new:
                wanted.adopted |= dict.fromkeys(new)
                cloud = self._live.cloud
                arns = [arn for arn in cloud.tasks if short_id(arn) in new]
                self._oracle.adopts(wanted.key, arns, to_replace=wanted.to_replace, now=self._now)
            if environment.confirmed not in (None, wanted.confirmed):
                wanted.confirmed = environment.confirmed
                self._oracle.confirmed(wanted.key, environment.confirmed.stops, now=self._now)

    # --- Freeze and hold --------------------------------------------------------------------------

    async def _freeze(self, process: Process, wanted: Wanted, step: Step) -> None:
        environment = _live(process, wanted)
        if environment is None:
            return
        frozen: dict[str, _Frozen] = {
            "everything": _EVERYTHING,
            "cluster": ("cluster", environment.cluster_arn, wanted.cluster),
            "environment": ("environment", environment.place, f"{wanted.cluster}/{wanted.name}"),
        }
        scope, theirs, told = frozen[step.text("scope")]
        # The same freeze asked for again takes the place of the former.
        self._take_back(theirs)
        freeze = await process.service.orders.freeze(
            scope, theirs, seconds=step.number("seconds"), why="a seed"
        )
        order = self._oracle.ordered(scope, told, until=freeze.until, now=self._now)
        self._orders.append((theirs, order))

    async def _thaw(self, process: Process) -> None:
        ids = tuple(freeze.id for freeze in process.service.orders.freezes())
        self._take_back(*[name for name, order in self._orders if order.scope != "host"])
        await process.service.orders.thaw(ids)

    async def _hold(self, process: Process, step: Step) -> None:
        host = disturber.record_of(self._live.cloud, step.text("machine"))
        if host is None:
            return
        self._take_back(host.arn)
        try:
            hold = await process.service.orders.hold(
                host.arn, seconds=step.number("seconds"), why="a seed"
            )
        except NotFound:
            return
        order = self._oracle.ordered("host", host.arn, until=hold.until, now=self._now)
        self._orders.append((host.arn, order))

    async def _release(self, process: Process, step: Step) -> None:
        machine = step.text("machine")
        for host in list(self._live.cloud.hosts.values()):
            if host.instance_id == machine:
                self._take_back(host.arn)
                try:
                    await process.service.orders.release(host.arn)
                except NotFound:
                    continue

    def _take_back(self, *names: str) -> None:
        """Before it is asked for: from then on the former order may bind no more."""
        for name, order in self._orders:
            if name in names:
                self._oracle.taken_back(order, now=self._now)
        self._orders = [(name, order) for name, order in self._orders if name not in names]

    # --- The end ----------------------------------------------------------------------------------

    def lose_all(self, existing: str) -> list[Step]:
        """What was stored is lost: nothing is there any more. Returns what to ask for to have it
        all again."""
        self._oracle.forgotten(now=self._now)
        self._orders, self._left = [], []
        lost, self.wanted = self.wanted, {}
        return [
            Step(
                at=0.0,
                action=Action.ENVIRONMENT_CREATE,
                arguments={
                    "environment": one.name,
                    "cluster": one.cluster,
                    "family": one.family,
                    "pool": one.pool,
                    "max_unavailable": one.max_unavailable,
                    "existing": existing,
                    "when_idle": one.when_idle or 0.0,
                },
            )
            for one in lost.values()
        ]

    async def ask_again(self, process: Process) -> None:
        """What failed in the turmoil is asked for once more."""
        for wanted in list(self.wanted.values()):
            environment = process.repository.environment(wanted.environment_id)
            newest = process.repository.newest_deployment(wanted.environment_id)
            failed = newest is None or newest.status.value == "failed"
            if environment is not None and failed:
                step = Step(at=0.0, action=Action.DEPLOY, arguments={"environment": wanted.name})
                await self.do(step)

    async def answer(self, process: Process) -> None:
        """Stops that are held for somebody to confirm are confirmed."""
        for wanted in list(self.wanted.values()):
            tracked = process.scheduler.state.tracked.get(wanted.environment_id)
            if tracked is not None and tracked.guard.held:
                step = Step(at=0.0, action=Action.CONFIRM, arguments={"environment": wanted.name})
                await self._ask(process, step)


def _live(process: Process, wanted: Wanted) -> Environment | None:
    environment = process.repository.environment(wanted.environment_id)
    if environment is None or environment.deleted_at is not None:
        return None
    return environment


def selector(pool: str) -> str:
    """The selector of an environment that wants the hosts of this pool."""
    return "" if pool == EVERYWHERE else f"attribute:{disturber.POOL} == {pool}"


@dataclass(frozen=True, slots=True)
class _InPool:
    pool: str

    def __call__(self, host: HostRecord) -> bool:
        return self.pool == EVERYWHERE or host.attributes.get(disturber.POOL) == self.pool
