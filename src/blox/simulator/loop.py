"""asyncio under virtual time: when nothing is ready, the clock jumps to the next timer.

Nothing waits for real, so hours pass in milliseconds, and with seeded randomness a run is the same
every time. Threads are outside of this: what runs here must not hand work to an executor.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Everything waits, and no timer is set: in real time this would hang for ever."""


class _JumpingSelector(selectors.BaseSelector):
    """Polls the real selector (the loop's own wake-up pipe lives there) and, when nothing is
    ready, moves the clock instead of waiting."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready:
            return ready
        if timeout is None:
            raise Stuck("every task waits for something that no timer, call or event will bring")
        self.now += max(0.0, timeout)
        return []

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is virtual, in seconds."""

    def __init__(self, start: float = 0.0) -> None:
        self._virtual = _JumpingSelector(start)
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual.now

    def jump(self, seconds: float) -> None:
        """Time passes and nothing runs: what was due meanwhile is late, as after a SIGSTOP."""
        self._virtual.now += seconds


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """Run `main` to its end under virtual time that begins at `start`, cancel what it left behind,
    and return its result.

    Raises Stuck when everything waits and nothing is scheduled, whatever `main` raises, and
    RuntimeError when a timer or a task that nobody awaited failed meanwhile.
    """
    unhandled: list[Mapping[str, Any]] = []
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        try:
            result = runner.run(main)
        except Stuck as stuck:
            if unhandled:
                raise stuck from unhandled[0].get("exception")
            raise
    if unhandled:
        raise RuntimeError(unhandled[0]["message"]) from unhandled[0].get("exception")
    return result
