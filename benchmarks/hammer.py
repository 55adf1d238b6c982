"""A client that asks the same thing again and again: `python -m benchmarks.hammer PORT PATH …`.

    python -m benchmarks.hammer PORT PATH CONNECTIONS SECONDS

Keep-alive, without pipelining: each connection has one request under way. Prints the number of
answers, the seconds they took, and the bytes of one body. Any status but 200 is an error.
"""

import asyncio
import sys
import time
from typing import Final, cast

import uvloop

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class _Connection(asyncio.Protocol):
    """One connection. Answers must come with a Content-Length."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None
        self.answers = 0
        self.body = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, rest = self._held.partition(_END)
        if not found:
            return
        length = _length(head)
        if len(rest) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(head.split(b"\r\n", 1)[0].decode()))
            return
        self._held = b""
        self.answers += 1
        self.body = length
        if time.monotonic() >= self._until:
            self._end(None)
        elif self._transport is not None:
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise RuntimeError("an answer without Content-Length")


async def hammer(port: int, path: str, connections: int, seconds: float) -> tuple[int, float, int]:
    """Answers, seconds, and the bytes of a body."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    made = [
        await loop.create_connection(
            lambda: _Connection(request, began + seconds), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    took = time.monotonic() - began
    return sum(protocol.answers for _, protocol in made), took, made[0][1].body


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(
            *runner.run(hammer(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
        )
