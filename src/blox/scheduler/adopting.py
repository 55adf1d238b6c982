"""Taking over what runs already: adopting tasks, and what creating an environment finds there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from blox.base.errors import Conflict, Unavailable
from blox.base.ids import short_id
from blox.ecs.errors import EcsError
from blox.ecs.model import Task, TaskDefinition
from blox.ecs.wire import PROVIDERS
from blox.scheduler.adoption import Choice, Sorted, content_of, sort_out, with_adopted
from blox.scheduler.daemons import occupies
from blox.scheduler.model import Environment
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.slots import Target

FIRST_LOOK: Final = 5.0
"""Seconds that a new environment waits for its cluster to be read, to tell what runs there."""
_POLL: Final = 0.05


class Existing(StrEnum):
    """What to do about hosts that run the family already."""

    ADOPT = "adopt"
    """They become ours, as they are."""
    STOP = "stop"
    """They become ours, and the first deployment replaces them."""
    BESIDE = "beside"
    """Ours runs beside them."""
    WAIT = "wait"
    """Nobody is asked; those hosts wait as occupied."""


class Occupied(Conflict):
    """Hosts run the family already, and nobody said what that means."""

    def __init__(self, message: str, *, hosts: int, holders: Mapping[str, int]) -> None:
        super().__init__(message)
        self.hosts = hosts
        self.holders = holders
        """Who runs it, in words → hosts."""


class NotRead(Unavailable):
    """The cluster is being read; whether there is a question to ask is not known yet."""


class NoScaleIn(Conflict):
    """Daemons would keep hosts that ECS would otherwise remove."""

    def __init__(self, message: str, *, providers: Mapping[str, int]) -> None:
        super().__init__(message)
        self.providers = providers
        """Capacity provider → hosts."""


class Adopting:
    """Adopts, for every API."""

    def __init__(
        self, scheduler: Scheduler, define: Callable[[str], Awaitable[TaskDefinition]]
    ) -> None:
        """`define(arn)`: the task definition, asked of ECS."""
        self._scheduler = scheduler
        self._state = scheduler.state
        self._repository = scheduler.state.repository
        self._define = define
        self.one_at_a_time = asyncio.Lock()
        """Whose a task becomes is decided for one environment after the other."""

    # --- Adopting ---------------------------------------------------------------------------------

    def preview(
        self, environment: Environment, choice: Choice, *, all_of_them: bool = False
    ) -> Sorted:
        """What adopting would do now. Raises Conflict while the cluster is not read completely."""
        unknown = self._state.unknown(environment.cluster_arn)
        if unknown:
            raise Conflict(
                f"The cluster {short_id(environment.cluster_arn)} {unknown}; try again in a moment."
            )
        if environment.ending:
            raise Conflict(f"The environment {environment.name} is being deleted.")
        return sort_out(
            list(self._state.tasks_in(environment.cluster_arn)),
            environment,
            choice,
            owner=self._owner,
            busy=lambda host: self._busy(environment, host),
            all_of_them=all_of_them,
        )

    async def adopt(
        self, environment: Environment, choice: Choice, *, to_replace: bool = False
    ) -> Sorted:
        """Make these tasks the environment's, in one transaction: all of them or, when this raises,
        none. Nothing is started or stopped. `to_replace`: the next deployment replaces them.

        Raises Conflict, NotFound and Unavailable (their definitions cannot be read).
        """
        async with self.one_at_a_time:
            after, found = await self.with_adopted(environment, choice, to_replace=to_replace)
            if not found.adopted:
                return found
            await self._repository.replace_environment(
                after, was=environment, unless=lambda: self.overtaken(environment, found)
            )
        for task in found.adopted:
            self._state.tell(environment.id, task.host_arn, "seen", f"adopted {short_id(task.arn)}")
        self._scheduler.reconciler.track(environment.id)
        return found

    async def with_adopted(
        self, environment: Environment, choice: Choice, *, to_replace: bool = False
    ) -> tuple[Environment, Sorted]:
        """The environment as it would be with these tasks adopted; raises as `adopt` does."""
        found = self.preview(environment, choice, all_of_them=to_replace)
        if not found.adopted:
            return environment, found
        definitions = {
            arn: await self._define(arn)
            for arn in dict.fromkeys(task.definition_arn for task in found.adopted)
        }
        deployment = self._state.deployment_in_force(environment)
        contents = {
            arn: content_of(
                definition,
                environment,
                deployed=None if deployment is None else deployment.revision,
                replace=to_replace,
            )
            for arn, definition in definitions.items()
        }
        # Reading took a while: what is adopted is what can be adopted now.
        found = self.preview(environment, choice, all_of_them=to_replace)
        tasks = [task for task in found.adopted if task.definition_arn in contents]
        adopted, known = with_adopted(
            environment, [(task, contents[task.definition_arn]) for task in tasks]
        )
        after = replace(
            environment,
            adopted=adopted,
            adopted_contents=known,
            adopted_until=max([environment.adopted_until, *map(self._shown_by, tasks)]),
            lost_past=environment.lost_past or any(map(self._state.of_lost_past, tasks)),
        )
        if after.lost_past and not environment.lost_past:
            self._state.expect_late_calls()
        return after, replace(found, adopted=tuple(tasks))

    def _shown_by(self, task: Task) -> float:
        """From when on (ECS's clock) every read shows the task."""
        born = self._state.stamp() if task.created_at is None else task.created_at
        return born + self._state.settings.assumptions.read_lag

    def overtaken(self, environment: Environment, found: Sorted, *, planned: bool = False) -> str:
        """Why what was sorted out is not so any more; "" if it is. `planned`: the environment is
        not stored yet and has the tasks already."""
        for task in found.adopted:
            if not planned and self._busy(environment, task.host_arn):
                return f"Something began on the host of {short_id(task.arn)} meanwhile; try again."
            if self._owner(task):
                return f"{short_id(task.arn)} was adopted by another environment meanwhile."
        return ""

    def _owner(self, task: Task) -> str:
        owner = self._repository.owner(task)
        return "" if owner is None or owner.deleted_at is not None else owner.name

    def _busy(self, environment: Environment, host: str) -> bool:
        """Whether it has a daemon there, or a start of it, or of one that it took over from, may
        still happen there."""
        starts = [attempt.intent for attempt in self._state.book.open_on(host)]
        return any(start.deployment_id in environment.deployed for start in starts) or any(
            task.live and environment.digest_of(task) is not None
            for task in self._state.view.tasks_on(host)
        )

    # --- What a new environment finds -------------------------------------------------------------

    async def first_look(self, cluster_arn: str) -> bool:
        """Wait until the cluster has been read completely, for a while; whether it has."""
        clock = self._state.clock
        until = clock.monotonic() + FIRST_LOOK
        while True:
            if self._state.known(cluster_arn):
                return True
            if clock.monotonic() >= until:
                return False
            await asyncio.sleep(_POLL)

    def ask_about_tasks(self, environment: Environment) -> None:
        """Raises Occupied when hosts that the environment wants run its family already."""
        holders: dict[str, int] = {}
        target = Target(environment.newest)
        family = environment.newest.definition.family
        found = self.preview(environment, Choice())
        adoptable = len({task.host_arn for task in found.adopted})
        wanted = occupied = 0
        for seen in self._state.view.hosts(environment.cluster_arn):
            matches, unable = target.fits(seen.host)
            if seen.superseded_by is not None or matches is False or unable is not None:
                continue
            wanted += 1
            here = [
                task
                for task in self._state.view.tasks_on(seen.host.arn)
                if occupies(task, environment, family)
            ]
            if here:
                occupied += 1
                holder = self._state.holder(here[0])
                holders[holder] = holders.get(holder, 0) + 1
        if occupied:
            raise Occupied(
                _question(environment, holders, wanted, occupied, adoptable),
                hosts=wanted,
                holders=dict(sorted(holders.items(), key=lambda h: (-h[1], h[0]))),
            )

    async def ask_about_scale_in(self, environment: Environment) -> None:
        """Raises NoScaleIn when hosts that the environment wants belong to capacity providers whose
        idle hosts ECS removes. Where ECS does not tell, nothing is asked."""
        target = Target(environment.newest)
        hosts: dict[str, int] = {}
        for seen in self._state.view.hosts(environment.cluster_arn):
            matches, unable = target.fits(seen.host)
            provider = seen.host.capacity_provider
            if provider and matches is not False and unable is None:
                hosts[provider] = hosts.get(provider, 0) + 1
        try:
            scaling = await self._scaling(sorted(hosts))
        except EcsError:
            return
        found = {name: hosts[name] for name in scaling}
        if found:
            told = ", ".join(f"{name} ({count} hosts)" for name, count in found.items())
            raise NoScaleIn(
                f"ECS removes idle hosts of capacity provider {told}: managed scaling is on. A "
                "daemon keeps its host from being idle, so none would ever be removed. Say what is "
                "meant: --when-idle 15m (daemons leave a host on which nothing else has run for so "
                "long, and come back with the next task), or --accept-no-scale-in.",
                providers=found,
            )

    async def _scaling(self, names: Sequence[str]) -> list[str]:
        found: list[str] = []
        for first in range(0, len(names), PROVIDERS):
            chunk = names[first : first + PROVIDERS]
            read = await self._state.reads.describe_capacity_providers(chunk)
            found += [provider.name for provider in read.items if provider.scales_in]
        return sorted(found)


def _question(
    environment: Environment,
    holders: Mapping[str, int],
    wanted: int,
    occupied: int,
    adoptable: int,
) -> str:
    told = " · ".join(
        f"{count} {holder}" for holder, count in sorted(holders.items(), key=lambda h: -h[1])
    )
    family = environment.newest.definition.family
    ways = [
        "--beside (ours runs beside them)",
    ]
    if adoptable:
        ways = [
            f"--adopt ({adoptable} become ours, nothing restarts)",
            f"--stop ({adoptable} become ours, and the first deployment replaces them)",
            *ways,
        ]
    services = sorted(h for h in holders if h.startswith("service/"))
    moved = f" A service is taken over by: blox migrate {services[0]}." if services else ""
    return (
        f"{occupied} of {wanted} hosts run {family} already ({told}). Nothing was created. "
        f"Say what is meant: {', '.join(ways)}.{moved}"
    )
