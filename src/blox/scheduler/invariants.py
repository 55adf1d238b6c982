"""Facts about the scheduler's memory that hold after every pass, whatever happened.

They catch a defect where it is made, long before it does harm that ECS could see. Tests and the
simulation check them after each pass; the product does not.
"""

from collections.abc import Iterable, Iterator, Mapping

from blox.scheduler.board import Board, allowance, recount
from blox.scheduler.intents import Attempt, Phase
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.reasons import REASONS
from blox.scheduler.verdicts import Cost, Verdict

_ACTING = (VerdictKind.STOP, VerdictKind.REPLACE)


def check(
    board: Board,
    *,
    environment_id: str,
    attempts: Iterable[Attempt] = (),
    live: Mapping[str, int] | None = None,
) -> list[str]:
    """What is wrong with one environment's board; empty when nothing is.

    `attempts`: every start call that is remembered. `live`: host → how many daemons of this
    environment the view shows live there, as of the last pass.
    """
    return [
        *_counts(board),
        *_lists(board),
        *_verdicts(board),
        *_grants(board),
        *_starts(board, environment_id, tuple(attempts), live or {}),
    ]


def check_budget(board: Board, granted: Iterable[str], *, max_unavailable: str) -> list[str]:
    """What is wrong with what `Board.spend` has just granted and the slots judged anew since.

    Each grant from the budget has made one host unavailable at most, so whatever was unavailable
    before, grants alone never lead beyond the allowance.
    """
    tally = board.tally()
    rollouts = sum(board.granted.get(host) is Cost.ROLLOUT for host in granted)
    limit = allowance(max_unavailable, tally.wanted)
    if rollouts and tally.unavailable > limit:
        return [f"{rollouts} grants led to {tally.unavailable} unavailable; {limit} may be"]
    return []


def _counts(board: Board) -> Iterator[str]:
    """R19: the counters are what counting the verdicts gives."""
    counted = recount(board.verdicts.values())
    if counted != board.tally():
        yield f"counters {board.tally()} are not the recount {counted}"
    if counted.unavailable < 0 or counted.available > counted.wanted:
        yield f"{counted.available} available of {counted.wanted} wanted"
    if set(board.since) != set(board.verdicts):
        yield "since is not known of every slot"


def _lists(board: Board) -> Iterator[str]:
    """What a pass must not search for is what searching would find."""
    for rollout in (False, True):
        of_pace = {h: v for h, v in board.verdicts.items() if v.rollout is rollout}
        starts = {host for host, v in of_pace.items() if v.kind is VerdictKind.START}
        stops = {host for host, v in of_pace.items() if v.stops}
        if set(board.ready[rollout]) != starts:
            yield f"ready {sorted(board.ready[rollout])} is not {sorted(starts)}"
        if set(board.stopping[rollout]) != stops:
            yield f"stopping {sorted(board.stopping[rollout])} is not {sorted(stops)}"
    for cost in Cost:
        found = {host for host, v in board.verdicts.items() if v.candidate is cost}
        if set(board.candidates[cost]) != found:
            yield f"candidates {sorted(board.candidates[cost])} of {cost} are not {sorted(found)}"


def _verdicts(board: Board) -> Iterator[str]:
    for host, verdict in board.verdicts.items():
        for problem in check_verdict(verdict):
            yield f"{host}: {problem}"


def check_verdict(verdict: Verdict) -> Iterator[str]:
    """What is wrong with a verdict taken alone."""
    if verdict.reason not in REASONS:
        yield f"its reason {verdict.reason!r} is not in the table"
    if bool(verdict.stops) != (verdict.kind in _ACTING):
        yield f"a {verdict.kind} with {len(verdict.stops)} stops"
    if any(not stop.cause for stop in verdict.stops):
        yield "a stop without a cause"
    if len({stop.task_arn for stop in verdict.stops}) != len(verdict.stops):
        yield "two stops of one task"
    if any(stop.needs_survivor == stop.task_arn for stop in verdict.stops):
        yield "a stop of the daemon that must survive it"
    if verdict.kind is VerdictKind.REPLACE and len(verdict.stops) != 1:
        yield f"a replacement of {len(verdict.stops)}"
    if verdict.available and (verdict.stops or verdict.kind is VerdictKind.START):
        yield f"available, and to {verdict.kind}"
    if verdict.candidate is not Cost.NONE and verdict.kind is not VerdictKind.KEEP:
        yield f"a candidate that is to {verdict.kind}"
    if verdict.slot_class is SlotClass.CURRENT and not verdict.available:
        yield "current, and not available"
    if verdict.available and verdict.slot_class not in (SlotClass.CURRENT, SlotClass.OUTDATED):
        yield f"available as {verdict.slot_class}"


def _grants(board: Board) -> Iterator[str]:
    for host, cost in board.granted.items():
        verdict = board.verdicts.get(host)
        if verdict is None:
            yield f"{host}: granted, and not there"
        elif cost is Cost.NONE:
            yield f"{host}: granted for nothing"
        elif not verdict.stops and verdict.candidate is Cost.NONE:
            yield f"{host}: granted, and neither acting nor a candidate"


def _starts(
    board: Board, environment_id: str, attempts: tuple[Attempt, ...], live: Mapping[str, int]
) -> Iterator[str]:
    """R20: where a start is open there is no other; and where something lives, there is none."""
    opened: dict[str, str] = {}
    for attempt in attempts:
        intent = attempt.intent
        if attempt.phase is Phase.SETTLED and intent.open_hosts:
            yield f"intent {intent.id} is settled, and open for {list(intent.open_hosts)}"
        if intent.environment_id != environment_id:
            continue
        for host in intent.open_hosts:
            if host in opened and attempt.phase in (Phase.UNSENT, Phase.CALLED):
                yield f"{host}: two open starts, {opened[host]} and {intent.id}"
            opened[host] = intent.id
    for listed in board.ready:
        for host in listed:
            if host in opened:
                yield f"{host}: to be started while the start {opened[host]} is open"
            if live.get(host, 0):
                yield f"{host}: to be started beside {live[host]} live"
