"""The verdicts of one environment, counted; and what its budget allows.

R19: `Board.put` is the only function that changes a slot's class and the counters with it; before
budget is spent, `recount` computes them anew from the verdicts.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from heapq import nsmallest

from msgspec import Struct

from blox.scheduler.model import WANTED, SlotClass, VerdictKind
from blox.scheduler.verdicts import Cost, Verdict

_WANTED = tuple(slot_class for slot_class in SlotClass if slot_class in WANTED)
_IN_MOTION = (
    SlotClass.MISSING,
    SlotClass.STARTING,
    SlotClass.SETTLING,
    SlotClass.STOPPING,
    SlotClass.IN_DOUBT,
)


class Tally(Struct, frozen=True, kw_only=True):
    """An environment's counters. wanted = the ten wanted classes; hosts = wanted + the others but
    superseded records, which are not hosts."""

    classes: Mapping[SlotClass, int]
    available: int

    @property
    def wanted(self) -> int:
        return sum([self.classes.get(c, 0) for c in _WANTED])

    @property
    def hosts(self) -> int:
        return sum(n for c, n in self.classes.items() if c is not SlotClass.SUPERSEDED)

    @property
    def unavailable(self) -> int:
        """Wanted hosts without exactly one healthy daemon of ours, whatever the cause."""
        return self.wanted - self.available

    @property
    def current(self) -> int:
        return self.classes.get(SlotClass.CURRENT, 0)


def recount(verdicts: Iterable[Verdict]) -> Tally:
    """R19: the counters, from nothing but the verdicts."""
    classes = dict.fromkeys(SlotClass, 0)
    available = 0
    for verdict in verdicts:
        classes[verdict.slot_class] += 1
        available += verdict.available
    return Tally(classes=classes, available=available)


def allowance(max_unavailable: str, wanted: int) -> int:
    """How many wanted hosts may be unavailable at once: "3", or "10%" rounded up; at least 1."""
    if max_unavailable.endswith("%"):
        return max(1, math.ceil(float(max_unavailable[:-1]) * wanted / 100))
    return max(1, int(max_unavailable))


class Board:
    """Verdicts by host ARN, and everything derived from them that a pass must not search for."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.since: dict[str, float] = {}
        """Host → since when (monotonic) its slot is in its class."""
        self.without: dict[str, float] = {}
        """Host → since when (monotonic) a wanted one has had no healthy daemon."""
        self.classes: dict[SlotClass, int] = dict.fromkeys(SlotClass, 0)
        self.reasons: dict[str, int] = {}
        """Reason → slots that are as they are because of it."""
        self.available = 0
        self.ready: tuple[dict[str, None], dict[str, None]] = ({}, {})
        """Hosts whose verdict is START: repairs, and rollouts; in order of arrival."""
        self.stopping: tuple[dict[str, None], dict[str, None]] = ({}, {})
        """Hosts whose verdict names stops: repairs, and rollouts."""
        self.candidates: dict[Cost, dict[str, None]] = {cost: {} for cost in Cost}
        self.granted: dict[str, Cost] = {}
        """Candidates that the budget allows to act on, until they are no candidates any more."""
        self.unmatched_in_motion = 0
        self._unmatched: dict[str, None] = {}
        self.moves = 0
        """Grows with each slot that got on: left doubt, or came further than ever before in this
        deployment (running, then current)."""
        self._furthest: dict[str, int] = {}
        """Host → how far its slot has come in this deployment (`_stage`)."""
        self.version = 0
        """Grows with each change that a reader could see."""

    def tally(self) -> Tally:
        return Tally(classes=dict(self.classes), available=self.available)

    @property
    def wants_calls(self) -> bool:
        """Whether any verdict is to start or to stop something."""
        return any(map(bool, (*self.ready, *self.stopping)))

    def put(self, host: str, verdict: Verdict, *, now: float) -> None:
        """The slot's verdict is this from now on."""
        old = self.verdicts.get(host)
        if old == verdict:
            return
        if old is not None:
            self._count(host, old, -1)
        if old is None or old.slot_class is not verdict.slot_class:
            self.since[host] = now
            self._note_progress(host, old, verdict)
        self.verdicts[host] = verdict
        self._count(host, verdict, 1)
        if verdict.available or verdict.slot_class not in WANTED:
            self.without.pop(host, None)
        else:
            self.without.setdefault(host, now)
        if not _still_granted(verdict, self.granted.get(host, Cost.NONE)):
            self.granted.pop(host, None)
        self.version += 1

    def drop(self, host: str) -> None:
        """The host is gone."""
        old = self.verdicts.pop(host, None)
        if old is not None:
            self._count(host, old, -1)
            self.since.pop(host, None)
            self.without.pop(host, None)
            self.granted.pop(host, None)
            self._furthest.pop(host, None)
            self.version += 1

    def begin_deployment(self) -> None:
        """Another deployment: how far slots came in the former one counts no more."""
        self._furthest.clear()

    def _note_progress(self, host: str, old: Verdict | None, new: Verdict) -> None:
        """A daemon that dies and starts again and again gets on only once: otherwise the deadline
        of a revision that crashes would never come."""
        furthest = self._furthest.get(host, 0)
        stage = _stage(old, new)
        if stage > furthest:
            self._furthest[host] = stage
        left_doubt = old is not None and old.slot_class is SlotClass.IN_DOUBT
        self.moves += stage > furthest or left_doubt

    def _count(self, host: str, verdict: Verdict, by: int) -> None:
        self.classes[verdict.slot_class] += by
        self.reasons[verdict.reason] = self.reasons.get(verdict.reason, 0) + by
        self.available += by * verdict.available
        self.unmatched_in_motion += by * _unmatched_in_motion(verdict)
        if by > 0 and _keeps_unmatched(verdict):
            self._unmatched[host] = None
        else:
            self._unmatched.pop(host, None)
        lists = [self.candidates[verdict.candidate]]
        if verdict.kind is VerdictKind.START:
            lists.append(self.ready[verdict.rollout])
        if verdict.stops:
            lists.append(self.stopping[verdict.rollout])
        for entries in lists:
            if by > 0:
                entries[host] = None
            else:
                entries.pop(host, None)

    @property
    def has_unmatched(self) -> bool:
        """Whether something of ours runs on a host that does not match."""
        return bool(self._unmatched)

    def unmatched_daemons(self) -> list[str]:
        """Hosts that do not match and have a daemon whose stop was not allowed yet."""
        return [host for host in self._unmatched if host not in self.granted]

    def spend(
        self, max_unavailable: str, *, replacing: bool = True, held: Collection[str] = ()
    ) -> list[str]:
        """Grant what the budget allows now, broken first; returns the hosts newly granted. The
        caller judges them again at once, so that they count as unavailable from here.

        Free candidates need no budget. Failing daemons of the target are replaced while fewer hosts
        than the allowance are in motion, so that they neither wait for each other nor go all at
        once. Healthy ones of an older revision go only while the unavailable, whatever the cause,
        leave room. Hosts that stopped matching go within the same allowance. `replacing`: False
        while it is not known whether a replacement could start. `held`: hosts that stopped matching
        and whose daemons wait for a person (R24).
        """
        tally = recount(self.verdicts.values())
        limit = allowance(max_unavailable, tally.wanted)
        in_motion = sum(tally.classes[slot_class] for slot_class in _IN_MOTION)
        in_motion += sum(cost is Cost.REPAIR for cost in self.granted.values())
        replaced: list[str] = []
        rollout: list[str] = []
        if replacing:
            replaced += self._grant(Cost.FREE, len(self.verdicts))
            replaced += self._grant(Cost.REPAIR, limit - in_motion)
            rollout = self._grant(Cost.ROLLOUT, limit - tally.unavailable)
        leaving = self.unmatched_in_motion
        limit = allowance(
            max_unavailable, tally.wanted + leaving + len(self.candidates[Cost.UNMATCHED])
        )
        busy = leaving + tally.unavailable + len(rollout)
        waiting = frozenset(held)
        return [*replaced, *rollout, *self._grant(Cost.UNMATCHED, limit - busy, but=waiting)]

    def hand_back_if_spent(self, host: str, max_unavailable: str) -> bool:
        """Take back a grant from the budget whose stop is about to be sent, if more hosts have
        become unavailable since than the budget allows; whether it was taken back."""
        if self.granted.get(host) is not Cost.ROLLOUT:
            return False
        tally = self.tally()
        if tally.unavailable <= allowance(max_unavailable, tally.wanted):
            return False
        del self.granted[host]
        return True

    def _grant(self, cost: Cost, room: int, *, but: Collection[str] = ()) -> list[str]:
        """The first `room` candidates of this cost in host order that have no grant yet."""
        if room <= 0:
            return []
        fresh = (h for h in self.candidates[cost] if h not in self.granted and h not in but)
        chosen = nsmallest(room, fresh)
        for host in chosen:
            self.granted[host] = cost
        return chosen


def _stage(old: Verdict | None, new: Verdict) -> int:
    """How far a slot that changed its class has come: 2 current, 1 running, 0 else."""
    if new.slot_class is SlotClass.CURRENT:
        return 2
    started = old is not None and old.slot_class is SlotClass.STARTING
    return int(started and new.slot_class is SlotClass.SETTLING)


def _still_granted(verdict: Verdict, granted: Cost) -> bool:
    """A grant lasts while its slot is a candidate of that cost, or its stop is being carried out. A
    daemon that was free to replace and has recovered must wait for its turn in the budget."""
    if verdict.candidate is Cost.NONE:
        return bool(verdict.stops)
    return granted is verdict.candidate or (
        granted is Cost.ROLLOUT and verdict.candidate is Cost.FREE
    )


def _keeps_unmatched(verdict: Verdict) -> bool:
    """Something of ours runs where it should not, and is not on its way out."""
    return (
        verdict.slot_class is SlotClass.UNMATCHED
        and verdict.kind in (VerdictKind.KEEP, VerdictKind.WAIT)
        and verdict.reason not in ("stopping", "not-moved")
    )


def _unmatched_in_motion(verdict: Verdict) -> bool:
    return verdict.slot_class is SlotClass.UNMATCHED and verdict.kind in (
        VerdictKind.STOP,
        VerdictKind.WAIT,
    )
