"""Hosts, slots and receivers for tests of notices."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from blox.app.notices_bodies import Parcel
from blox.app.notices_send import Outcome, Tried
from blox.base.ambient import Now
from blox.scheduler.notices import HostNow, Kind, SlotNow, Standing

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
EPOCH = 1_790_000_000.0
"""ECS's clock when ours shows 0."""


def at(seconds: float) -> Now:
    """One instant on both clocks."""
    return Now(seconds, EPOCH + seconds)


def host(name: str, *, registered: float | None = 0.0, **more: Any) -> HostNow:
    """A host; `registered`: when, by our clock."""
    arn = CLUSTER.replace(":cluster/demo", f":container-instance/demo/{name}")
    moment = None if registered is None else EPOCH + registered
    return HostNow(
        arn=arn, cluster_arn=CLUSTER, instance_id=f"i-{name}", registered_at=moment, **more
    )


def slot(standing: Standing, *, environment: str = "logs", **more: Any) -> SlotNow:
    """One environment as a host sees it."""
    return SlotNow(environment=environment, environment_id=environment, standing=standing, **more)


def parcel(number: int) -> Parcel:
    """A small notice."""
    return Parcel(
        id=f"{number:032}", kind=Kind.HOST_READY, at=EPOCH, resources=(), body=b"%d" % number
    )


class Scripted:
    """A receiver that answers as it is told to, and notes what it got."""

    def __init__(self, label: str = "here") -> None:
        self.label = label
        self.answers: list[Tried] = []
        """What to answer, first one first; SENT when there is none left."""
        self.hangs = False
        self.got: list[int] = []
        self.attempts: list[tuple[float, int]] = []
        self.closed = False

    async def send(self, given: Parcel) -> Tried:
        number = int(given.body)
        self.attempts.append((asyncio.get_running_loop().time(), number))
        if self.hangs:
            await asyncio.Event().wait()
        answer = self.answers.pop(0) if self.answers else Tried(Outcome.SENT)
        if answer.outcome is Outcome.SENT:
            self.got.append(number)
        return answer

    async def close(self) -> None:
        self.closed = True


class Posted(NamedTuple):
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Hook:
    """A real HTTP server that takes notices, or answers as it is told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.posted: list[Posted] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the next answers; 204 when there is none left."""
        self.blocked = threading.Event()
        """Set: requests are answered. Cleared: they hang."""
        self.blocked.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hunter2"

    def kinds(self) -> list[str]:
        """What was told, in order."""
        return [one.json["kind"] for one in self.posted]

    def of(self, kind: str) -> list[Any]:
        """The notices of one kind."""
        return [one.json for one in self.posted if one.json["kind"] == kind]


@contextmanager
def hook() -> Iterator[Hook]:
    """Serve one on loopback while the block runs."""
    taken: list[Hook] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            taken[0].blocked.wait(60)
            status, more = taken[0].answers.pop(0) if taken[0].answers else (204, {})
            if status < 300:
                taken[0].posted.append(Posted(self.path, headers, body))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **more}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that has gone is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    taken.append(Hook(server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, name="hook", daemon=True)
    thread.start()
    try:
        yield taken[0]
    finally:
        taken[0].blocked.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
