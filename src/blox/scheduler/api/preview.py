"""What deploying an environment for the first time would find on its cluster. Nothing is kept."""

from collections.abc import Mapping

from msgspec.structs import replace

from blox.ecs.model import TaskDefinition
from blox.scheduler.board import Tally, recount
from blox.scheduler.eligibility import need_of
from blox.scheduler.model import Deployment, DeploymentStatus, Environment, VerdictKind
from blox.scheduler.planner import judge
from blox.scheduler.slots import Target, gather
from blox.scheduler.state import State
from blox.scheduler.verdicts import Context, Notes, Verdict


def preview(state: State, environment: Environment) -> dict[str, Verdict]:
    """Host ARN → the verdict that a first deployment would meet, in ARN order. Tasks that the
    environment has already, adopted or inherited, are current or outdated by what they run. Nothing
    is done before the deployment: a host where it would start a daemon is missing one."""
    target = Target(environment.newest)
    contents = contents_of(environment)
    cluster = state.view.cluster(environment.cluster_arn)
    pretended = Deployment(
        id="",
        environment_id=environment.id,
        sequence=0,
        revision=environment.newest.number,
        status=DeploymentStatus.RUNNING,
    )
    context = Context(
        environment=environment,
        now=state.now(),
        settings=state.settings.scheduler,
        deployment=pretended,
        target=environment.newest,
        checks={digest: d.has_health_check for digest, (d, _) in contents.items()},
        primed=cluster is not None and cluster.primed and state.served(environment),
        cluster_active=cluster is None or cluster.status == "ACTIVE",
        stale=cluster is not None and cluster.stale(state.clock.monotonic()),
    )
    needs = {digest: need_of(d, task) for digest, (d, task) in contents.items()}
    found: dict[str, Verdict] = {}
    for seen in state.view.hosts(environment.cluster_arn):
        facts = gather(
            seen,
            environment,
            target,
            state.around,
            notes=Notes(),
            needs=needs,
            hold=state.hold_of(seen),
            now=context.now,
            settings=context.settings,
        )
        verdict = judge(facts, context)
        if verdict.kind is VerdictKind.START:
            verdict = replace(verdict, kind=VerdictKind.IGNORE, reason="not-deployed", details={})
        elif verdict.kind in _ACTING and not environment.ending:
            verdict = replace(verdict, kind=VerdictKind.IGNORE)
        found[seen.host.arn] = verdict
    return dict(sorted(found.items()))


_ACTING = (VerdictKind.REPLACE, VerdictKind.STOP)


def contents_of(environment: Environment) -> dict[str, tuple[TaskDefinition, Mapping[str, object]]]:
    """Digest → definition and `task` block, of everything that the environment's tasks may run."""
    contents: dict[str, tuple[TaskDefinition, Mapping[str, object]]] = {
        content.digest: (content.definition, {}) for content in environment.adopted_contents
    }
    for revision in environment.revisions:
        contents[revision.digest] = (revision.definition, revision.task)
    return contents


def preview_tally(state: State, environment: Environment) -> Tally:
    """The counters of `preview`."""
    return recount(preview(state, environment).values())
