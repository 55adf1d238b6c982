"""The scheduler's API as seen from the command line: synchronous, small, quick to import.

A request is sent once. Errors come back as the same classes that the server raised, with its
sentence; a server that does not answer is told as what to do about it.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from blox import __version__
from blox.base.errors import BloxError, Conflict, InvalidInput, NotFound, Unavailable

JsonObject = dict[str, Any]
_TIMEOUT: Final = 30.0
_MERGE_PATCH: Final = "application/merge-patch+json"
_BYTES: Final = "application/octet-stream"
_KINDS: Final[Mapping[int, type[BloxError]]] = {
    404: NotFound,
    409: Conflict,
    412: Conflict,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Asked(Conflict):
    """The server needs an answer before it does what was asked. Nothing was changed."""

    def __init__(self, message: str, problem: JsonObject) -> None:
        super().__init__(message)
        self.problem = problem
        """The problem's members: `question` says what is asked."""


class Service(NamedTuple):
    """What is called, as messages name it."""

    name: str
    option: str
    """The flag and the variable that say where it answers."""
    example: str
    """An endpoint as it could be."""
    start: str
    """How to get one that answers; ends the sentence that none does."""
    usual: int
    """The port at which it answers by default."""
    mark: str
    """What /v2/status of this service alone has."""


SCHEDULER: Final = Service(
    "scheduler",
    "--endpoint or BLOX_ENDPOINT",
    "http://127.0.0.1:2000",
    "Start one with `daemon-scheduler --store sqlite:blox.db`, or try `blox demo`.",
    2000,
    "mode",
)
_PROCESSES: Final[Mapping[str, str]] = {
    "mode": "a daemon-scheduler",
    "epoch": "a cluster-state-service",
}
"""What /v2/status of one service alone has → the service."""
_STATUS: Final = "/v2/status"
_NOTHING_THERE: Final = "There is nothing at "


class Client:
    """Calls to one endpoint."""

    service = SCHEDULER

    def __init__(self, endpoint: str, *, timeout: float = _TIMEOUT) -> None:
        """Raises InvalidInput when `endpoint` is not an http or https URL."""
        try:
            parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(
                f"The endpoint {endpoint!r} is no URL: something like {self.service.example} is "
                f"needed ({self.service.option})."
            )
        self.endpoint = endpoint
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port
        self._base = parts.path.rstrip("/")
        self._timeout = timeout

    def get(self, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """What stands at `path`. Raises BloxError's subclasses."""
        return self._call("GET", path, query)

    def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """The answer to a POST. Raises BloxError's subclasses."""
        return self._call("POST", path, query, body=body)

    def patch(
        self, path: str, body: Mapping[str, object], *, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """The answer to a merge patch. Raises BloxError's subclasses."""
        given = {"Content-Type": _MERGE_PATCH, **(headers or {})}
        return self._call("PATCH", path, None, body=body, headers=given)

    def delete(self, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """The answer to a DELETE. Raises BloxError's subclasses."""
        return self._call("DELETE", path, query)

    def fetch(self, path: str, *, timeout: float) -> bytes:
        """The bytes that stand at `path`. Raises BloxError's subclasses."""
        target = self._base + path
        given = {"Accept": f"{_BYTES}, application/json", "User-Agent": f"blox/{__version__}"}
        status, media_type, answer = self._exchange("GET", target, None, given, timeout=timeout)
        if status >= 400:
            raise_told(status, media_type, answer, self.endpoint)
        if status >= 300 or media_type != _BYTES:
            raise self._not_ours(status, media_type)
        return answer

    def every(self, path: str, query: Mapping[str, str] | None = None) -> list[JsonObject]:
        """All items of a list, page by page. Raises BloxError's subclasses."""
        items: list[JsonObject] = []
        asked = dict(query or {})
        while True:
            answer = self.get(path, asked)
            items += answer.get("items", [])
            token = answer.get("nextToken")
            if not token:
                return items
            asked["nextToken"] = token

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject:
        target = self._base + path + (f"?{urlencode(query)}" if query else "")
        given = {"Accept": "application/json", "User-Agent": f"blox/{__version__}"}
        content: bytes | None = None
        if body is not None:
            content = json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        given.update(headers or {})
        status, media_type, answer = self._exchange(method, target, content, given)
        if status >= 400:
            try:
                raise_told(status, media_type, answer, self.endpoint)
            except NotFound as error:
                if path != _STATUS and error.message.startswith(_NOTHING_THERE):
                    self._say_who_is_there()
                raise
        return self._decoded(status, media_type, answer)

    def _say_who_is_there(self) -> None:
        """Raises InvalidInput when it is not the service that is asked for."""
        wanted = _PROCESSES[self.service.mark]
        correct = f"correct {self.service.option}"
        if self._base:
            raise InvalidInput(
                f"There is no {self.service.name}'s API below {self.endpoint}: {correct}, with an "
                f"address that has no path, as in {self.service.example}."
            )
        try:
            told = self.get(_STATUS)
        except NotFound:
            told = {}
        if self.service.mark in told:
            return
        found = next((name for mark, name in _PROCESSES.items() if mark in told), "something else")
        raise InvalidInput(
            f"{self.endpoint} is {found}, not {wanted} (which answers at port "
            f"{self.service.usual} unless it was told otherwise): {correct}."
        )

    def _exchange(
        self,
        method: str,
        target: str,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        timeout: float | None = None,
    ) -> tuple[int, str, bytes]:
        timeout = timeout or self._timeout
        connection = self.connection(timeout)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self.silent(error) from error
            try:
                connection.request(method, target, body=content, headers=dict(headers))
                response = connection.getresponse()
                media_type = response.headers.get_content_type()
                return response.status, media_type, response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(method, error, timeout) from error
        finally:
            connection.close()

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is not open yet. `timeout`: of connecting and of each read, seconds."""
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def silent(self, error: OSError) -> Unavailable:
        """What is told when nobody takes the connection."""
        if isinstance(error, ssl.SSLError):
            return Unavailable(f"No secure connection to {self.endpoint}: {error.reason}.")
        cause = "" if isinstance(error, ConnectionRefusedError) else f" ({error})"
        return Unavailable(
            f"No {self.service.name} answers at {self.endpoint}{cause}: is it running? "
            f"{self.service.start}"
        )

    def _broken(self, method: str, error: Exception, timeout: float) -> Unavailable:
        told = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            told = f"no answer within {timeout:g} s"
        ending = "." if method == "GET" else "; whether it was carried out is not known."
        return Unavailable(f"{method} at {self.endpoint} broke off: {told}{ending}")

    def _decoded(self, status: int, media_type: str, answer: bytes) -> JsonObject:
        if not answer.strip():
            return {}
        try:
            decoded = json.loads(answer)
        except ValueError:
            decoded = None
        if status >= 300 or not isinstance(decoded, dict):
            raise self._not_ours(status, media_type)
        return decoded

    def _not_ours(self, status: int, media_type: str) -> Unavailable:
        return Unavailable(
            f"{self.endpoint} is not a {self.service.name}'s API: it answered {status} with "
            f"{media_type}. Correct {self.service.option}."
        )


def path_of(*segments: str) -> str:
    """A path from its parts, each quoted."""
    return "".join(f"/{quote(segment, safe=':@')}" for segment in segments)


def raise_told(status: int, media_type: str, answer: bytes, endpoint: str) -> NoReturn:
    """Raise the error that an answer tells of: BloxError or one of its subclasses."""
    kind = _KINDS.get(status, InvalidInput if status < 500 else BloxError)
    message = f"{endpoint} answered {status} with {media_type}."
    if media_type.endswith("json"):
        try:
            problem = json.loads(answer)
        except ValueError:
            problem = None
        if isinstance(problem, dict):
            message = str(problem.get("detail") or problem.get("title") or message)
            if kind is Conflict and isinstance(problem.get("question"), str):
                raise Asked(message, problem)
    elif media_type == "text/plain" and answer.strip():
        message = answer.decode(errors="replace").strip()
    raise kind(message)
