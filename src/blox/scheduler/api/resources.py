"""What a host has, what is left of it, and who holds the rest, as far as that is known.

A task's share is what its definition asks for. The definitions known here are those of the
environments, deleted ones included, and of what they adopted; of any other task only the name of
its definition is known. The ports that a host keeps for itself are those that were taken when it
registered: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerInstance.html
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from blox.ecs.model import RUNNING, Host, Task, family_of_task
from blox.http.shapes import moment
from blox.scheduler.api.bodies_hosts import ResourceBody, ShareBody, TaskThere
from blox.scheduler.api.preview import contents_of
from blox.scheduler.daemons import Ownership, ownership
from blox.scheduler.eligibility import Need, need_of
from blox.scheduler.model import Environment
from blox.scheduler.state import State

_UNITS: Final = {"cpu": "CPU units", "memory": "MiB"}


class Inventory:
    """One host: the live tasks that are known there, and what they hold."""

    def __init__(self, state: State, host: Host) -> None:
        self._host = host
        self._state = state
        self._environments = [
            e for e in state.repository.environments() if e.cluster_arn == host.cluster_arn
        ]
        former = [e for e in state.repository.tombstones() if e.cluster_arn == host.cluster_arn]
        self._needs = _Needs([*self._environments, *former])
        live = [task for task in state.view.tasks_on(host.arn) if task.live]
        self._tasks = sorted(
            live,
            key=lambda task: (self._owner(task) is None, family_of_task(task), task.arn),
        )

    def tasks(self) -> tuple[TaskThere, ...]:
        """Everything that holds a place there, daemons of environments first."""
        return tuple(self._there(task) for task in self._tasks)

    def resources(self) -> tuple[ResourceBody, ...]:
        """CPU, memory, and each port that is taken. Empty while ECS has told nothing of them."""
        return (
            *self._amount("cpu", lambda need: need.cpu),
            *self._amount("memory", lambda need: need.memory),
            *self._ports("tcp", lambda need: need.tcp),
            *self._ports("udp", lambda need: need.udp),
        )

    def _owner(self, task: Task) -> Environment | None:
        return next(
            (e for e in self._environments if ownership(task, e) is not Ownership.FOREIGN), None
        )

    def _there(self, task: Task) -> TaskThere:
        owner = self._owner(task)
        running = task.last_status == RUNNING and task.started_at is not None
        return TaskThere(
            task=task.arn,
            family=family_of_task(task),
            definition=task.definition_arn,
            group=task.group,
            status=task.last_status,
            desired_status=task.desired_status,
            health=task.health,
            started_by=task.started_by,
            environment=None if owner is None else owner.name,
            holder=self._state.holder(task) if owner is None else f"environment {owner.name}",
            since=moment(task.started_at if running else task.created_at),
        )

    def _share(self, task: Task, share: int | None) -> ShareBody:
        owner = self._owner(task)
        return ShareBody(
            task=task.arn,
            definition=task.definition_arn,
            group=task.group,
            environment=None if owner is None else owner.name,
            share=share,
        )

    def _amount(self, name: str, of: Callable[[Need], int]) -> list[ResourceBody]:
        registered, remaining = self._host.registered, self._host.remaining
        whole = None if registered is None else getattr(registered, name)
        left = None if remaining is None else getattr(remaining, name)
        if whole is None and left is None:
            return []
        found = [(task, self._needs.of(task)) for task in self._tasks]
        known = [(task, of(need)) for task, need in found if need is not None and of(need)]
        known.sort(key=lambda entry: -entry[1])
        taken = None if whole is None or left is None else whole - left
        held = [self._share(task, share) for task, share in known]
        held += [self._share(task, None) for task, need in found if need is None]
        return [
            ResourceBody(
                name=name,
                unit=_UNITS[name],
                registered=whole,
                remaining=left,
                unaccounted=None if taken is None else max(0, taken - sum(s for _, s in known)),
                holders=tuple(held),
            )
        ]

    def _ports(self, protocol: str, of: Callable[[Need], Iterable[int]]) -> list[ResourceBody]:
        registered, remaining = self._host.registered, self._host.remaining
        if remaining is None:
            return []
        name = f"ports_{protocol}"
        kept = frozenset[int]() if registered is None else getattr(registered, name)
        holders: dict[int, list[Task]] = {}
        for task in self._tasks:
            need = self._needs.of(task)
            for port in () if need is None else of(need):
                holders.setdefault(port, []).append(task)
        return [
            ResourceBody(
                name=f"port {port}/{protocol}",
                unit="",
                registered=0 if port in kept else 1,
                remaining=0,
                unaccounted=0 if port in kept or port in holders else 1,
                holders=tuple(self._share(task, 1) for task in holders.get(port, ())),
            )
            for port in sorted(getattr(remaining, name))
        ]


class _Needs:
    """What each task takes, where that is known."""

    def __init__(self, environments: Sequence[Environment]) -> None:
        self._environments = environments
        self._by_digest: dict[str, Need] = {}
        self._by_definition: dict[str, Need] = {}
        for environment in environments:
            for digest, (definition, block) in contents_of(environment).items():
                self._by_digest[digest] = need_of(definition, block)
                plain: Mapping[str, object] = {}
                self._by_definition[definition.task_definition_arn] = need_of(definition, plain)

    def of(self, task: Task) -> Need | None:
        """None: its definition is not known here."""
        for environment in self._environments:
            if ownership(task, environment) is not Ownership.FOREIGN:
                need = self._by_digest.get(environment.digest_of(task) or "")
                if need is not None:
                    return need
        return self._by_definition.get(task.definition_arn)
