"""Watching a migration: each host's gap as it arrives, what waits for whom, and the end."""

import sys
import time
from collections.abc import Callable
from typing import Final

from blox.base.errors import BloxError, NotFound, Unavailable
from blox.cli.client import Client, JsonObject
from blox.cli.migrate_words import (
    places_sum,
    say_arrival,
    say_constraint,
    say_given_back,
    say_left,
    say_moved,
    say_phase,
)
from blox.cli.output import Changing, plain, say, span
from blox.cli.words import full_name, path_in

_POLL: Final = 0.5
_FIRST_POLL: Final = 0.1
_FAILING: Final = 3
_TIMED_OUT: Final = 5
_PATIENCE: Final = 20.0
"""Seconds for which a scheduler that does not answer is taken to be restarting."""
_TOLD_BY_COUNTS: Final = ("moving", "giving-back", "unread", "service-gone", "done")
_WAITS_FOR_YOU: Final = {"constraint": "for that", "moved": "until it is gone"}
_ENDED_WITH: Final = ("moved", "service-gone", "done")


class Watch:
    """Follows one migration and tells it as it goes."""

    def __init__(
        self, client: Client, environment: JsonObject, *, back: bool, silent: bool
    ) -> None:
        self._client = client
        self._environment = environment
        self._back = back
        self._silent = silent
        self._progress = Changing(silent=silent)
        self._phase = ""
        self._told = 0
        """Number of the last arrival that was told."""
        self.last: JsonObject | None = None
        """The last report."""

    def first(self) -> JsonObject:
        """The report once somebody has looked at the hosts."""
        until = time.monotonic() + _PATIENCE
        report = self._read()
        while report["phase"] == "unread" and time.monotonic() < until:
            time.sleep(_FIRST_POLL)
            report = self._read()
        return report

    def run(self, *, timeout: float | None) -> int:
        """Follow it to its end; the exit code."""
        began = time.monotonic()
        try:
            return self._follow(began, timeout)
        except KeyboardInterrupt:
            self._progress.end()
            if self.last is not None:
                self._say(lambda: say_left(self.last or {}))
            raise

    def _follow(self, began: float, timeout: float | None) -> int:
        report = self.first()
        self._told = report["arrived"]
        answered = time.monotonic()
        while True:
            code = self._tell(report)
            if code is not None:
                return code
            waited = time.monotonic() - began
            self._show(report, waited)
            if timeout is not None and waited >= timeout:
                self._progress.end()
                self._say(lambda: say_left(self.last or {}))
                return _TIMED_OUT
            time.sleep(_POLL)
            try:
                report = self._read()
                answered = time.monotonic()
            except NotFound:
                return self._ended()
            except Unavailable:
                if time.monotonic() - answered > _PATIENCE:
                    raise

    def _read(self) -> JsonObject:
        self.last = self._client.get(path_in(self._environment, "migration"))
        return self.last

    def _say(self, speak: Callable[[], None]) -> None:
        if not self._silent:
            self._progress.end()
            speak()

    # --- Telling ----------------------------------------------------------------------------------

    def _tell(self, report: JsonObject) -> int | None:
        """Say what is new; the exit code if that was the end."""
        fresh = [arrival for arrival in report["arrivals"] if arrival["number"] > self._told]
        if fresh:
            self._told = fresh[-1]["number"]
            self._say(lambda: self._arrived(report, fresh))
        phase = report["phase"]
        if phase == self._phase:
            return None
        before, self._phase = self._phase, phase
        return self._entered(report, before)

    def _arrived(self, report: JsonObject, arrivals: list[JsonObject]) -> None:
        """A line for each: how many of all that take part are there now."""
        places = report["places"]
        total = places["ours"] + places["moving"] + places["leaving"] + places["theirs"]
        for place, arrival in enumerate(arrivals, start=1 - len(arrivals)):
            there = places["theirs" if arrival["back"] else "ours"]
            say_arrival(arrival, number=max(1, there + place), of=total)

    def _entered(self, report: JsonObject, before: str) -> int | None:
        """Another phase has begun."""
        phase = report["phase"]
        if phase == "constraint":
            self._say(lambda: say_constraint(report))
        elif phase == "moved":
            self._say(lambda: say_moved(report))
        elif phase == "given-back":
            self._say(lambda: say_given_back(report))
            return 0
        elif phase == "failing":
            self._say(lambda: self._failing(report))
            return _FAILING
        elif phase == "moving" and before == "constraint":
            self._say(lambda: say("the service has the constraint: hosts are being moved"))
        elif phase not in _TOLD_BY_COUNTS:
            self._say(lambda: say_phase(report))
        return None

    def _failing(self, report: JsonObject) -> None:
        say(plain(f"STOPPED: {report['sentence']}   {places_sum(report['places'])}"))
        for line in self._problems():
            say(f"  {line}")
        say(plain(f"  you: {report['nextStep']}"))
        say_left(report)

    def _problems(self) -> list[str]:
        """Why daemons fail, in the environment's words."""
        try:
            found = self._client.get(path_in(self._environment))
        except BloxError:
            return []
        return [plain(problem["sentence"]) for problem in found["health"]["problems"][:3]]

    def _show(self, report: JsonObject, waited: float) -> None:
        """How many are where, on a terminal: elsewhere the arrivals tell enough."""
        waits = _WAITS_FOR_YOU.get(report["phase"])
        if waits is not None:
            line = f"  waiting {waits}; Ctrl-C is safe, it goes on"
        elif report["phase"] in _TOLD_BY_COUNTS and sys.stdout.isatty():
            line = f"  {places_sum(report['places'])}"
        else:
            return
        self._progress.show(line, beside=span(waited))

    # --- The end ----------------------------------------------------------------------------------

    def _ended(self) -> int:
        """There is no migration any more: the service is gone, or the environment."""
        self._progress.end()
        self._client.get(path_in(self._environment))  # Raises NotFound if that is gone.
        last = self.last or {}
        if last.get("phase") not in _ENDED_WITH:
            self._say(lambda: say("the migration was ended by somebody else"))
            return 1
        self._say(lambda: self._done(last))
        return 0

    def _done(self, last: JsonObject) -> None:
        found = self._client.get(path_in(self._environment))
        counts = found["counts"]
        say(
            plain(
                f"done: service/{last['service']} is gone, and {full_name(found)} has every host: "
                f"{counts['current']} of {counts['wanted']} wanted current"
            )
        )
        say(f"  next: blox hosts {full_name(found)}")
