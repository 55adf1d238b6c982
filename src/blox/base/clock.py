"""The machine's clocks, and a clock that follows the running event loop."""

import asyncio
import time
from typing import Final

_SINCE_BOOT: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC stands still while the machine is suspended: what was seen before would
still look new after a night (https://man7.org/linux/man-pages/man2/clock_gettime.2.html)."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds since some moment, those of a suspended machine included where it tells them."""
        return time.clock_gettime(_SINCE_BOOT)

    def wall(self) -> float:
        return time.time()


class LoopClock:
    """Time as the running event loop tells it: virtual under the simulator's loop.

    `epoch` is the wall time at loop time 0; `step` may be changed at any moment to make the wall
    clock jump, as clocks on real hosts do.
    """

    def __init__(self, epoch: float = 1_750_000_000.0) -> None:
        self.epoch = epoch
        self.step = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.epoch + self.monotonic() + self.step
