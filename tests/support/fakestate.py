"""A cluster-state-service on a socket of the test's own loop, which answers as it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from blox.base.ids import short_id
from support.documents import CLUSTER, OTHER_CLUSTER, host_arn, task_arn

Json = dict[str, Any]


def task_item(number: int, **whole: Any) -> Json:
    return _item("task", task_arn(number), {"taskArn": task_arn(number), "version": 1, **whole})


def host_item(number: int, **whole: Any) -> Json:
    given = {"containerInstanceArn": host_arn(number), "status": "ACTIVE", "version": 1, **whole}
    return _item("instance", host_arn(number), given)


def _item(kind: str, arn: str, whole: Json) -> Json:
    return {
        "kind": kind,
        "arn": arn,
        "cluster": short_id(CLUSTER),
        "clusterArn": CLUSTER,
        "version": 1,
        "readAt": None,
        kind: whole,
    }


def line(event: str, data: Json, position: str) -> bytes:
    return json.dumps({"event": event, "position": position, "data": data}).encode() + b"\n"


class FakeState:
    """What is answered, and what was asked."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.name = "k3f9p2"
        self.epoch = "e1"
        self.sweep = 0
        self.arn = CLUSTER
        self.others: dict[str, str] = {}
        """The ARNs of more clusters, by name."""
        self.tasks: list[Json] = []
        self.hosts: list[Json] = []
        self.watched = True
        self.status = 200
        """What every request is answered with, if it is an error."""
        self.garbage = False
        self.hangs = False
        self.restarts_while_listed = False
        self.renamed_while_listed = False
        self.watches_when_asked = False
        self.says: list[bytes] = []
        """What streams send at once, after their first heartbeat."""
        self.pieces: list[bytes] = []
        """What streams send then, a piece at a time."""
        self.silent = asyncio.Event()
        """While it is not set, streams stay open and say nothing more; set, they end."""
        self.refuses_stream = 200
        self.asked: list[str] = []
        self.streams = 0
        """Open now."""

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/v2/tasks", self._tasks)
        made.router.add_get("/v2/instances", self._hosts)
        made.router.add_get("/v2/stream", self._stream)
        made.router.add_get("/v2/clusters/{name}", self._cluster)
        made.router.add_post("/v2/clusters/{name}/sweep", self._sweep)
        return made

    def _trouble(self, request: web.Request) -> web.Response | None:
        self.asked.append(f"{request.method} {request.path_qs}")
        if self.garbage:
            return web.Response(text="<html>a proxy's page</html>")
        if self.status != 200:
            return _problem(self.status, "it was not told to answer")
        return None

    async def _tasks(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(60)
        return self._trouble(request) or self._page(request, self.tasks)

    async def _hosts(self, request: web.Request) -> web.Response:
        if self.restarts_while_listed:
            self.epoch = "e2"
        if self.renamed_while_listed:
            self.name = "another"
        return self._trouble(request) or self._page(request, self.hosts)

    def _page(self, request: web.Request, items: list[Json]) -> web.Response:
        begin = int(request.query.get("nextToken", "0"))
        end = begin + int(request.query["limit"])
        body: Json = {"items": items[begin:end], "position": f"{self.name}.10"}
        if end < len(items):
            body["nextToken"] = str(end)
        return web.json_response(body)

    async def _cluster(self, request: web.Request) -> web.Response:
        trouble = self._trouble(request)
        if trouble is not None:
            return trouble
        if not self.watched:
            return _problem(404, "There is no cluster demo here.")
        return web.json_response(
            {
                "name": "demo",
                "arn": self.arn,
                "status": "ACTIVE",
                "sweep": {"epoch": self.epoch, "number": self.sweep},
                "readError": None,
            }
        )

    async def _sweep(self, request: web.Request) -> web.Response:
        trouble = self._trouble(request)
        if trouble is not None:
            return trouble
        self.watched = self.watched or self.watches_when_asked
        if not self.watched:
            return _problem(404, "There is no cluster demo here.")
        self.sweep += 1
        arn = self.others.get(request.match_info["name"], self.arn)
        if request.match_info["name"] == "other" and not self.others:
            arn = OTHER_CLUSTER
        body = {"cluster": "demo", "clusterArn": arn, "epoch": self.epoch, "sweep": self.sweep}
        return web.json_response(body, status=202)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        trouble = self._trouble(request)
        if trouble is not None:
            return trouble
        if self.refuses_stream != 200:
            return _problem(self.refuses_stream, "not from there")
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        self.streams += 1
        try:
            position = request.query["position"]
            first = line("heartbeat", {"position": position}, position)
            await answer.write(first + b"".join(self.says))
            for piece in self.pieces:
                await asyncio.sleep(0.02)
                await answer.write(piece)
            await self.silent.wait()
        finally:
            self.streams -= 1
        return answer


def _problem(status: int, detail: str) -> web.Response:
    return web.json_response({"status": status, "detail": detail}, status=status)


@contextlib.asynccontextmanager
async def served(*fakes: FakeState) -> AsyncIterator[tuple[str, ...]]:
    """Their endpoints, while the block runs."""
    runners = []
    try:
        for fake in fakes:
            runner = web.AppRunner(fake.app(), shutdown_timeout=0.1, handler_cancellation=True)
            runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            fake.endpoint = f"{host}:{port}"
        yield tuple(fake.endpoint for fake in fakes)
    finally:
        for fake in fakes:
            fake.silent.set()
        for runner in runners:
            await runner.cleanup()
