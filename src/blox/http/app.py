"""An HTTP application from declared operations, on Litestar.

Litestar routes and streams; what it would answer by itself is put into our words in one place,
because unknown paths and methods never reach a router's own handlers.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, Request
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from blox.base.errors import BloxError, NotFound
from blox.http.counted import METRICS_TYPE
from blox.http.edge import HttpApp
from blox.http.endless import Endless
from blox.http.failures import INTERNAL, error_answer, speaks_text
from blox.http.openapi import document
from blox.http.operations import (
    JSON,
    MERGE_PATCH,
    Answer,
    Call,
    Operation,
    Returned,
    Streaming,
)
from blox.http.problems import Refused, status_of
from blox.http.queries import Query, parse_query
from blox.http.texts import PLAIN, UNSUPPORTED_FILTER

MAX_BODY: Final = 1024 * 1024
"""Bytes. ECS's own limit for a task's overrides is 8 kB; nothing that we take comes near."""
_BODY_TIMEOUT: Final = 30.0
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)(?::(path))?\}")
_V1_JSON: Final = "application/json; charset=UTF-8"
_log = structlog.get_logger(__name__)
_Request = Request[Any, Any, Any]


def create_app(
    operations: Sequence[Operation],
    *,
    title: str,
    version: str,
    description: str = "",
    ready: Callable[[], str | None],
    metrics: Callable[[], Awaitable[bytes]],
    local_only: bool,
    statuses: Mapping[type[BloxError], int] | None = None,
    unsupported_filter: str = UNSUPPORTED_FILTER,
) -> HttpApp:
    """The application that serves `operations`, /livez, /readyz, /metrics and /openapi.json.

    `ready` gives None, or a sentence that says why this process cannot serve. `local_only`: it
    listens on loopback, and answers only to loopback's names. `statuses` gives an HTTP status to
    kinds of errors that have none of their own. `unsupported_filter` is what /v1 says of a query
    parameter that it does not have.
    """
    offered = [*operations, *_own_operations(ready, metrics)]
    described = document(offered, title=title, version=version, description=description)
    offered.append(_openapi_operation(described))
    stopping = asyncio.Event()
    inner = Litestar(
        route_handlers=[_handler_of(operation, stopping) for operation in offered],
        exception_handlers={Exception: _Failing(statuses or {}, unsupported_filter)},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        debug=False,
        pdb_on_exception=False,
    )
    return HttpApp(inner, local_only=local_only, stopping=stopping)


def _own_operations(
    ready: Callable[[], str | None], metrics: Callable[[], Awaitable[bytes]]
) -> list[Operation]:
    async def livez(_: Call) -> Answer:
        return Answer(body=b"ok\n", media_type=PLAIN)

    async def readyz(_: Call) -> Answer:
        reason = ready()
        if reason is not None:
            raise Refused(503, reason)
        return Answer(body=b"ok\n", media_type=PLAIN)

    async def scrape(_: Call) -> Answer:
        return Answer(body=await metrics(), media_type=METRICS_TYPE)

    text = {200: Returned(description="OK", body=str, media_type="text/plain")}
    return [
        Operation(
            method="GET",
            path=path,
            id=name,
            summary=summary,
            handle=handle,
            answers=text,
            errors=errors,
            tags=("process",),
            any_query=True,
        )
        for path, name, summary, handle, errors in (
            ("/livez", "livez", "The process runs and its loop turns", livez, ()),
            ("/readyz", "readyz", "This process can serve", readyz, (503,)),
            ("/metrics", "metrics", "Counters in Prometheus's text format", scrape, ()),
        )
    ]


def _openapi_operation(described: bytes) -> Operation:
    async def openapi(_: Call) -> Answer:
        return Answer(body=described)

    return Operation(
        method="GET", path="/openapi.json", id="openapi", summary="This document", handle=openapi
    )


def _handler_of(operation: Operation, stopping: asyncio.Event) -> HTTPRouteHandler:
    names = frozenset(parameter.name for parameter in operation.query)
    takes_body = operation.body is not None
    json_type = _V1_JSON if speaks_text(operation.path) else JSON

    async def serve(request: _Request) -> Response[Any]:
        query = Query({})
        if not operation.any_query:
            query = parse_query(request.scope["query_string"], allowed=names)
        call = Call(
            method=operation.method,
            path=request.scope["path"],
            params=_without_slash(request.path_params),
            query=query,
            headers=dict(request.headers.items()),
            body=await _body_of(request, operation) if takes_body else b"",
        )
        answer = await operation.handle(call)
        if isinstance(answer, Streaming):
            return Endless(
                answer.chunks,
                stopping,
                headers={
                    "content-type": answer.media_type,
                    "cache-control": "no-cache",
                    # Proxies that gather an answer before they pass it on would gather for ever.
                    "x-accel-buffering": "no",
                    **answer.headers,
                },
            )
        return _response(answer, json_type)

    return HTTPRouteHandler(
        _PATH_PARAMETER.sub(_with_type, operation.path),
        http_method=operation.method,
        name=operation.id,
        status_code=200,
    )(serve)


def _with_type(parameter: re.Match[str]) -> str:
    """A parameter in Litestar's words: one part of a path, unless it takes the rest."""
    return f"{{{parameter[1]}:{parameter[2] or 'str'}}}"


def _without_slash(params: Mapping[str, str]) -> Mapping[str, str]:
    """Litestar gives the rest of a path with the slashes before and after it."""
    return {n: value.removeprefix("/").removesuffix("/") for n, value in params.items()}


def _response(answer: Answer, json_type: str) -> Response[bytes]:
    """The content type goes as a header: Litestar would change it on its way."""
    if answer.status == HTTPStatus.NOT_MODIFIED:
        return Response(
            b"", status_code=304, headers={"cache-control": "no-store", **answer.headers}
        )
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return Response(
        body,
        status_code=answer.status,
        headers={
            "content-type": answer.media_type or json_type,
            "cache-control": "no-store",
            **answer.headers,
        },
    )


async def _body_of(request: _Request, operation: Operation) -> bytes:
    """The whole body, within its limits of size and time."""
    _check_media_type(request, operation)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            return await request.body()
    except TimeoutError:
        raise Refused(
            408,
            f"The request's body did not arrive within {_BODY_TIMEOUT:g} s.",
            headers={"connection": "close"},
        ) from None
    except RequestEntityTooLarge:
        raise Refused(
            413,
            f"The request's body is larger than {MAX_BODY} bytes.",
            headers={"connection": "close"},
        ) from None
    except HTTPException as error:
        raise Refused(400, f"The request's body could not be read: {error.detail}.") from None


def _check_media_type(request: _Request, operation: Operation) -> None:
    """/v1 has always taken any content type; elsewhere a wrong one is named."""
    given = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if not given or speaks_text(operation.path):
        return
    wanted = (JSON, MERGE_PATCH) if operation.method == "PATCH" else (JSON,)
    if given not in wanted:
        raise Refused(
            415, f"The request's body is {given}: send it with Content-Type: {wanted[-1]}."
        )


class _Failing:
    """Litestar's handler of every exception, its own as well as ours."""

    def __init__(self, statuses: Mapping[type[BloxError], int], unsupported_filter: str) -> None:
        self._statuses = statuses
        self._unsupported_filter = unsupported_filter

    def __call__(self, request: _Request, error: Exception) -> Response[bytes]:
        path = request.scope["path"]
        told = self._told(error, request.scope["method"], path)
        status, headers, body = error_answer(
            told, path=path, unsupported_filter=self._unsupported_filter
        )
        if status == 500:
            _log.error("request failed", method=request.scope["method"], path=path, exc_info=error)
        return _error_response(status, dict(headers), body)

    def _told(self, error: Exception, method: str, path: str) -> BloxError:
        """What the client is told: an error with a sentence of ours."""
        if isinstance(error, BloxError):
            return self._with_status(error)
        if isinstance(error, NotFoundException):
            return NotFound(f"There is nothing at {path}.")
        if isinstance(error, MethodNotAllowedException):
            allowed = sorted((error.headers or {}).get("allow", "").split(", "))
            possible = ", ".join(name for name in allowed if name != "OPTIONS")
            return Refused(
                405,
                f"{method} is not possible at {path}; this is: {possible}.",
                headers={"allow": ", ".join(allowed)},
            )
        if isinstance(error, HTTPException) and error.status_code < 500:
            return Refused(error.status_code, f"{error.detail}.")
        return INTERNAL

    def _with_status(self, error: BloxError) -> BloxError:
        if status_of(error) != 500:
            return error
        for kind, status in self._statuses.items():
            if isinstance(error, kind):
                return Refused(status, error.message)
        return error


def _error_response(status: int, headers: dict[str, str], body: bytes) -> Response[bytes]:
    return Response(body, status_code=status, headers={"cache-control": "no-store", **headers})
