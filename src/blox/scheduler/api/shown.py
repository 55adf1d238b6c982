"""From the scheduler's records and reports to the bodies of /v2."""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET

from blox.base.ids import short_id
from blox.base.journal import Entry
from blox.ecs.model import Host, Task
from blox.ecs.seen import ClusterSeen
from blox.http.shapes import at, moment
from blox.scheduler.api.bodies import (
    CauseBody,
    ClusterBody,
    Counters,
    DeploymentBody,
    EnvironmentBody,
    HealthBody,
    HostBody,
    HostName,
    HostStory,
    PolicyBody,
    ProblemBody,
    RevisionBody,
    StoryEntry,
    TaskBody,
)
from blox.scheduler.api.bodies_hosts import Machine
from blox.scheduler.api.bodies_orders import FreezeBody, HoldBody, MigrationBody
from blox.scheduler.board import Tally
from blox.scheduler.deployments import causes_of
from blox.scheduler.model import (
    Deployment,
    Environment,
    FailureCause,
    Freeze,
    Hold,
    Migration,
    Policy,
    Revision,
    SlotClass,
)
from blox.scheduler.report import EnvironmentReport, Problem, SlotReport
from blox.scheduler.verdicts import Verdict

InstanceOf = Callable[[str], str]
"""A container instance's ARN → its instance id, "" when it is not known."""
_NO_VERDICTS: Final[Mapping[str, Verdict]] = {}


def counters(tally: Tally) -> Counters:
    """An environment's counters; they add up (see `Counters`)."""

    def of(slot_class: SlotClass) -> int:
        return tally.classes.get(slot_class, 0)

    return Counters(
        hosts=tally.hosts,
        wanted=tally.wanted,
        unmatched=of(SlotClass.UNMATCHED),
        ineligible=of(SlotClass.INELIGIBLE),
        leaving=of(SlotClass.LEAVING),
        not_ready=of(SlotClass.NOT_READY),
        away=of(SlotClass.AWAY),
        lost=of(SlotClass.LOST),
        held=of(SlotClass.HELD),
        yielded=of(SlotClass.YIELDED),
        current=of(SlotClass.CURRENT),
        settling=of(SlotClass.SETTLING),
        outdated=of(SlotClass.OUTDATED),
        starting=of(SlotClass.STARTING),
        in_doubt=of(SlotClass.IN_DOUBT),
        stopping=of(SlotClass.STOPPING),
        failing=of(SlotClass.FAILING),
        blocked=of(SlotClass.BLOCKED),
        occupied=of(SlotClass.OCCUPIED),
        missing=of(SlotClass.MISSING),
        superseded=of(SlotClass.SUPERSEDED),
        unavailable=tally.unavailable,
    )


def next_step(text: str, details: Mapping[str, str]) -> str:
    """What comes next, with the time of the next attempt as people read it."""
    if "{retry}" not in text:
        return text
    retry = details.get("retry")
    if retry is None:
        return text.replace("at {retry}", "when its back-off is over")
    return text.replace("{retry}", at(float(retry)).strftime("%H:%M:%S UTC"))


def problem_body(problem: Problem) -> ProblemBody:
    """One cause for being unhealthy."""
    return ProblemBody(
        code=problem.code,
        sentence=problem.sentence,
        who=problem.who,
        next_step=next_step(problem.next_step, {}),
        count=problem.count,
        request_id=problem.request_id,
        since=moment(problem.since),
    )


def revision_body(revision: Revision) -> RevisionBody:
    """One version of the content."""
    return RevisionBody(
        number=revision.number,
        task_definition=revision.definition_arn,
        selector=revision.selector,
        task=revision.task,
        digest=revision.digest,
        created_at=at(revision.created_at),
    )


def policy_body(policy: Policy) -> PolicyBody:
    """How it is updated and watched."""
    return PolicyBody(
        max_unavailable=policy.max_unavailable,
        min_healthy_seconds=policy.min_healthy_seconds,
        progress_deadline=policy.progress_deadline,
        drain_deadline=policy.drain_deadline,
        beside=policy.beside,
        when_idle=policy.when_idle,
    )


def environment_body(report: EnvironmentReport, *, primed: bool) -> EnvironmentBody:
    """An environment with its counters, health and the deployment in force."""
    environment, deployment = report.environment, report.deployment
    shown = None
    if deployment is not None:
        shown = deployment_body(environment, deployment, tally=report.tally)
    return EnvironmentBody(
        id=environment.id,
        name=environment.name,
        cluster=short_id(environment.cluster_arn),
        cluster_arn=environment.cluster_arn,
        revision=revision_body(environment.newest),
        deployed_revision=None if deployment is None else deployment.revision,
        policy=policy_body(environment.policy),
        token=environment.token,
        created_at=at(environment.created_at),
        served=report.served,
        primed=primed,
        counts=counters(report.tally),
        health=HealthBody(
            status="healthy" if report.healthy else "unhealthy",
            problems=tuple(problem_body(problem) for problem in report.problems),
        ),
        deployment=shown,
        ending=environment.ending,
        ending_waits=report.ending_waits or None,
        tasks_left=report.tasks_left,
        adopted=report.adopted,
        stops_held=report.stops_held,
        frozen=None if report.frozen is None else freeze_body(report.frozen),
        migration=None if report.migration is None else migration_body(report.migration),
    )


def freeze_body(freeze: Freeze) -> FreezeBody:
    """A freeze."""
    cluster, name = None, None
    if freeze.scope == "cluster":
        cluster = short_id(freeze.target)
    elif freeze.scope == "environment":
        place, _, name = freeze.target.rpartition("/")
        cluster = short_id(place)
    return FreezeBody(
        id=freeze.id,
        scope=freeze.scope,
        cluster=cluster,
        environment=name,
        why=freeze.why,
        until=at(freeze.until),
        created_at=at(freeze.created_at),
    )


def hold_body(hold: Hold, cluster_arn: str) -> HoldBody:
    """A host that is left alone."""
    return HoldBody(
        instance_id=hold.instance_id,
        host=hold.host_arn,
        cluster=short_id(cluster_arn),
        why=hold.why,
        until=at(hold.until),
        created_at=at(hold.created_at),
    )


def migration_body(migration: Migration) -> MigrationBody:
    """The replacement of a DAEMON service."""
    return MigrationBody(
        service=migration.service,
        attribute=migration.attribute,
        back=migration.back,
        wave=migration.wave,
        moved=migration.moved,
        worst_gap_seconds=round(migration.worst_gap, 3),
        total_gap_seconds=round(migration.total_gap, 3),
        created_at=at(migration.created_at),
    )


def deployment_body(
    environment: Environment,
    deployment: Deployment,
    *,
    tally: Tally | None = None,
    verdicts: Mapping[str, Verdict] = _NO_VERDICTS,
    instance_of: InstanceOf = lambda _: "",
) -> DeploymentBody:
    """A deployment. `tally` is given for the one in force; `verdicts` for what it waits for."""
    waiting = causes_of(verdicts)
    return DeploymentBody(
        id=deployment.id,
        environment=environment.name,
        cluster=short_id(environment.cluster_arn),
        revision=deployment.revision,
        task_definition=environment.revision(deployment.revision).definition_arn,
        status=deployment.status,
        completed_once=deployment.completed_once,
        in_force=tally is not None,
        reused=deployment.reused,
        created_at=at(deployment.created_at),
        started_at=moment(deployment.started_at),
        finished_at=moment(deployment.finished_at),
        counts=None if tally is None else counters(tally),
        causes=tuple(cause_body(cause, instance_of) for cause in deployment.causes),
        waiting=tuple(cause_body(cause, instance_of) for cause in waiting),
    )


def cause_body(cause: FailureCause, instance_of: InstanceOf) -> CauseBody:
    """Hosts that are not current for one reason."""
    return CauseBody(
        code=cause.code,
        sentence=cause.sentence,
        count=cause.count,
        hosts=tuple(HostName(instance_id=instance_of(arn), arn=arn) for arn in cause.hosts),
    )


def task_body(task: Task) -> TaskBody:
    """A daemon as ECS last showed it."""
    return TaskBody(
        arn=task.arn,
        status=task.last_status,
        desired_status=task.desired_status,
        definition=task.definition_arn,
        health=task.health,
        started_by=task.started_by,
    )


def host_body(report: SlotReport) -> HostBody:
    """One host as one environment sees it."""
    host = report.host
    return HostBody(
        instance_id=host.instance_id,
        id=short_id(host.arn),
        arn=host.arn,
        verdict=report.verdict,
        would=f"would {report.verdict.value}" if report.would else UNSET,
        slot_class=report.slot_class,
        reason=report.reason,
        sentence=report.sentence,
        who=report.who,
        next_step=next_step(report.next_step, report.details),
        since_seconds=round(report.since_seconds, 3),
        task=None if report.task is None else task_body(report.task),
        attempts=report.attempts,
        details=report.details,
    )


def host_story(
    report: SlotReport, environment: Environment, story: tuple[Entry, ...], *, since: float
) -> HostStory:
    """Like `host_body`, with what happened there. `since`: when this process began."""
    shown = host_body(report)
    return HostStory(
        **{name: getattr(shown, name) for name in shown.__struct_fields__},
        environment=environment.name,
        cluster=short_id(environment.cluster_arn),
        story=tuple(
            StoryEntry(at=at(entry.at), what=entry.what, text=entry.text, details=entry.details)
            for entry in story
        ),
        story_since=at(since),
    )


def machine(host: Host) -> Machine:
    """A host as ECS shows it."""
    return Machine(
        instance_id=host.instance_id,
        id=short_id(host.arn),
        arn=host.arn,
        cluster=short_id(host.cluster_arn),
        status=host.status,
        agent_connected=host.agent_connected,
        agent_version=host.agent_version,
        registered_at=moment(host.registered_at),
        capacity_provider=host.capacity_provider,
        attributes={name: value for name, value in sorted(host.attributes.items()) if value},
    )


def cluster_body(
    arn: str, seen: ClusterSeen | None, *, age: float | None, hosts: int, environments: int
) -> ClusterBody:
    """A cluster, and how well it is known. `age`: seconds since its last complete sweep began."""
    return ClusterBody(
        name=short_id(arn),
        arn=arn,
        status="UNKNOWN" if seen is None else seen.status,
        primed=seen is not None and seen.primed,
        age_seconds=None if age is None else round(age, 3),
        read_error=None if seen is None else seen.read_error,
        hosts=hosts,
        environments=environments,
    )
