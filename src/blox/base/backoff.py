"""Delays that grow with every failure."""

import math


def exponential(
    attempt: int, *, first: float, factor: float, most: float, jitter: float = 0.0
) -> float:
    """Seconds to wait after the `attempt`th failure in a row, counted from 1.

    `first` seconds, `factor` times as long each further time, never above `most`; then `jitter` in
    [-1, 1] moves it by up to a tenth either way, so that many who failed together do not come back
    together. Raises ValueError for numbers that make no delay.
    """
    if attempt < 1 or not 0 < first <= most or factor < 1 or not -1 <= jitter <= 1:
        raise ValueError(f"no delay: {attempt=} {first=} {factor=} {most=} {jitter=}")
    # Compared as logarithms, because factor ** attempt overflows where failures go on for days.
    grown = (attempt - 1) * math.log(factor)
    delay = most if grown >= math.log(most / first) else first * factor ** (attempt - 1)
    return delay * (1 + jitter / 10)
