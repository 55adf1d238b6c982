"""What deploying an environment for the first time would find on its cluster. Nothing is kept."""

from msgspec.structs import replace

from blox.scheduler.board import Tally, recount
from blox.scheduler.model import Deployment, Environment, VerdictKind
from blox.scheduler.planner import judge
from blox.scheduler.slots import Target, gather
from blox.scheduler.state import State
from blox.scheduler.verdicts import Context, Notes, Verdict


def preview(state: State, environment: Environment) -> dict[str, Verdict]:
    """Host ARN → the verdict that a first deployment would meet, in ARN order. A host where it
    would start a daemon is missing one because nothing is deployed."""
    target = Target(environment.newest)
    cluster = state.view.cluster(environment.cluster_arn)
    pretended = Deployment(
        id="", environment_id=environment.id, sequence=0, revision=environment.newest.number
    )
    context = Context(
        environment=environment,
        now=state.now(),
        settings=state.settings.scheduler,
        deployment=pretended,
        target=environment.newest,
        primed=cluster is not None and cluster.primed and state.served(environment),
        cluster_active=cluster is None or cluster.status == "ACTIVE",
    )
    found: dict[str, Verdict] = {}
    for seen in state.view.hosts(environment.cluster_arn):
        facts = gather(
            seen,
            environment,
            target,
            view=state.view,
            book=state.book,
            stops=state.stops,
            notes=Notes(),
            needs={},
            names=state.holder,
            yields=state.yields,
            hold=state.repository.hold(seen.host.arn),
            now=context.now,
            settings=context.settings,
        )
        verdict = judge(facts, context)
        if verdict.kind is VerdictKind.START:
            verdict = replace(verdict, kind=VerdictKind.IGNORE, reason="not-deployed", details={})
        found[seen.host.arn] = verdict
    return dict(sorted(found.items()))


def preview_tally(state: State, environment: Environment) -> Tally:
    """The counters of `preview`."""
    return recount(preview(state, environment).values())
