"""What the log says of this process: its first lines, and every call that acts.

The first lines answer what an operator asks of a new process: who is it, where, what may it do,
what does it see. Each comes when it is known; nothing waits for one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

import blox
from blox.app.aws import Aws
from blox.app.meter import Outcome
from blox.app.plan import Plan
from blox.base.ambient import Clock
from blox.base.ids import short_id
from blox.ecs.aws import Identity
from blox.ecs.port import InDoubt, NotDone, Started, StartOutcome, StopOutcome
from blox.ecs.seen import Touched
from blox.scheduler.executor import CallWatcher
from blox.scheduler.starts import StartBatch
from blox.scheduler.stops import StopOrder
from blox.scheduler.view import ClusterView

OBSERVES: Final = "observe: nothing will be started or stopped"
ACTS: Final = "acting"
_NEEDED: Final = {
    "DescribeClusters": "ecs:DescribeClusters",
    "ListContainerInstances": "ecs:ListContainerInstances",
    "DescribeContainerInstances": "ecs:DescribeContainerInstances",
    "ListTasks": "ecs:ListTasks",
    "DescribeTasks": "ecs:DescribeTasks",
    "DescribeTaskDefinition": "ecs:DescribeTaskDefinition",
    "DescribeServices": "ecs:DescribeServices",
    "ListServices": "ecs:ListServices",
    "DescribeCapacityProviders": "ecs:DescribeCapacityProviders",
    "StartTask": "ecs:StartTask, and iam:PassRole on the definition's roles",
    "StopTask": "ecs:StopTask",
    "PutAttributes": "ecs:PutAttributes",
    "DeleteAttributes": "ecs:DeleteAttributes",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "PutEvents": "events:PutEvents",
}
"""Operation → what a role must be allowed for it."""

_log = structlog.get_logger("blox")


def mode_of(plan: Plan) -> str:
    """Whether this process acts, in words."""
    return OBSERVES if plan.observe else ACTS


def tell_beginning(plan: Plan, *, url: str, aws: Aws, store: str) -> None:
    """Before anything is asked of AWS."""
    _log.info(f"blox {blox.__version__}", mode=mode_of(plan), api=url, store=store)
    ecs = aws.endpoints["ecs"]
    _log.info("aws", region=aws.region, ecs=ecs.url, endpoint_from=ecs.source)
    if plan.queue is None:
        _log.info("queue", state="none: changes are found by sweeps alone")
    else:
        _log.info("queue", name=plan.queue, state="not asked yet", sqs=aws.endpoints["sqs"].url)


def tell_clusters(named: Sequence[str], stored: Sequence[str]) -> None:
    """Which clusters are watched, and why."""
    if not named and not stored:
        _log.info("clusters", state="none yet: the first environment brings the first")
        return
    _log.info(
        "clusters", named=list(named), of_environments=[short_id(cluster) for cluster in stored]
    )


def tell_identity(identity: Identity | None, *, why: str = "") -> None:
    """Who the credentials belong to, or why that is not known."""
    if identity is None:
        _log.info("identity unknown", why=why)
    else:
        _log.info("identity", account=identity.account, role=identity.arn)


def tell_call_news(service: str, operation: str, outcome: Outcome, text: str) -> None:
    """An operation was answered for the first time, or its permission has changed."""
    if outcome is Outcome.DENIED:
        needed = _NEEDED.get(operation, operation)
        _log.warning("denied", operation=operation, needed=needed, answer=text)
    elif service == "sqs" and operation in ("GetQueueUrl", "ReceiveMessage"):
        _log.info("queue", state="found" if operation == "GetQueueUrl" else "events are read")
    else:
        _log.debug("allowed", operation=operation)


class PrimedLines:
    """Says once for each cluster that it was read completely, and how long that took."""

    def __init__(
        self,
        view: ClusterView,
        clock: Clock,
        *,
        answered: Callable[[], Mapping[str, Outcome]],
        mode: str,
    ) -> None:
        """`answered()`: ECS's operations that were tried and answered or denied."""
        self._view = view
        self._clock = clock
        self._answered = answered
        self._mode = mode
        self._said: set[str] = set()

    def touched(self, change: Touched) -> None:
        """The view changed."""
        arn = change.cluster_arn
        if not change.cluster or arn in self._said:
            return
        seen = self._view.cluster(arn)
        if seen is None or not seen.primed or seen.swept_at is None:
            return
        self._said.add(arn)
        hosts = list(self._view.hosts(arn))
        tasks = sum(task.live for host in hosts for task in self._view.tasks_on(host.host.arn))
        answered = self._answered()
        _log.info(
            f"view of {short_id(arn)} primed in {self._clock.monotonic() - seen.swept_at:.1f} s "
            f"({sum(host.superseded_by is None for host in hosts)} hosts, {tasks} tasks)",
            mode=self._mode,
            reads={name: answered[name].value for name in sorted(answered)},
            acts="never" if self._mode == OBSERVES else "not tried: the first call tells",
        )


class CallLines(CallWatcher):
    """One line for each call that acts: what was asked, what came of it, and ECS's request id."""

    def start_ended(self, batch: StartBatch, outcome: StartOutcome) -> None:
        line = _log.bind(
            environment=batch.environment.name,
            cluster=short_id(batch.environment.cluster_arn),
            definition=short_id(batch.intent.definition_arn),
            hosts=len(batch.intent.hosts),
            intent=batch.intent.id,
        )
        if isinstance(outcome, Started):
            failures = sorted(
                {f"{one.reason} {one.detail or ''}".strip() for one in outcome.failures}
            )
            line = line.bind(started=len(outcome.tasks), request=outcome.request_id)
            if failures:
                line.warning("StartTask", refused=len(outcome.failures), reasons=failures)
            else:
                line.info("StartTask")
        else:
            _tell_trouble(line, "StartTask", outcome)

    def stop_ended(self, order: StopOrder, outcome: StopOutcome) -> None:
        line = _log.bind(
            environment=order.environment_name,
            cluster=short_id(order.cluster_arn),
            host=short_id(order.host_arn),
            task=short_id(order.task_arn),
            cause=order.cause,
        )
        if isinstance(outcome, NotDone | InDoubt):
            _tell_trouble(line, "StopTask", outcome)
        else:
            line.info("StopTask", request=outcome.request_id)


def _tell_trouble(
    line: structlog.typing.FilteringBoundLogger, operation: str, outcome: NotDone | InDoubt
) -> None:
    if isinstance(outcome, InDoubt):
        line.warning(f"{operation} in doubt", why=outcome.cause, request=outcome.request_id)
    else:
        line.warning(
            f"{operation} not done",
            why=f"{outcome.code}: {outcome.message}",
            meaning=outcome.meaning.value,
            request=outcome.request_id,
        )
