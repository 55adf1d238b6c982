"""What the log says of this process: its first lines, and every call that acts.

The first lines answer what an operator asks of a new process: who is it, where, what may it do,
what does it see. Each comes when it is known; nothing waits for one of them.
"""

from collections.abc import Sequence
from typing import Final

import structlog

import blox
from blox.app import told_aws
from blox.app.aws import Aws
from blox.app.plan import Plan
from blox.base.ids import short_id
from blox.ecs.port import InDoubt, NotDone, Started, StartOutcome, StopOutcome
from blox.scheduler.executor import CallWatcher
from blox.scheduler.starts import StartBatch
from blox.scheduler.stops import StopOrder

OBSERVES: Final = "observe: nothing will be started or stopped"
ACTS: Final = "acting"

_log = structlog.get_logger("blox")


def mode_of(plan: Plan) -> str:
    """Whether this process acts, in words."""
    return OBSERVES if plan.observe else ACTS


def primed_says(plan: Plan) -> dict[str, str]:
    """What the line of a cluster that was read says of this process."""
    acts = "never" if plan.observe else "not tried: the first call tells"
    return {"mode": mode_of(plan), "acts": acts}


def tell_beginning(plan: Plan, *, url: str, aws: Aws, store: str) -> None:
    """Before anything is asked of AWS."""
    _log.info(f"blox {blox.__version__}", mode=mode_of(plan), api=url, store=store)
    told_aws.tell_place(aws, queue=plan.queue, followed=plan.css_endpoints)


def tell_clusters(named: Sequence[str], stored: Sequence[str]) -> None:
    """Which clusters are watched, and why."""
    if not named and not stored:
        _log.info("clusters", state="none yet: the first environment brings the first")
        return
    _log.info(
        "clusters", named=list(named), of_environments=[short_id(cluster) for cluster in stored]
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
