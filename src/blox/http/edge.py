"""The outermost layer of every HTTP request: what no operation should have to think of.

- A page in somebody's browser may send requests to 127.0.0.1. What changes something is refused
  when its `Origin` is another site's, and a server that listens on loopback only answers to
  loopback names, so that a foreign name which resolves to 127.0.0.1 (DNS rebinding) reads nothing.
- HEAD is GET without the body.
- A request that is still at work when the server's time for stopping is over is ended, without a
  traceback in the log.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from blox.http.failures import error_answer
from blox.http.problems import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LAST_WORDS: Final = 0.5
"""Seconds."""


class HttpApp:
    """An ASGI application: the edge around an inner one."""

    def __init__(self, inner: App, *, local_only: bool, stopping: asyncio.Event) -> None:
        self._inner = inner
        self._local_only = local_only
        self._stopping = stopping

    def end_streams(self) -> None:
        """End every open stream now, and each new one at once."""
        self._stopping.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        answer = _Answering(scope["method"], send)
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _send_error(scope["path"], refusal, answer.send)
                return
            inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._inner(inner, receive, answer.send)
        except asyncio.CancelledError:
            await answer.end_early(scope["path"])

    def _refusal(self, scope: Message) -> Refused | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._local_only and host and not is_local_host(host):
            return Refused(
                403,
                f"This server listens on loopback only and does not answer for {host!r}. "
                "Ask it as localhost or 127.0.0.1.",
            )
        origin = headers.get(b"origin")
        if scope["method"] in _SAFE_METHODS or origin is None:
            return None
        if urlsplit(origin).netloc.lower() != host.lower():
            return Refused(403, "A page of another site must not change anything here.")
        return None


class _Answering:
    """How far the answer to one request is, and its small corrections."""

    def __init__(self, method: str, send: Send) -> None:
        self._head = method == "HEAD"
        self._send = send
        self._started = False
        self._ended = False

    async def send(self, message: Message) -> None:
        """Pass a message of the inner application on."""
        if self._ended:
            return
        if message["type"] == "http.response.start":
            self._started = True
            await self._send({**message, "headers": _corrected(list(message["headers"]))})
            if self._head:
                self._ended = True
                await self._send({"type": "http.response.body", "body": b""})
            return
        self._ended = not message.get("more_body", False)
        await self._send(message)

    async def end_early(self, path: str) -> None:
        """The server's patience is over: end what was begun, or say that it stops. A client that
        reads nothing is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                if not self._started:
                    await _send_error(path, Refused(503, "This server is stopping."), self.send)
                elif not self._ended:
                    self._ended = True
                    await self._send({"type": "http.response.body", "body": b""})


def _corrected(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    corrected = [(b"x-content-type-options", b"nosniff")]
    for name, value in headers:
        if name.lower() == b"allow" and b"GET" in value and b"HEAD" not in value:
            corrected.append((name, value + b", HEAD"))
        else:
            corrected.append((name, value))
    return corrected


async def _send_error(path: str, error: Refused, send: Send) -> None:
    status, headers, body = error_answer(error, path=path)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine's loopback: localhost, 127.x.x.x or [::1]."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
