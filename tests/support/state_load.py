"""Tasks and hosts that come and go while a test does something else, and somebody who watches."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from blox.cli.simulator_client import Simulator


class Load:
    """Acts on a simulated AWS from a thread of its own, until it is told to stop."""

    def __init__(self, url: str, random: Random, clusters: tuple[str, ...]) -> None:
        self.done = 0
        """How much has happened so far."""
        self._control = Simulator(url)
        self._random = random
        self._clusters = clusters
        self._over = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nothing happens any more. Raises what went wrong in the thread."""
        self._over.set()
        self._thread.join(20.0)
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            while not self._over.wait(0.01):
                self._act(self._random.choice(self._clusters))
                self.done += 1
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            self._failed.append(error)

    def _act(self, cluster: str) -> None:
        draw = self._random.random()
        state = self._control.get("state", {"cluster": cluster})["clusters"][cluster]
        hosts = [host for host in state["hosts"] if host["status"] == "ACTIVE"]
        tasks = [
            task["taskArn"]
            for host in hosts
            for task in host["tasks"]
            if task["lastStatus"] == "RUNNING"
        ]
        if draw < 0.06 or len(hosts) < 4:
            self._control.post("hosts", {"cluster": cluster})
        elif draw < 0.12:
            (host,) = self._random.sample(hosts, 1)
            self._control.post("hosts/terminate", {"hosts": [host["containerInstanceArn"]]})
        elif draw < 0.5 and len(tasks) > 3:
            self._control.post("tasks/kill", {"tasks": self._random.sample(tasks, 2)})
        else:
            (host,) = self._random.sample(hosts, 1)
            wanted = {
                "cluster": cluster,
                "host": host["containerInstanceArn"],
                "family": "agent",
            }
            self._control.post("tasks/foreign", wanted)


class Watcher:
    """Lists once, follows the stream from there, and again from where it was when it is cut off.
    Only when the service says so does it list again."""

    def __init__(self, port: int) -> None:
        self.known: dict[str, Any] = {}
        """ARN → what was told of it last."""
        self.position = ""
        self.lists = 0
        self.names: set[str] = set()
        """Of the numberings that it saw."""
        self._port = port
        self._over = threading.Event()
        self._failed: list[BaseException] = []
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave. Raises what went wrong in the thread."""
        self._over.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(20.0)
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            while not self._over.wait(0.02):
                try:
                    self._follow()
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    continue  # Cut off, or nobody there.
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            self._failed.append(error)

    @contextmanager
    def _asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            self._connection = connection
            with connection.getresponse() as answer:
                yield answer
        finally:
            self._connection = None
            connection.close()

    def _follow(self) -> None:
        if not self.position:
            self._list()
        path = f"/v2/stream?kinds=tasks,instances&position={self.position}"
        with self._asked(path) as answer:
            if answer.status == 410:
                self.position = ""
                return
            assert answer.status == 200, answer.read()
            while self.position and (line := answer.readline()).endswith(b"\n"):
                self._told(json.loads(line))

    def _list(self) -> None:
        known: dict[str, Any] = {}
        first = ""
        for what in ("tasks", "instances"):
            page: Any = {"nextToken": ""}
            while "nextToken" in page:
                token = page["nextToken"] and f"&nextToken={page['nextToken']}"
                with self._asked(f"/v2/{what}?limit=200{token}") as answer:
                    page = json.loads(answer.read())
                first = first or page["position"]
                known.update({item["arn"]: item for item in page["items"]})
        self.known, self.position = known, first
        self.lists += 1

    def _told(self, told: Any) -> None:
        event, data = told["event"], told["data"]
        if event == "reset":
            self.position = ""
            return
        if event == "deleted":
            self.known.pop(data["arn"], None)
        elif event in ("task", "instance"):
            self.known[data["arn"]] = data
        self.position = told["position"]
        self.names.add(self.position.split(".")[0])


@contextmanager
def load_on(url: str, random: Random, clusters: tuple[str, ...]) -> Iterator[Load]:
    """A load that goes on while the block runs."""
    load = Load(url, random, clusters)
    load.start()
    try:
        yield load
    finally:
        load.stop()


@contextmanager
def watcher_on(port: int) -> Iterator[Watcher]:
    """A watcher that goes on while the block runs."""
    watcher = Watcher(port)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()
