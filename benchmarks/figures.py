"""What was measured, what it is judged by, and the table of it."""

import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_BEGAN: Final = time.monotonic()
_HEADINGS: Final = ("what", "measured", "floor or reference", "ratio", "target", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement. `unit` stands behind both numbers; "" for counts."""

    what: str
    measured: float
    unit: str = ""
    reference: float | None = None
    reference_is: str = ""
    """What the reference is: "floor: …", "0.3: …"."""
    target: str = ""
    met: bool | None = None
    """None: nothing was promised, the figure is for people to know."""

    @property
    def ratio(self) -> float | None:
        """Measured in units of the reference; None without one, or when it is 0."""
        return self.measured / self.reference if self.reference else None

    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        ratio = "" if self.ratio is None else f"{readable(self.ratio)}"
        reference = self.reference_is
        if self.reference is not None:
            reference = f"{with_unit(self.reference, self.unit)} ({self.reference_is})"
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        return (
            self.what,
            with_unit(self.measured, self.unit),
            reference,
            ratio,
            self.target,
            verdict,
        )

    def line(self) -> str:
        """The figure in one line of a terminal."""
        what, measured, reference, ratio, target, verdict = self.cells()
        parts = [f"{what}: {measured}"]
        parts += [f"against {reference}"] if reference else []
        parts += [f"ratio {ratio}"] if ratio else []
        parts += [f"target {target}: {verdict.strip('*')}"] if target else []
        return ", ".join(parts)


def at_most(limit: float, measured: float) -> bool:
    """Whether a measurement keeps below its target; one that is no number does not."""
    return not math.isnan(measured) and measured <= limit


def readable(number: float) -> str:
    """Three digits that mean something, with thousands separated."""
    if number == int(number) or abs(number) >= 100:
        return f"{number:,.0f}"
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.3g}"


def with_unit(number: float, unit: str) -> str:
    return f"{readable(number)} {unit}".rstrip()


def table(figures: Iterable[Figure]) -> str:
    """All figures as a Markdown table."""
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(figure.cells() for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that `share` (0 to 1) of all are not above; NaN without samples."""
    if not samples:
        return math.nan
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def say(text: str) -> None:
    """A line of progress, with the seconds since the benchmarks began."""
    print(f"{time.monotonic() - _BEGAN:7.1f} s  {text}", file=sys.stderr, flush=True)


class Progress:
    """Says how far something long has come, at most every two seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = time.monotonic()

    def at(self, done: float, whole: float) -> None:
        """So much of it is done."""
        now = time.monotonic()
        if now - self._said >= 2.0:
            self._said = now
            say(f"{self._what}: {readable(done)} of {readable(whole)}")
