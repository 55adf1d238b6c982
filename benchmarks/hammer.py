"""A client that asks the same thing again and again: `python -m benchmarks.hammer PORT PATH …`.

    python -m benchmarks.hammer PORT PATH CONNECTIONS SECONDS [etag]

Keep-alive, without pipelining: each connection has one request under way. Prints the number of
answers, the seconds they took, and the bytes of one body. Any status but 200 is an error. With
"etag" the path is asked for once, and then again and again with If-None-Match: only 304 will do.
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

    def __init__(self, request: bytes, until: float, status: bytes = b"200") -> None:
        self._request = request
        self._until = until
        self._status = b"HTTP/1.1 " + status
        self._held = bytearray()
        self._whole = 0
        self.head = b""
        self._transport: asyncio.WriteTransport | None = None
        self.answers = 0
        self.body = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._whole:
            end = self._held.find(_END)
            if end < 0:
                return
            self.head = bytes(self._held[:end])
            self.body = _length(self.head)
            self._whole = end + len(_END) + self.body
        if len(self._held) < self._whole:
            return
        if not self.head.startswith(self._status):
            self._end(RuntimeError(self.head.split(b"\r\n", 1)[0].decode()))
            return
        self._held.clear()
        self._whole = 0
        self.answers += 1
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
    if head.startswith(b"HTTP/1.1 304"):
        return 0
    raise RuntimeError("an answer without Content-Length")


async def hammer(
    port: int, path: str, connections: int, seconds: float, *, etag: bool = False
) -> tuple[int, float, int]:
    """Answers, seconds, and the bytes of a body."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    status = b"200"
    if etag:
        _, first = await loop.create_connection(
            lambda: _Connection(request, 0.0), "127.0.0.1", port
        )
        await first.ended
        request = request[:-2] + b"If-None-Match: " + _etag(first.head) + b"\r\n\r\n"
        status = b"304"
    began = time.monotonic()
    made = [
        await loop.create_connection(
            lambda: _Connection(request, began + seconds, status), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    took = time.monotonic() - began
    return sum(protocol.answers for _, protocol in made), took, made[0][1].body


def _etag(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"etag":
            return value.strip()
    raise RuntimeError("an answer without ETag")


def main(arguments: list[str]) -> None:
    """Ask, and print what came of it."""
    port, path, connections, seconds, *more = arguments
    asking = hammer(int(port), path, int(connections), float(seconds), etag="etag" in more)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(*runner.run(asking))


if __name__ == "__main__":
    main(sys.argv[1:])
