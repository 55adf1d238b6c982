"""Taking back what `blox verify-aws` made: at the end of each run, and after one that was killed.

What belongs to a run is told by marks that live in the account itself, so nothing has to be
remembered here: a task by its startedBy, a task definition by a label of its container, a host by
an attribute. What carries no such mark is never touched.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from blox.account.verify.client import CannotAsk, Json, NoAnswer, RawEcs, objects, text
from blox.account.verify.definitions import DRAIN_MARK, FAMILY, MARK, PREFIX, run_of
from blox.account.verify.report import CleanUp
from blox.base.errors import BloxError
from blox.base.ids import short_id

T = TypeVar("T")

_BATCH: Final = 100
"""ARNs for one Describe."""
_MARKS: Final = (MARK, DRAIN_MARK)


class OldTask(Struct, frozen=True, kw_only=True):
    """A task that a run left running."""

    arn: str
    run: str
    group: str
    status: str
    host: str


class OldHost(Struct, frozen=True, kw_only=True):
    """A host that carries a run's attribute."""

    arn: str
    name: str
    run: str
    marks: tuple[str, ...]
    drained: bool
    """Whether a run drained it and it is DRAINING still."""
    since: float
    """When a run marked it to be drained, by ECS's clock; 0: none did."""


class Left(Struct, frozen=True, kw_only=True):
    """What one run, or all of them, left behind."""

    tasks: Sequence[OldTask] = ()
    definitions: Sequence[tuple[str, str]] = ()
    """(ARN, run)."""
    hosts: Sequence[OldHost] = ()
    problems: Sequence[str] = ()
    """What could not be looked for, and why."""

    @property
    def nothing(self) -> bool:
        return not (self.tasks or self.definitions or self.hosts)

    @property
    def runs(self) -> list[str]:
        """The ids of the runs concerned."""
        names = [task.run for task in self.tasks]
        names += [run for _, run in self.definitions]
        names += [host.run for host in self.hosts]
        return list(dict.fromkeys(names))

    @property
    def lines(self) -> list[str]:
        """Each thing with what it is."""
        found = [
            f"host {host.name}: {'DRAINING, ' if host.drained else ''}attribute "
            f"{', '.join(host.marks)} of run {host.run}"
            for host in self.hosts
        ]
        found += [
            f"task {short_id(task.arn)} ({task.status}) of run {task.run}" for task in self.tasks
        ]
        found += [f"task definition {short_id(arn)} of run {run}" for arn, run in self.definitions]
        return found


# --- Finding --------------------------------------------------------------------------------------


async def find_left(ecs: RawEcs, *, run: str | None = None, hosts: bool = True) -> Left:
    """What the run of this id, or every run, has left; `hosts`: on hosts too. Never raises for
    ECS's errors: what could not be looked for is among the problems."""
    problems: list[str] = []
    marked = await _tried(problems, "hosts", _hosts(ecs, run)) if hosts else []
    tasks = await _tried(problems, "tasks", _tasks(ecs, run))
    definitions = await _tried(problems, "task definitions", _definitions(ecs, run))
    return Left(tasks=tasks, definitions=definitions, hosts=marked, problems=problems)


async def _tried(problems: list[str], what: str, looking: Awaitable[list[T]]) -> list[T]:
    try:
        return await looking
    except (CannotAsk, NoAnswer) as error:
        problems.append(f"{what} could not be looked for: {error.message}")
        return []


async def _tasks(ecs: RawEcs, run: str | None) -> list[OldTask]:
    """Tasks that should run, of one run by the filter for it, of all runs by looking at all."""
    members = {} if run is None else {"startedBy": f"{PREFIX}{run}"}
    arns = await ecs.every("ListTasks", members, "taskArns")
    found = []
    for batch in _batches(arns):
        answer = await ecs.ask("DescribeTasks", {"tasks": batch})
        for task in objects(answer.body, "tasks"):
            starter = text(task, "startedBy")
            owner = starter.removeprefix(PREFIX)
            ours = starter.startswith(PREFIX) and run in (None, owner)
            if ours and text(task, "desiredStatus") != "STOPPED":
                found.append(
                    OldTask(
                        arn=text(task, "taskArn"),
                        run=owner,
                        group=text(task, "group"),
                        status=text(task, "lastStatus"),
                        host=text(task, "containerInstanceArn"),
                    )
                )
    return found


async def _definitions(ecs: RawEcs, run: str | None) -> list[tuple[str, str]]:
    members = {"familyPrefix": FAMILY, "status": "ACTIVE"}
    arns = await ecs.every("ListTaskDefinitions", members, "taskDefinitionArns")
    found = []
    for arn in arns:
        answer = await ecs.ask("DescribeTaskDefinition", {"taskDefinition": arn})
        owner = run_of(answer.body.get("taskDefinition"))
        if owner is not None and run in (None, owner):
            found.append((arn, owner))
    return found


async def _hosts(ecs: RawEcs, run: str | None) -> list[OldHost]:
    arns = await ecs.every("ListContainerInstances", {}, "containerInstanceArns")
    found = []
    for batch in _batches(arns):
        answer = await ecs.ask("DescribeContainerInstances", {"containerInstances": batch})
        for host in objects(answer.body, "containerInstances"):
            old = _old_host(host, run)
            if old is not None:
                found.append(old)
    return found


def _old_host(host: Json, run: str | None) -> OldHost | None:
    """The host with its marks of that run, or of any."""
    marks = {
        text(attribute, "name"): text(attribute, "value")
        for attribute in objects(host, "attributes")
        if text(attribute, "name") in _MARKS and run in (None, _owner(text(attribute, "value")))
    }
    if not marks:
        return None
    arn = text(host, "containerInstanceArn")
    return OldHost(
        arn=arn,
        name=text(host, "ec2InstanceId") or short_id(arn),
        run=_owner(next(iter(marks.values()))),
        marks=tuple(marks),
        drained=DRAIN_MARK in marks and text(host, "status") == "DRAINING",
        since=_time(marks.get(DRAIN_MARK, "")),
    )


def _owner(value: str) -> str:
    """The run in a mark's value."""
    return value.partition(":")[0]


def _time(value: str) -> float:
    """The time in a mark's value."""
    text_ = value.partition(":")[2]
    return float(text_) if text_.isdecimal() else 0.0


def _batches(items: Sequence[str]) -> Iterable[list[str]]:
    for at in range(0, len(items), _BATCH):
        yield list(items[at : at + _BATCH])


# --- Taking back ----------------------------------------------------------------------------------


class Broom:
    """Takes things back, counts what it did and what it could not do. Hosts first: a host that
    stays DRAINING harms most."""

    def __init__(
        self,
        ecs: RawEcs,
        *,
        poll: float,
        patience: float,
        tell: Callable[[str], None],
        may_drain_yet: Callable[[OldHost], bool],
        taken_back: Iterable[str] = (),
    ) -> None:
        """`patience`: seconds for tasks to stop. `may_drain_yet`: whether the call that drains a
        host that is not DRAINING may still be carried out late; its mark then stays. `taken_back`:
        ARNs of tasks and definitions that were stopped or deregistered before, to be counted as
        well."""
        self._ecs = ecs
        self._poll = poll
        self._patience = patience
        self._tell = tell
        self._may_drain_yet = may_drain_yet
        before = list(taken_back)
        self._stopped = dict.fromkeys(arn for arn in before if ":task/" in arn)
        self._deregistered = dict.fromkeys(arn for arn in before if ":task/" not in arn)
        self._activated: dict[str, None] = {}
        self._unmarked: dict[str, None] = {}
        self._failed: dict[str, str] = {}
        """What could not be taken back → why."""

    async def sweep(self, left: Left) -> None:
        """Take all of it back, as far as ECS lets us."""
        for host in left.hosts:
            await self._host(host)
        for task in left.tasks:
            await self.stop(task.arn)
        for arn, _ in left.definitions:
            await self._deregister(arn)

    async def _host(self, host: OldHost) -> None:
        name = f"host {host.name}"
        if host.drained:
            asked = {"containerInstances": [host.arn], "status": "ACTIVE"}
            answer = await self._done(name, "UpdateContainerInstancesState", asked)
            if answer is None:
                return  # the mark stays: it is how the next look finds this host
            failures = objects(answer, "failures")
            if failures:
                self._failed[name] = f"could not be set to ACTIVE: {text(failures[0], 'reason')}"
                return
            self._activated[host.arn] = None
        for mark in host.marks:
            if mark == DRAIN_MARK and not host.drained and self._may_drain_yet(host):
                self._failed[name] = "it may still be set to DRAINING by a call that came late"
                continue
            attribute = {"name": mark, "targetId": host.arn}
            if await self._done(name, "DeleteAttributes", {"attributes": [attribute]}) is not None:
                self._unmarked[f"{host.arn} {mark}"] = None

    async def stop(self, arn: str) -> None:
        """Stop one task."""
        asked = {"task": arn, "reason": "blox verify-aws cleans up"}
        if await self._done(f"task {short_id(arn)}", "StopTask", asked) is not None:
            self._stopped[arn] = None

    async def _deregister(self, arn: str) -> None:
        name, asked = f"task definition {short_id(arn)}", {"taskDefinition": arn}
        if await self._done(name, "DeregisterTaskDefinition", asked) is not None:
            self._deregistered[arn] = None

    async def _done(self, name: str, operation: str, members: Mapping[str, object]) -> Json | None:
        """Make a call about `name`; None: it was not served, and is noted."""
        try:
            body = (await self._ecs.ask(operation, members)).body
        except BloxError as error:
            self._failed[name] = error.message
            return None
        self._failed.pop(name, None)
        return body

    async def settle(self, arns: Iterable[str]) -> list[str]:
        """Wait until these tasks are STOPPED; what is still stopping when patience ends."""
        left = list(arns)
        deadline = self._ecs.monotonic() + self._patience
        told = False
        while left:
            try:
                waiting = await self._not_stopped(left)
            except (CannotAsk, NoAnswer) as error:
                return [f"{len(left)} tasks may still be stopping: {error.message}"]
            for arn in left:
                if arn not in waiting:
                    self._failed.pop(f"task {short_id(arn)}", None)
            left = waiting
            if not left:
                break
            if self._ecs.monotonic() >= deadline:
                return [f"task {short_id(arn)} is still stopping" for arn in left]
            if not told:
                self._tell(
                    f"waiting until STOPPED: {len(left)} task{'' if len(left) == 1 else 's'}"
                )
                told = True
            await asyncio.sleep(self._poll)
        return []

    async def _not_stopped(self, arns: Sequence[str]) -> list[str]:
        """Those that are there and not STOPPED yet."""
        left = []
        for batch in _batches(arns):
            answer = await self._ecs.ask("DescribeTasks", {"tasks": batch})
            left += [
                text(task, "taskArn")
                for task in objects(answer.body, "tasks")
                if text(task, "lastStatus") not in ("STOPPED", "DELETED")
            ]
        return left

    def outcome(self, *, left: Iterable[str] = (), problems: Iterable[str] = ()) -> CleanUp:
        """What came of it."""
        return CleanUp(
            tasks_stopped=len(self._stopped),
            definitions_deregistered=len(self._deregistered),
            hosts_activated=len(self._activated),
            attributes_removed=len(self._unmarked),
            left=tuple(dict.fromkeys((*self._failed, *left))),
            problems=tuple(
                dict.fromkeys((*(f"{n}: {why}" for n, why in self._failed.items()), *problems))
            ),
        )
