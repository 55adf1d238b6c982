"""Two or more daemons in a slot: one that surely runs is kept, the others are stopped."""

from blox.ecs.model import RUNNING, Task
from blox.scheduler.daemons import Readiness, readiness, running, survivor
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.verdicts import Context, SlotFacts, Stop, Verdict, verdict_of


def surplus(facts: SlotFacts, context: Context) -> Verdict | None:
    """Row 8: the verdict, or None when there are fewer than two."""
    candidates = running(facts)
    if len(candidates) < 2 or context.target is None:
        return None
    count = str(len(candidates))
    if context.now.mono < context.surplus_from:
        return verdict_of(
            VerdictKind.WAIT,
            SlotClass.STOPPING,
            "surplus-waits",
            next_look=context.surplus_from,
            count=count,
        )
    kept = survivor(candidates, doubted=facts.doubted_stops, target=_of_target(candidates, context))
    overdue = readiness(kept, facts, context)[0] is Readiness.OVERDUE
    if kept.last_status != RUNNING and not overdue:
        due = readiness(kept, facts, context)[1]
        return verdict_of(
            VerdictKind.WAIT, SlotClass.STOPPING, "surplus-waits", next_look=due, count=count
        )
    stops = tuple(
        Stop(task.arn, "surplus: one daemon a host", "" if overdue else kept.arn)
        for task in candidates
        if task is not kept
    )
    return verdict_of(
        VerdictKind.STOP, SlotClass.STOPPING, "surplus", stops=stops, count=count, kept=kept.arn
    )


def _of_target(tasks: tuple[Task, ...], context: Context) -> list[str]:
    assert context.target is not None
    digest = context.target.digest
    return [task.arn for task in tasks if context.environment.digest_of(task) == digest]
