"""The machine's clocks, and a clock that follows the running event loop."""

import asyncio
import time


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

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
