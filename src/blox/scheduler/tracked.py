"""What this process remembers of one environment. All of it can be lost: it is derived again."""

from heapq import heapify, heappop, heappush

from msgspec.structs import replace

from blox.scheduler.board import Board
from blox.scheduler.deployments import Progress
from blox.scheduler.eligibility import Need
from blox.scheduler.guard import Guard
from blox.scheduler.slots import Target
from blox.scheduler.verdicts import Notes, Trouble


class Tracked:
    """One environment's board, notes, timers and troubles."""

    def __init__(self, environment_id: str, cluster_arn: str, *, now: float) -> None:
        self.id = environment_id
        self.cluster_arn = cluster_arn
        self.board = Board()
        self.notes: dict[str, Notes] = {}
        self.target: Target | None = None
        self.checks: dict[str, bool] = {}
        """Digest → whether its definition has an essential health check."""
        self.needs: dict[str, Need] = {}
        """Digest → what one of its daemons takes."""
        self.prepared_for: object = None
        """The environment record that target, checks and needs were prepared from."""
        self.dirty: dict[str, None] = {}
        """Hosts to judge in the next pass, in order of arrival."""
        self.all_dirty = True
        self.judged_for: str | None = None
        """Id of the deployment that the board's verdicts are about."""
        self._looks: list[tuple[float, str]] = []
        self._look_at: dict[str, float] = {}
        self.progress = Progress(moves=0, at=now)
        self.excused = True
        self.trouble: Trouble | None = None
        self.refused: tuple[str, tuple[frozenset[str], ...]] | None = None
        """Code and hosts of calls that were refused whole, since the last success."""
        self.definition_active = True
        self.definition_checked: float | None = None
        self.definition_asked = False
        self.spent_at = float("-inf")
        """When the budget was last recounted."""
        self.guard = Guard()
        self.expires_at: float | None = None
        """When (monotonic) a freeze or a hold ends, and all slots are judged anew."""
        self.adopted_looked: float | None = None
        """The look by which it was last asked whether every adopted task is shown."""
        self.shown_since: float | None = None
        """Since when (monotonic) every adopted task must be shown by reads."""
        self.frozen_by: str | None = None
        """The freeze that the verdicts are about."""
        self.stale = False
        """Whether the verdicts are about a view that is too old to act on (R12)."""
        self.guard_stored = False
        """Whether what the guard says is being stored."""
        self.past_open_since: float | None = None
        """Since when (monotonic) we wait for starts of a lost past to show."""
        self.without_seconds = 0.0
        """Host-seconds that wanted hosts had no healthy daemon, since this process began."""
        self.without_at = now

    def touch(self, host: str) -> None:
        self.dirty[host] = None

    def note(self, host: str) -> Notes:
        return self.notes.get(host, _BLANK)

    def keep_note(self, host: str, notes: Notes) -> None:
        if notes == _BLANK:
            self.notes.pop(host, None)
        else:
            self.notes[host] = notes

    def begin_deployment(self) -> None:
        """Another deployment: what was refused before may be accepted now, and how far slots came
        counts no more."""
        self.board.begin_deployment()
        self.trouble, self.refused = None, None
        for host, notes in list(self.notes.items()):
            fresh = replace(notes, refusal=None, doubts=0, replacements=0, replace_not_before=0.0)
            self.keep_note(host, fresh)

    def look_later(self, host: str, when: float | None) -> None:
        """Judge the slot again at `when` (monotonic), unless something touches it before."""
        if when is None:
            self._look_at.pop(host, None)
        elif self._look_at.get(host) != when:
            self._look_at[host] = when
            heappush(self._looks, (when, host))
            if len(self._looks) > 2 * len(self._look_at) + _FEW:
                self._looks = [(at, name) for name, at in self._look_at.items()]
                heapify(self._looks)

    def due(self, now: float) -> list[str]:
        """Hosts whose time to be looked at has come; they are removed from the timers."""
        found = []
        # Event loops fire timers a hair early; what is due within a millisecond is due.
        while self._looks and self._looks[0][0] <= now + 0.001:
            when, host = heappop(self._looks)
            if self._look_at.get(host) == when:
                del self._look_at[host]
                found.append(host)
        return found

    def next_look(self) -> float | None:
        while self._looks and self._look_at.get(self._looks[0][1]) != self._looks[0][0]:
            heappop(self._looks)
        return self._looks[0][0] if self._looks else None

    def account(self, now: float) -> None:
        """Add the time since the last call to the host-seconds without a daemon."""
        tally = self.board.tally()
        self.without_seconds += tally.unavailable * (now - self.without_at)
        self.without_at = now

    def drop(self, host: str) -> None:
        """The host is gone from the view."""
        self.board.drop(host)
        self.notes.pop(host, None)
        self._look_at.pop(host, None)
        if self.target is not None:
            self.target.forget(host)


_BLANK = Notes()
_FEW = 64
"""So many outdated timers are not worth removing."""
