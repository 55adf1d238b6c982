"""A cluster-state-service's API without a server: the real operations, asked in process.

Requests are values and answers are the bytes that HTTP would carry, so that what is decided by how
the API lists, orders and encodes is decided here too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from blox.base.ambient import Clock
from blox.base.errors import BloxError, NotFound
from blox.clusterstate.api import operations
from blox.clusterstate.api.context import StateApi, StateInfo
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.remote.port import NotWatched, PositionExpired, ServiceUnavailable
from blox.clusterstate.view import View
from blox.http import problems
from blox.http.operations import Answer, Call, Streaming
from blox.http.queries import Query

SIMULATED: Final = "simulated"

Watch = Callable[[str], Awaitable[str | None]]


class Served:
    """The API of one run of a service."""

    def __init__(self, view: View, catalogue: Catalogue, clock: Clock, *, watch: Watch) -> None:
        """`watch`: see `StateInfo.watch`."""
        info = StateInfo(version=SIMULATED, began_at=clock.wall(), watch=watch)
        api = StateApi(view, catalogue, info, clock=clock)
        self._handlers = {one.id: partial(_handle, one.handle) for one in operations(api)}

    async def ask(
        self,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of one answer. Raises NotWatched for a cluster that is not there."""
        answer = await self._handlers[operation](query or {}, params or {})
        assert isinstance(answer, Answer)
        assert isinstance(answer.body, bytes)
        return answer.body

    async def stream(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The chunks of /v2/stream. Raises PositionExpired."""
        answer = await self._handlers["stream"](query, {})
        assert isinstance(answer, Streaming)
        return answer.chunks


async def _handle(
    handle: Callable[[Call], Awaitable[Answer | Streaming]],
    query: Mapping[str, str],
    params: Mapping[str, str],
) -> Answer | Streaming:
    call = Call(method="GET", path="/", params=params, query=Query(query), headers={})
    try:
        return await handle(call)
    except NotFound as error:
        raise NotWatched(error.message) from error
    except problems.PositionExpired as error:
        raise PositionExpired from error
    except BloxError as error:
        raise ServiceUnavailable(f"the simulated service: {error.message}") from error
