"""The bench of `blox verify-aws`: starts and stops its own tasks and remembers every one.

Whatever acts goes through here, so that one place keeps to the rules: only the chosen hosts, every
task under this run's startedBy, never a task that was not started here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import Struct

from blox.account.verify.client import (
    Answer,
    CannotAsk,
    Json,
    NoAnswer,
    RawEcs,
    number,
    objects,
    text,
)
from blox.account.verify.definitions import FAMILY, PREFIX, VARIABLE, Variant, registration
from blox.account.verify.events import Event
from blox.account.verify.hosts import Host
from blox.ecs.errors import CREDENTIAL_CODES, DENIED_CODES, THROTTLE_CODES
from blox.settings import Assumptions

GROUP: Final = "blox-verify"
"""The group of its tasks, but for the one that tries another."""
_UNRELATED: Final = (
    "AGENT",
    "MISSING",
    "LOCATION",
    "RESOURCE:CPU",
    "RESOURCE:MEMORY",
    "RESOURCE:ENI",
    "RESOURCE:GPU",
)
"""Failures that say something of the host at this moment and nothing of the question.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long it waits for what ought to happen, and how often it looks. Seconds."""

    poll: float = 0.3
    running: float = 120.0
    """The image may have to be pulled."""
    stopped: float = 90.0
    settled: float = 8.0
    """For a change of a host to show."""
    event: float = 60.0
    token: float = 45.0
    """After which a listing's token is used again."""
    visible: float = 30.0
    """Beyond V, for a task to be seen."""
    starts: int = 5
    """Tasks for the measured times."""


class EventLog(Protocol):
    """Events as they came in (see `blox.account.verify.events.Events`)."""

    trouble: str | None

    def of_task(self, arn: str) -> list[Event]: ...

    def of_host(self, arn: str, *, since: float) -> list[Event]: ...

    async def changed(self, within: float) -> None: ...


class Sample(Struct, frozen=True, kw_only=True):
    """One task that was started, for the measured times."""

    arn: str
    sent: float
    """ECS's clock when the call was sent, as far as we know it."""
    date: float | None
    """The Date of the answer."""
    received: float
    """Our monotonic clock when the answer was there."""
    created: float | None
    """createdAt."""
    container: str


class Placed(Struct, frozen=True, kw_only=True):
    """What a StartTask or RunTask came to."""

    answer: Answer
    tasks: Sequence[Json]
    failures: Sequence[Json]

    @property
    def arns(self) -> list[str]:
        return [text(task, "taskArn") for task in self.tasks]

    @property
    def reasons(self) -> list[str]:
        return [text(failure, "reason") for failure in self.failures]

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        if not self.answer.served:
            return self.answer.words
        parts = [f"{len(self.tasks)} started"] if self.tasks else []
        parts += [f"failure {reason}" for reason in self.reasons]
        return ", ".join(parts) or "neither a task nor a failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one run was told to do and not to do."""

    run: str
    """Its id: at most 24 letters, digits and hyphens."""
    hosts: tuple[Host, ...]
    definition: str | None = None
    """A definition of the user's; None: it registers its own."""
    container: str | None = None
    """The first container of that."""
    drain: Host | None = None
    """The host that may be drained and put back."""
    attributes: bool = False
    """Whether an attribute may be put on a host and taken away."""
    temporary: bool = False
    """Whether the credentials are temporary ones."""
    assumptions: Assumptions = field(default_factory=Assumptions)
    patience: Patience = field(default_factory=Patience)

    @property
    def started_by(self) -> str:
        return f"{PREFIX}{self.run}"


class Lab:
    """One run's bench."""

    def __init__(
        self,
        ecs: RawEcs,
        orders: Orders,
        *,
        uniform: Callable[[float, float], float],
        events: EventLog | None = None,
    ) -> None:
        self.ecs = ecs
        self.orders = orders
        self.patience = orders.patience
        self.events = events
        self.samples: list[Sample] = []
        self.made: dict[str, None] = {}
        """ARNs of all tasks that were started here."""
        self.alive: dict[str, None] = {}
        """Those of them that nobody has asked to stop."""
        self.retired: dict[str, None] = {}
        """ARNs of the definitions that were deregistered already."""
        self.unsure_tasks = 0
        """Tasks that may have been started by calls whose outcome is not known."""
        self.unsure_definitions = 0
        """Likewise definitions that may have been registered."""
        self.unsure_changes: list[str] = []
        """Likewise changes of hosts that may have been made, or may be yet."""
        self.definitions: dict[Variant, str] = {}
        self._uniform = uniform

    # --- Hosts and definitions --------------------------------------------------------------------

    @property
    def host(self) -> Host:
        """The first of the hosts."""
        return self.orders.hosts[0]

    @property
    def alike(self) -> list[Host]:
        """The hosts of the first one's kind."""
        return [host for host in self.orders.hosts if host.kind is self.host.kind]

    def free_port(self, host: Host) -> int:
        """A port that nothing there has taken, below those that hosts give out by themselves."""
        while True:
            port = int(self._uniform(20_000, 31_000))
            if str(port) not in host.taken:
                return port

    async def definition(self, variant: Variant, *, port: int = 0) -> tuple[str, str]:
        """(ARN, first container) of a definition, registered when first wanted. Raises CannotAsk,
        NoAnswer."""
        orders = self.orders
        if orders.definition is not None:
            if variant is not Variant.PLAIN:
                raise CannotAsk(
                    f"it needs a task definition of its own, {variant.value}; with "
                    "--task-definition none is registered"
                )
            return orders.definition, orders.container or ""
        if variant not in self.definitions:
            members = registration(variant, run=orders.run, port=port, kind=self.host.kind)
            self.unsure_definitions += 1
            try:
                answer = await self.ecs.call("RegisterTaskDefinition", members)
            except NoAnswer as error:
                self.unsure_definitions -= 0 if error.happened else 1
                raise
            self.unsure_definitions -= 0 if answer.uncertain else 1
            document = answer.body.get("taskDefinition")
            arn = text(document, "taskDefinitionArn") if isinstance(document, dict) else ""
            if not answer.served or not arn:
                raise CannotAsk(f"RegisterTaskDefinition was refused: {answer.words}")
            self.definitions[variant] = arn
        return self.definitions[variant], "sleep"

    async def retire(self, variant: Variant) -> None:
        """Deregister a definition; it can still be named. Raises CannotAsk, NoAnswer."""
        arn, _ = await self.definition(variant)
        await self.ecs.ask("DeregisterTaskDefinition", {"taskDefinition": arn})
        self.retired[arn] = None

    # --- Tasks ------------------------------------------------------------------------------------

    async def start(
        self,
        hosts: Sequence[str],
        *,
        variant: Variant = Variant.PLAIN,
        port: int = 0,
        group: str = GROUP,
        dated_back: float = 0.0,
    ) -> Placed:
        """StartTask on these hosts, by ARN. Raises CannotAsk, NoAnswer."""
        definition, container = await self.definition(variant, port=port)
        members = self._members(definition, container, group)
        members["containerInstances"] = list(hosts)
        return await self._place("StartTask", members, container, dated_back=dated_back)

    async def run_task(
        self, host: Host, *, variant: Variant, token: str, group: str = GROUP
    ) -> Placed:
        """RunTask of one task, placed on `host` by its instance id. Raises CannotAsk, NoAnswer."""
        definition, container = await self.definition(variant)
        members = self._members(definition, container, group) | {
            "count": 1,
            "launchType": host.kind.value,
            "clientToken": token,
            "placementConstraints": [
                {"type": "memberOf", "expression": f"ec2InstanceId == {host.name}"}
            ],
        }
        return await self._place("RunTask", members, container)

    def _members(self, definition: str, container: str, group: str) -> dict[str, object]:
        variable = {"name": VARIABLE, "value": self.orders.run}
        return {
            "taskDefinition": definition,
            "startedBy": self.orders.started_by,
            "group": group,
            "overrides": {
                "containerOverrides": [{"name": container, "environment": [variable]}],
            },
        }

    async def _place(
        self,
        operation: str,
        members: Mapping[str, object],
        container: str,
        *,
        dated_back: float = 0.0,
    ) -> Placed:
        hosts = members.get("containerInstances")
        possible = self._possible(hosts) if isinstance(hosts, list) else 1
        self.unsure_tasks += possible  # until the answer tells, whatever happens meanwhile
        try:
            answer = await self.ecs.call(operation, members, dated_back=dated_back)
        except NoAnswer as error:
            self.unsure_tasks -= 0 if error.happened else possible
            raise
        tasks, failures = objects(answer.body, "tasks"), objects(answer.body, "failures")
        for task in tasks:
            self._remember(task, answer, container)
        if answer.uncertain:
            self.unsure_tasks -= min(len(tasks), possible)
        elif answer.served and not (tasks or failures):
            pass  # it says nothing about the hosts
        else:
            self.unsure_tasks -= possible
        return Placed(answer=answer, tasks=tasks, failures=failures)

    def _possible(self, hosts: Sequence[object]) -> int:
        """How many tasks may come of naming these; of hosts that do not exist, none."""
        known = [host.arn for host in self.orders.hosts]
        return sum(host in known for host in hosts)

    def _remember(self, task: Json, answer: Answer, container: str) -> None:
        arn = text(task, "taskArn")
        if not arn or arn in self.made:
            return
        self.made[arn] = self.alive[arn] = None
        self.samples.append(
            Sample(
                arn=arn,
                sent=answer.sent,
                date=answer.date,
                received=answer.received,
                created=number(task, "createdAt"),
                container=container,
            )
        )

    async def one(self, host: Host, *, variant: Variant = Variant.PLAIN, port: int = 0) -> str:
        """The ARN of a task started on `host`. Raises CannotAsk when it does not start."""
        placed = usable(await self.start([host.arn], variant=variant, port=port))
        if len(placed.arns) != 1:
            raise CannotAsk(f"a task was needed on {host.name}: {placed.words}")
        return placed.arns[0]

    async def stop(self, arn: str, *, reason: str = "blox verify-aws is done with it") -> Answer:
        """StopTask of a task that was started here."""
        if arn not in self.made:
            raise ValueError(f"{arn} was not started here")
        answer = await self.ecs.call("StopTask", {"task": arn, "reason": reason})
        if answer.served:
            self.alive.pop(arn, None)
        return answer

    async def stop_all(self) -> None:
        """Ask all that are alive to stop; those that cannot be asked now are left to the end."""
        for arn in list(self.alive):
            try:
                await self.stop(arn)
            except NoAnswer:
                continue

    async def change(
        self, operation: str, members: Mapping[str, object], host: Host, *, mark: str = ""
    ) -> Answer:
        """A call that changes a host and must be taken back: sent once, because one that is
        carried out late would undo the taking back. `mark`: the attribute that it puts. Raises
        NoAnswer."""
        what = _change(operation, mark, host.name)
        self.unsure_changes.append(what)
        try:
            answer = await self.ecs.call(operation, members, once=True)
        except NoAnswer as error:
            if not error.happened:
                self.unsure_changes.remove(what)
            raise
        if not answer.uncertain:
            self.unsure_changes.remove(what)
        return answer

    def seen_changed(self, operation: str, name: str, *, mark: str = "") -> None:
        """What a call of unknown outcome does to a host was seen there: it is not on its way."""
        what = _change(operation, mark, name)
        if what in self.unsure_changes:
            self.unsure_changes.remove(what)

    # --- Looking ----------------------------------------------------------------------------------

    async def describe(self, arn: str) -> Json | None:
        """A task as it is now; None: MISSING."""
        answer = await self.ecs.ask("DescribeTasks", {"tasks": [arn]})
        found = objects(answer.body, "tasks")
        return found[0] if found else None

    async def until(
        self,
        look: Callable[[], Awaitable[Json | None]],
        holds: Callable[[Json], bool],
        *,
        within: float,
    ) -> Json | None:
        """The first sight of something for which `holds`; None when there is none in time."""
        deadline = self.ecs.monotonic() + within
        while True:
            seen = await look()
            if seen is not None and holds(seen):
                return seen
            if self.ecs.monotonic() >= deadline:
                return None
            await asyncio.sleep(self.patience.poll)

    async def running(self, arn: str) -> Json:
        """The task once it is RUNNING. Raises CannotAsk when it stops or takes too long."""
        seen = await self.until(
            lambda: self.describe(arn),
            lambda task: text(task, "lastStatus") in ("RUNNING", "STOPPED"),
            within=self.patience.running,
        )
        if seen is None:
            raise CannotAsk(f"its task was not RUNNING after {self.patience.running:g} s")
        if text(seen, "lastStatus") == "STOPPED":
            raise CannotAsk(f"its task stopped: {text(seen, 'stoppedReason') or 'no reason given'}")
        return seen

    async def all_stopped(self) -> None:
        """Wait until every task that was started here is STOPPED, so that none of them changes its
        host any more. Raises CannotAsk when that takes too long."""

        async def look() -> Json:
            answer = await self.ecs.ask("DescribeTasks", {"tasks": list(self.made)[-100:]})
            return answer.body

        def over(body: Json) -> bool:
            return all(text(task, "lastStatus") == "STOPPED" for task in objects(body, "tasks"))

        if self.made and await self.until(look, over, within=self.patience.stopped) is None:
            raise CannotAsk(f"its tasks were not STOPPED after {self.patience.stopped:g} s")

    async def stopped(self, arn: str) -> Json:
        """The task once it is STOPPED. Raises CannotAsk when it takes too long."""
        seen = await self.until(
            lambda: self.describe(arn),
            lambda task: text(task, "lastStatus") == "STOPPED",
            within=self.patience.stopped,
        )
        if seen is None:
            raise CannotAsk(f"its task was not STOPPED after {self.patience.stopped:g} s")
        return seen


def _change(operation: str, mark: str, name: str) -> str:
    return f"{operation}{' ' if mark else ''}{mark} on {name}"


def usable(placed: Placed, *, failures_tell: bool = True) -> Placed:
    """An outcome that says something about the question. Raises CannotAsk for one that says
    something else: no permission, no room, no answer that counts. `failures_tell`: whether a
    host's failure may be what was asked about."""
    answer = placed.answer
    if not answer.served:
        unrelated = answer.code in DENIED_CODES | CREDENTIAL_CODES | THROTTLE_CODES
        if unrelated or answer.uncertain:
            raise CannotAsk(f"{answer.operation} was refused: {answer.words}")
    for reason in placed.reasons:
        if reason in _UNRELATED or not failures_tell:
            raise CannotAsk(f"the host could not take a task just then: {reason}")
    return placed


def own_family(lab: Lab) -> str:
    """The family whose tasks this run starts."""
    given = lab.orders.definition
    return FAMILY if given is None else given.rsplit("/", 1)[-1].split(":", 1)[0]
