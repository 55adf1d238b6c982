"""Many who follow one cluster-state-service, as a process of its own; one of them never reads."""

import contextlib
import http.client
import json
import os
import socket
import threading
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from support.processes import wait_until
from support.scheduling import simulated_world
from support.state_load import load_on
from support.stating import StateService, state_service

WATCHERS: Final = 100
CHANGES: Final = 200
MOST_MB: Final = 40
"""That memory may grow by while a hundred follow: one of them has missed everything."""


class Follower(threading.Thread):
    """Keeps the last state of everything that it is told of, from a position on."""

    def __init__(self, stream: http.client.HTTPResponse) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.last: dict[str, Any] = {}
        """ARN → what was told of it last; None once it is gone."""
        self.version = 0
        self.wrong: list[str] = []

    def leave(self) -> None:
        """Hang up; its thread ends."""
        with socket.socket(fileno=os.dup(self._stream.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)
        self.join(20.0)

    def knows(self, known: dict[str, Any], service: StateService) -> bool:
        """Whether it has what the service has, having begun with what was known then."""
        mine = {arn: item for arn, item in {**known, **self.last}.items() if item is not None}
        return mine == {**service.tasks(), **service.instances()}

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while text := self._stream.readline():
                line = json.loads(text)
                version = int(line["position"].split(".")[1])
                if version < self.version or line["event"] == "reset":
                    self.wrong.append(text.decode())
                self.version = version
                if line["event"] in ("task", "instance"):
                    self.last[line["data"]["arn"]] = line["data"]
                elif line["event"] == "deleted":
                    self.last[line["data"]["arn"]] = None


def never_reads(port: int, path: str) -> socket.socket:
    """A connection that has asked for a stream; it takes little, and nobody reads even that."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def megabytes(service: StateService) -> float:
    """What the process holds of the machine's memory."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@pytest.mark.timeout(140)
def test_a_hundred_follow_and_one_that_never_reads_holds_up_nobody(tmp_path: Path) -> None:
    with (
        simulated_world(hosts=30) as world,
        state_service(world, tmp_path) as service,
        contextlib.ExitStack() as connections,
    ):
        service.wait_ready().wait_swept("demo")
        known = {**service.tasks(), **service.instances()}
        assert len(known) == 30
        path = f"/v2/stream?kinds=tasks,instances&position={service.get('/v2/status')['position']}"
        before = megabytes(service)
        connections.enter_context(never_reads(service.port, path))
        with contextlib.ExitStack() as streams:
            followers = [
                Follower(streams.enter_context(service.stream(path))) for _ in range(WATCHERS - 1)
            ]
            for follower in followers:
                follower.start()

            def watched_by(number: int) -> None:
                service.wait("/v2/status", lambda s: s["watchers"] == number)

            watched_by(WATCHERS)
            with load_on(world.url, Random("watchers"), ("demo",)) as load:
                wait_until(lambda: load.done >= CHANGES, within=60.0, what="enough has changed")
            service.swept()
            now = {**service.tasks(), **service.instances()}
            assert len(now) > len(known) + 10
            for follower in followers:
                wait_until(
                    partial(follower.knows, known, service), within=30.0, what="it knows it all"
                )
                assert follower.wrong == []
            assert megabytes(service) < before + MOST_MB
            watched_by(WATCHERS)
            for follower in followers:
                follower.leave()
            watched_by(1)
        connections.close()
        watched_by(0)
        assert service.process.stop() == 0
