"""What a process really sends to AWS: a relay on loopback that writes down every request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import NamedTuple

import aiohttp
from aiohttp import web

_HOP = {"connection", "content-length", "host", "transfer-encoding"}
"""Headers of one connection, which are not passed on."""


class Sent(NamedTuple):
    """One request."""

    operation: str
    """As X-Amz-Target names it, "" for STS."""
    body: bytes


class Relay:
    """Where to send to, and what was sent so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent: list[Sent] = []
        self.denies: Callable[[Sent], bool] = lambda _: False
        """Whether a request is answered with AccessDenied, and not passed on."""


@contextmanager
def relay(to: str) -> Iterator[Relay]:
    """Relay to the simulated AWS at `to` while the block runs."""
    ready: list[tuple[Relay, asyncio.AbstractEventLoop, asyncio.Event]] = []
    up = threading.Event()

    async def live() -> None:
        over = asyncio.Event()
        made = Relay("")
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            runner = web.ServerRunner(
                web.Server(_passing_on(to, made, session)), shutdown_timeout=0.1
            )
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.append((made, asyncio.get_running_loop(), over))
            up.set()
            await over.wait()
            await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="relay", daemon=True)
    thread.start()
    assert up.wait(20.0)
    made, loop, over = ready[0]
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20.0)


def _passing_on(
    to: str, made: Relay, session: aiohttp.ClientSession
) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def answer(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        sent = Sent(request.headers.get("X-Amz-Target", "").rpartition(".")[2], body)
        made.sent.append(sent)
        if made.denies(sent):
            return _denied(sent.operation)
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        try:
            async with session.request(
                request.method, to + request.path_qs, data=body, headers=kept
            ) as answered:
                headers = {n: v for n, v in answered.headers.items() if n.lower() not in _HOP}
                read = await answered.read()
                return web.Response(status=answered.status, headers=headers, body=read)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    return answer


def _denied(operation: str) -> web.Response:
    """ECS's words, more or less:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    message = f"User: tester is not authorized to perform: ecs:{operation} because no policy allows"
    return web.json_response(
        {"__type": "AccessDeniedException", "message": message},
        status=400,
        headers={"x-amzn-requestid": "relay", "date": formatdate(usegmt=True)},
    )
