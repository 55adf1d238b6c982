"""`blox verify-aws`: put the open questions to a real ECS, one small experiment each.

    survey → orders → experiments, each answering some questions → clean-up, whatever happened

An experiment that fails is a question that could not be asked, with the reason; the others go on.
Being interrupted ends the experiments and begins the clean-up. A process that is killed leaves its
marks in the account, by which `clean_up` finds what it left.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from blox.account.questions import QUESTIONS
from blox.account.verify import changes as verify_changes
from blox.account.verify import lags as verify_lags
from blox.account.verify import lists as verify_lists
from blox.account.verify import signatures as verify_signatures
from blox.account.verify import starts as verify_starts
from blox.account.verify import stops as verify_stops
from blox.account.verify.cleanup import Broom, Left, find_left
from blox.account.verify.client import CannotAsk, RawEcs, objects, text
from blox.account.verify.definitions import DRAIN_BEGINS, MARK, SLEEP
from blox.account.verify.hosts import Host, host_of
from blox.account.verify.lab import Lab, Orders, Patience
from blox.account.verify.report import (
    Answered,
    CleanUp,
    Finding,
    Report,
    in_order,
    judged,
    not_asked,
)
from blox.base.errors import BloxError, InvalidInput, NotFound
from blox.base.ids import parse_arn
from blox.ecs.errors import DENIED_CODES
from blox.ecs.model import HostDocument
from blox.ecs.wire import HostsAnswer, Unreadable, decode
from blox.settings import Assumptions

ROUNDS: Final = 6
"""Looks for what is left before it is called left."""
_BETWEEN: Final = 2.0
_UNSURE: Final = 20.0
"""Seconds of looking for the task of a call whose outcome is not known."""
_BATCH: Final = 100
_LONG: Final = 8.0
"""Seconds that are announced."""


class Experiment(Struct, frozen=True, kw_only=True):
    """One small thing to try and the questions that it answers."""

    questions: tuple[str, ...]
    run: Callable[[Lab], Awaitable[list[Finding]]]
    tasks: int = 0
    """The most tasks that it starts."""
    calls: int = 3
    """About how many calls it takes."""
    seconds: float = 2.0
    """About how long it takes."""


async def _never_asked(_lab: Lab) -> list[Finding]:
    why = "it would take the death of a host: terminate one and watch `blox hosts`"
    return [not_asked("agent-disconnect", why)]


async def _denied_status(lab: Lab) -> list[Finding]:
    """Of any call of this run that was denied."""
    question = "denied-status"
    denied = [call for call in lab.ecs.log if call.code in DENIED_CODES]
    if not denied:
        return [not_asked(question, "every call was allowed")]
    statuses = sorted({call.status for call in denied})
    seen = ", ".join(f"HTTP {status}" for status in statuses)
    seen = f"{seen} ({denied[0].operation})"
    return [judged(question, seen, same=statuses == [400])]


def _try(
    run: Callable[[Lab], Awaitable[list[Finding]]],
    *questions: str,
    tasks: int = 0,
    calls: int = 3,
    seconds: float = 2.0,
) -> Experiment:
    return Experiment(questions=questions, run=run, tasks=tasks, calls=calls, seconds=seconds)


EXPERIMENTS: Final = (
    _try(verify_signatures.signature_age, "signature-age", calls=4, seconds=1),
    _try(verify_signatures.backdated_signature, "backdated-signature", tasks=1),
    _try(verify_starts.group_prefix, "group-prefix", tasks=1),
    _try(verify_lags.read_lag, "read-lag", tasks=5, calls=20, seconds=8),
    _try(verify_lags.events, "event-latency", "event-overrides", tasks=3, seconds=15),
    _try(verify_starts.same_host_twice, "same-host-twice", tasks=2),
    _try(verify_starts.eleven_hosts, "eleven-hosts", calls=1, seconds=1),
    _try(verify_lists.describe_101, "describe-101", calls=1, seconds=1),
    _try(
        verify_lists.filters,
        "list-started-by-stopped",
        "list-started-by-host",
        "list-host-family",
        seconds=1,
    ),
    _try(verify_starts.placement_constraints, "placement-constraints", tasks=1),
    _try(verify_starts.inactive_definition, "inactive-definition", tasks=1, seconds=3),
    _try(verify_starts.ports_token, "ports-token", tasks=4, calls=7, seconds=4),
    _try(verify_starts.run_task_token, "run-task-token", tasks=3, calls=4),
    _try(verify_starts.start_on_external, "start-on-external", tasks=1),
    _try(verify_starts.start_on_managed, "start-on-managed", tasks=1),
    _try(verify_stops.stop_reason, "stop-reason", tasks=2, calls=8, seconds=4),
    _try(verify_stops.stop_stopped, "stop-stopped", tasks=1, calls=15, seconds=8),
    _try(
        verify_stops.pending_behind_stopping,
        "pending-behind-stopping",
        tasks=2,
        calls=60,
        seconds=30,
    ),
    _try(verify_lists.list_tokens, "list-tokens", tasks=2, calls=15, seconds=55),
    _try(verify_changes.attributes_version, "attributes-version", calls=90, seconds=30),
    _try(
        verify_changes.draining,
        "start-on-draining",
        "draining-version",
        tasks=1,
        calls=80,
        seconds=40,
    ),
    _try(_never_asked, "agent-disconnect", calls=0, seconds=0),
    _try(verify_lags.acceptance_lag, "acceptance-lag", tasks=3, calls=0, seconds=0),
    _try(verify_starts.arn_format, "arn-format", calls=0, seconds=0),
    _try(_denied_status, "denied-status", calls=0, seconds=0),
)
"""In the order in which they are made: what needs nothing first, what looks at the others last."""


def chosen(only: Sequence[str]) -> tuple[Sequence[Experiment], list[str]]:
    """(experiments, ids of questions) for the questions named by id or number; all without names.

    Raises InvalidInput for what is no question.
    """
    numbers = {question.number: name for name, question in QUESTIONS.items()}
    wanted = [numbers.get(one, one) for one in only]
    unknown = [one for one in wanted if one not in QUESTIONS]
    if unknown:
        raise InvalidInput(
            f"{unknown[0]!r} is no question. They are: "
            f"{', '.join(f'{number} {name}' for number, name in numbers.items())}."
        )
    names = wanted or list(QUESTIONS)
    found = [one for one in EXPERIMENTS if any(name in names for name in one.questions)]
    return found, list(dict.fromkeys(names))


def expected_not_asked(orders: Orders, names: Sequence[str], *, queue: bool) -> dict[str, str]:
    """Which of these questions will not be put, known before anything is done: id → why."""
    reasons: dict[str, str] = {"agent-disconnect": "it would take the death of a host"}
    if orders.drain is None:
        reasons["start-on-draining"] = verify_changes.NOT_ALLOWED_TO_DRAIN
        reasons["draining-version"] = verify_changes.NOT_ALLOWED_TO_DRAIN
    if not orders.attributes:
        reasons["attributes-version"] = verify_changes.NOT_ALLOWED_ATTRIBUTES
    if not queue:
        reasons["event-latency"] = reasons["event-overrides"] = "no queue was named: --queue NAME"
    for kind, question in verify_starts.SPECIAL_HOSTS.items():
        if not any(host.kind is kind for host in orders.hosts):
            reasons[question] = verify_starts.lacking(kind)
    if not orders.temporary:
        reasons["backdated-signature"] = "these credentials are permanent ones; use a role's"
    if orders.definition is not None:
        for question in verify_starts.OWN_DEFINITIONS:
            reasons[question] = "it needs a definition of its own; --task-definition forbids that"
    return {name: reasons[name] for name in names if name in reasons}


# --- The survey -----------------------------------------------------------------------------------


class Survey(Struct, frozen=True, kw_only=True):
    """A cluster before anything is done to it."""

    arn: str
    name: str
    account: str
    region: str
    tasks: int
    """Running and pending."""
    services: int
    hosts: tuple[Host, ...]


async def survey(ecs: RawEcs) -> Survey:
    """Look at the cluster; reads only. Raises NotFound, CannotAsk, NoAnswer."""
    answer = await ecs.ask("DescribeClusters", {"clusters": [ecs.cluster]})
    clusters = objects(answer.body, "clusters")
    if not clusters or text(clusters[0], "status") != "ACTIVE":
        raise NotFound(f"There is no ACTIVE cluster {ecs.cluster} in this region and account.")
    cluster = clusters[0]
    arn = text(cluster, "clusterArn")
    parsed = parse_arn(arn)
    if parsed is None:
        raise CannotAsk(f"{arn!r} is no cluster's ARN")

    def number(name: str) -> int:
        found = cluster.get(name)
        return found if isinstance(found, int) else 0

    return Survey(
        arn=arn,
        name=text(cluster, "clusterName"),
        account=parsed.account,
        region=parsed.region,
        tasks=number("runningTasksCount") + number("pendingTasksCount"),
        services=number("activeServicesCount"),
        hosts=tuple(await _hosts(ecs)),
    )


async def _hosts(ecs: RawEcs) -> list[Host]:
    arns = await ecs.every("ListContainerInstances", {}, "containerInstanceArns")
    documents: list[HostDocument] = []
    for at in range(0, len(arns), _BATCH):
        asked = {"containerInstances": arns[at : at + _BATCH]}
        answer = await ecs.ask("DescribeContainerInstances", asked)
        try:
            documents += decode(answer.raw, HostsAnswer).container_instances
        except Unreadable as error:
            raise CannotAsk(f"DescribeContainerInstances cannot be read: {error}") from error
    names = dict.fromkeys(d.capacity_provider_name or "" for d in documents)
    managed = await _managed(ecs, [name for name in names if name])
    return [host_of(one, managed_providers=managed, prefix=MARK) for one in documents]


async def _managed(ecs: RawEcs, names: list[str]) -> list[str]:
    """Which of these capacity providers are of ECS Managed Instances; none where that is denied.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProvider.html"""
    found = []
    for name in names:
        answer = await ecs.call("DescribeCapacityProviders", {"capacityProviders": [name]})
        providers = objects(answer.body, "capacityProviders")
        found += [
            name for one in providers if isinstance(one.get("managedInstancesProvider"), dict)
        ]
    return found


async def given_definition(ecs: RawEcs, reference: str) -> tuple[str, str, str]:
    """(ARN, first container, its size and image in words) of a definition of the user's.

    Raises InvalidInput when tasks of it cannot be started here, CannotAsk, NoAnswer.
    """
    answer = await ecs.ask("DescribeTaskDefinition", {"taskDefinition": reference})
    found = answer.body.get("taskDefinition")
    document = found if isinstance(found, dict) else {}
    containers = objects(document, "containerDefinitions")
    if not containers or text(document, "status") != "ACTIVE":
        raise InvalidInput(f"The task definition {reference} is not ACTIVE.")
    if text(document, "networkMode") == "awsvpc":
        raise InvalidInput(
            f"The task definition {reference} has network mode awsvpc, which needs subnets; one "
            "with bridge, host or none is needed."
        )
    size = f"{document.get('cpu') or containers[0].get('cpu') or 0} CPU units"
    memory = document.get("memory") or containers[0].get("memory")
    memory = memory or containers[0].get("memoryReservation") or "?"
    words = f"{size}, {memory} MiB, image {text(containers[0], 'image')}"
    return text(document, "taskDefinitionArn"), text(containers[0], "name"), words


# --- The run --------------------------------------------------------------------------------------


class Verification:
    """One run."""

    def __init__(
        self,
        lab: Lab,
        report: Report,
        *,
        only: Sequence[str] = (),
        tell: Callable[[Answered], None],
        note: Callable[[str], None],
        save: Callable[[Report], None],
    ) -> None:
        """`tell` hears each answer, `note` what takes long, `save` the report as it grows."""
        self._lab = lab
        self._experiments, self._names = chosen(only)
        self._report = report
        self._refused = expected_not_asked(
            lab.orders, list(QUESTIONS), queue=lab.events is not None
        )
        self._tell, self._note, self._save = tell, note, save
        self._answers: list[Answered] = []
        self._began = lab.ecs.monotonic()

    async def run(self) -> Report:
        """Ask, then clean up. Being cancelled ends the asking; being cancelled again, the
        cleaning. The report says which."""
        self._save(self._so_far("running"))
        ended = "complete"
        try:
            for experiment in self._experiments:
                await self._ask(experiment)
        except asyncio.CancelledError:
            _forget_cancelling()
            ended = "interrupted"
        except Exception as error:  # noqa: BLE001 - whatever it is, what was started must stop
            ended = f"failed: {type(error).__name__}: {error}"
        try:
            swept = await self._sweep()
        except asyncio.CancelledError:
            _forget_cancelling()
            ended = "interrupted"
            swept = CleanUp(problems=("cleaning up was interrupted: use --clean-up",))
        report = msgspec.structs.replace(self._so_far(ended), clean_up=swept)
        self._save(report)
        return report

    async def _ask(self, experiment: Experiment) -> None:
        lab = self._lab
        since, calls = lab.ecs.monotonic(), len(lab.ecs.log)
        hopeless = all(name in self._refused for name in experiment.questions)
        if experiment.seconds >= _LONG and not hopeless:
            names = " and ".join(experiment.questions)
            self._note(f"{names}: this takes about {experiment.seconds:g} s")
        try:
            findings = await experiment.run(lab)
        except BloxError as error:
            findings = [not_asked(name, error.message) for name in experiment.questions]
        except Exception as error:  # noqa: BLE001 - the other questions can still be asked
            why = f"this is a mistake in blox: {type(error).__name__}: {error}"
            findings = [not_asked(name, why) for name in experiment.questions]
        for finding in findings:
            if finding.question in self._names:
                answered = Answered(
                    finding=finding,
                    calls=tuple(lab.ecs.log[calls:]),
                    seconds=lab.ecs.monotonic() - since,
                )
                self._answers.append(answered)
                self._tell(answered)
        self._save(self._so_far("running"))
        await lab.stop_all()

    def _so_far(self, ended: str) -> Report:
        lab = self._lab
        return msgspec.structs.replace(
            self._report,
            seconds=round(lab.ecs.monotonic() - self._began, 3),
            ended=ended,
            hosts=[f"{host.name} ({host.kind.value})" for host in lab.orders.hosts],
            answers=in_order(self._answers),
            calls=dict(sorted(Counter(call.operation for call in lab.ecs.log).items())),
        )

    async def _sweep(self) -> CleanUp:
        """Take everything back, then look until nothing is found."""
        lab = self._lab
        orders = lab.orders
        stopped = [arn for arn in lab.made if arn not in lab.alive]
        broom = Broom(
            lab.ecs,
            poll=lab.patience.poll,
            patience=lab.patience.stopped,
            tell=self._note,
            may_drain_yet=lambda _: bool(lab.unsure_changes),
            taken_back=[*stopped, *lab.retired],
        )
        for arn in list(lab.alive):
            await broom.stop(arn)
        tasks, definitions = {*lab.made}, {*lab.definitions.values()}
        if self._unknown:
            self._note(f"{self._unknown}: looking for up to {_UNSURE:g} s")
        until = lab.ecs.monotonic() + _UNSURE
        left = Left()
        for round_ in range(ROUNDS + int(_UNSURE / _BETWEEN)):
            hosts = orders.drain is not None or orders.attributes
            left = await find_left(lab.ecs, run=orders.run, hosts=hosts)
            for host in left.hosts:
                for mark in host.marks:
                    lab.seen_changed("PutAttributes", host.name, mark=mark)
                if host.drained:
                    lab.seen_changed(verify_changes.STATE, host.name)
            await broom.sweep(left)
            found = {task.arn for task in left.tasks} - tasks
            lab.unsure_tasks = max(0, lab.unsure_tasks - len(found))
            tasks |= found
            others = {arn for arn, _ in left.definitions} - definitions
            lab.unsure_definitions = max(0, lab.unsure_definitions - len(others))
            definitions |= others
            waiting = bool(self._unknown) and lab.ecs.monotonic() < until
            if (left.nothing and not waiting) or (round_ >= ROUNDS and not waiting):
                break
            await asyncio.sleep(_BETWEEN)
        stopping = await broom.settle(sorted(tasks))
        return broom.outcome(
            left=[*([] if left.nothing else left.lines), *stopping],
            problems=[*left.problems, *self._unsure()],
        )

    @property
    def _unknown(self) -> str:
        """What may have been made by calls whose outcome is not known, "" when all is known."""
        counts = (
            (self._lab.unsure_tasks, "task", "started"),
            (self._lab.unsure_definitions, "task definition", "registered"),
        )
        parts = [
            f"{number} {noun}{'' if number == 1 else 's'} may have been {done} unseen"
            for number, noun, done in counts
            if number
        ]
        parts += [f"{change} may have been done unseen" for change in self._lab.unsure_changes]
        return " and ".join(dict.fromkeys(parts))

    def _unsure(self) -> list[str]:
        """What to say of calls whose outcome stayed unknown."""
        if not self._unknown:
            return []
        window = self._lab.orders.assumptions
        latest = window.signature_age + window.acceptance_lag + window.read_lag
        return [
            f"{self._unknown} and may show up within {latest:g} s (a task ends by itself "
            f"{SLEEP // 60} min after its start): look again with --clean-up"
        ]


def _forget_cancelling() -> None:
    """The interruption was heard; what is awaited from now on is not to be cut short by it."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


# --- After a run that was killed ------------------------------------------------------------------


async def clean_up(
    ecs: RawEcs,
    left: Left,
    *,
    assumptions: Assumptions,
    patience: Patience,
    note: Callable[[str], None],
) -> CleanUp:
    """Take back what `find_left` found, of all runs, and look again."""
    drains_for = DRAIN_BEGINS + assumptions.signature_age + assumptions.acceptance_lag
    broom = Broom(
        ecs,
        poll=patience.poll,
        patience=patience.stopped,
        tell=note,
        may_drain_yet=lambda host: ecs.now() < host.since + drains_for,
    )
    tasks: dict[str, None] = {}
    for _ in range(ROUNDS):
        tasks |= dict.fromkeys(task.arn for task in left.tasks)
        await broom.sweep(left)
        left = await find_left(ecs)
        if left.nothing:
            break
        await asyncio.sleep(_BETWEEN)
    stopping = await broom.settle(tasks)
    return broom.outcome(left=[*left.lines, *stopping], problems=left.problems)
