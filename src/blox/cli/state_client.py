"""The cluster-state-service's API as seen from the command line: lists, and one stream.

A stream that has gone silent for longer than two heartbeats is as good as cut: a machine that
vanished says no goodbye.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import urlencode

from blox import __version__
from blox.base.errors import Unavailable
from blox.cli.client import Client, JsonObject, Service, raise_told

PAGE: Final = "1000"
"""Items of one answer of a list."""
SILENCE: Final = 40.0
"""Seconds. Heartbeats come every 15 s."""
_GONE: Final = 410
_LINES: Final = "application/x-ndjson"
STATE: Final = Service(
    "cluster-state-service",
    "--css-endpoint or BLOX_CSS_ENDPOINT",
    "http://127.0.0.1:3000",
    "Start one with `cluster-state-service --store sqlite:state.db`, or say where it is with "
    "--css-endpoint or BLOX_CSS_ENDPOINT (--endpoint is the daemon-scheduler's).",
    3000,
    "epoch",
)


class PositionExpired(Exception):
    """The service cannot tell what has changed since: list again. The text says why."""


class StateClient(Client):
    """Calls to one cluster-state-service."""

    service = STATE

    def listing(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> tuple[list[JsonObject], str]:
        """All items of a list, and the position to follow from: the first page's, because what
        changes while the others are fetched may be missing in them. Raises BloxError's
        subclasses."""
        asked = {"limit": PAGE, **(query or {})}
        answer = self.get(path, asked)
        position = str(answer.get("position", ""))
        items: list[JsonObject] = list(answer.get("items", []))
        while token := answer.get("nextToken"):
            answer = self.get(path, {**asked, "nextToken": str(token)})
            items += answer.get("items", [])
        return items, position

    def clusters(self) -> list[JsonObject]:
        """Every cluster that is watched, by name. Raises BloxError's subclasses."""
        return sorted(self.every("/v2/clusters"), key=lambda one: (one["name"], one["arn"]))

    def stream(self, query: Mapping[str, str], *, timeout: float = SILENCE) -> "Stream":
        """What changes from now on, or after the query's `position`. `timeout`: seconds without a
        word after which it counts as cut. Raises PositionExpired, and BloxError's subclasses."""
        connection = self.connection(timeout)
        target = f"{self._base}/v2/stream?{urlencode(query)}"
        given = {"Accept": _LINES, "User-Agent": f"blox/{__version__}"}
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self.silent(error) from error
        try:
            connection.request("GET", target, headers=given)
            response = connection.getresponse()
            media_type = response.headers.get_content_type()
            answer = b"" if response.status == 200 else response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"the stream of {self.endpoint} broke off: {_told(error)}") from error
        if response.status == 200 and media_type == _LINES:
            return Stream(connection, response, self.endpoint)
        connection.close()
        if response.status == _GONE:
            raise PositionExpired(_detail(answer))
        if response.status >= 400:
            raise_told(response.status, media_type, answer, self.endpoint)
        raise self._not_ours(response.status, media_type)

    def conditions(self) -> list[JsonObject]:
        """What is wrong with the service as a whole. Raises BloxError's subclasses."""
        return list(self.get("/v2/status").get("conditions", []))


class Stream:
    """An open stream. Ends with Unavailable, never by itself. It is read by one thread; any may
    close it."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        endpoint: str,
    ) -> None:
        self._connection = connection
        self._response = response
        self._endpoint = endpoint

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[JsonObject]:
        """Messages: `event`, `position`, `data`. Raises Unavailable when it is cut."""
        while True:
            try:
                line = self._response.readline()
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._cut(_told(error)) from error
            if not line.endswith(b"\n"):
                raise self._cut("the connection was closed")
            if not line.strip():
                continue
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict) or "event" not in message:
                raise self._cut("what it says is no line of a stream")
            yield message

    def _cut(self, why: str) -> Unavailable:
        return Unavailable(f"the stream of {self._endpoint} ended: {why}")


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "not a word, not even a heartbeat"
    return str(error) or type(error).__name__


def _detail(answer: bytes) -> str:
    """Why, in the server's words."""
    try:
        problem = json.loads(answer)
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    told = str(detail or "The service no longer knows what has changed since.")
    return told.split(". ")[0].removesuffix(".")
