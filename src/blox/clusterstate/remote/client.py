"""`StateService` over HTTP: one of several cluster-state-services, another when that one fails.

All clusters are followed from the same service, one connection each for its stream. It is the one
in use until a request or a stream of it fails: it cannot be reached, answers 5xx or what nobody
understands, or has sent nothing for two and a half heartbeats. Then the next is in use, round and
round; streams of the former end, so that what is asked and what is told are of one service.
Pauses between attempts are the caller's.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

import aiohttp
from msgspec import Raw
from msgspec.structs import replace
from yarl import URL

import blox
from blox.base.ids import parse_arn, short_id
from blox.clusterstate.remote.lines import (
    Expired,
    Page,
    Unreadable,
    detail_of,
    read_cluster,
    read_items,
    read_line,
    read_page,
    read_ticket,
)
from blox.clusterstate.remote.port import (
    ClusterTold,
    HostTold,
    Listing,
    NotWatched,
    PositionExpired,
    ServiceUnavailable,
    TaskTold,
    Ticket,
    Told,
)

HEARTBEAT: Final = 15.0
"""Seconds after which a stream that has nothing to tell says so."""
SILENCE: Final = 2.5
"""Heartbeats without a byte after which nobody is taken to be at the other end."""
CONNECT_TIMEOUT: Final = 5.0
KEPT_ALIVE: Final = 3.0
"""Seconds for which an idle connection is used again: the service closes it after five."""
CALL_TIMEOUT: Final = 30.0
"""Seconds for one answer."""
PAGE: Final = 1000
"""Items of one page of a list."""
LISTED_AT_ONCE: Final = 4
"""Clusters that are listed at the same time."""
TOGETHER: Final = 100
"""Items that are understood before other work is let in."""
NO_ANSWER: Final = "does not answer in time"
LONGEST_LINE: Final = 16 * 1024 * 1024

T = TypeVar("T")
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError)


class StateClient:
    """Asks the service in use. What fails is told with the endpoint that failed."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        heartbeat: float = HEARTBEAT,
        timeout: float = CALL_TIMEOUT,
        page: int = PAGE,
    ) -> None:
        """`endpoints`: HOST:PORT or URLs, in the order in which they are tried."""
        self.endpoints = tuple(dict.fromkeys(endpoints))
        self._urls = {endpoint: _url(endpoint) for endpoint in self.endpoints}
        self._in_use = self.endpoints[0]
        self._silence = SILENCE * heartbeat
        self._timeout = timeout
        self._page = page
        self._failed: dict[str, str] = {}
        """Endpoints that have not answered since they failed, and how."""
        self._streams: dict[aiohttp.ClientResponse, str] = {}
        self._listing = asyncio.Semaphore(LISTED_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self.switched = 0
        """How often another service came into use."""

    @property
    def name(self) -> str:
        """The endpoint in use."""
        return self._in_use

    async def close(self) -> None:
        """End all streams and connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- StateService -----------------------------------------------------------------------------

    async def listing(self, cluster_arn: str) -> Listing:
        """All of one cluster, page by page."""
        endpoint = self._in_use
        async with self._listing:
            position = await self._position(endpoint, cluster_arn)
            cluster = await self._cluster(endpoint, cluster_arn)
            numbering = position.rpartition(".")[0]
            tasks: list[TaskTold] = []
            hosts: list[HostTold] = []
            shared: dict[object, Any] = {}
            for path in ("/v2/tasks", "/v2/instances"):
                async for told in self._items(endpoint, path, cluster_arn, numbering):
                    if isinstance(told, TaskTold):
                        tasks.append(told)
                    else:
                        hosts.append(_slim(told, shared))
            if (await self._cluster(endpoint, cluster_arn)).epoch != cluster.epoch:
                # Its stored copy need not have had all that the former run told of its sweep.
                raise self._fail(endpoint, "was restarted while it was listed")
        return Listing(position=position, cluster=cluster, tasks=tuple(tasks), hosts=tuple(hosts))

    async def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        """One stream: a batch for whatever comes together."""
        endpoint = self._in_use
        query = {
            "kinds": "tasks,instances,clusters",
            "cluster": cluster_arn,
            "position": position,
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=self._silence
        )
        answer: aiohttp.ClientResponse | None = None
        try:
            answer = await self._send(endpoint, "GET", "/v2/stream", query, timeout)
            if answer.status != 200:
                body = await answer.read()
                if answer.status == 410:
                    raise PositionExpired
                self._refused(endpoint, answer.status, body, "/v2/stream")
            self._streams[answer] = endpoint
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    raise Unreadable(f"a line of more than {LONGEST_LINE} bytes")
                batch: list[Told] = []
                for line in lines:
                    position, told = read_line(line, cluster_arn)
                    if told is not None:
                        batch.append(told)
                if lines:
                    self._failed.pop(endpoint, None)
                    yield position, batch
        except Expired as error:
            raise PositionExpired from error
        except Unreadable as error:
            raise self._fail(endpoint, f"tells what cannot be understood: {error}") from error
        except TimeoutError as error:
            how = f"sent nothing for {self._silence:g} s"
            raise self._fail(endpoint, NO_ANSWER if answer is None else how) from error
        except _FAILURES as error:
            raise self._fail(endpoint, _cause(error)) from error
        finally:
            if answer is not None:
                self._streams.pop(answer, None)
                answer.close()
        raise self._fail(endpoint, "ended the stream")

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        """Ask for a sweep."""
        return await self._ask_sweep(self._in_use, cluster_arn)

    # --- Parts of it ------------------------------------------------------------------------------

    async def _position(self, endpoint: str, cluster_arn: str) -> str:
        """Where the service is now."""
        query = {"cluster": cluster_arn, "limit": "1"}
        return (await self._read_page(endpoint, "/v2/tasks", query)).position

    async def _cluster(self, endpoint: str, cluster_arn: str) -> ClusterTold:
        """How well the cluster is known; one that the service does not watch is watched from then
        on."""
        path = f"/v2/clusters/{short_id(cluster_arn)}"
        try:
            body = await self._ask(endpoint, "GET", path)
        except NotWatched:
            ticket = await self._ask_sweep(endpoint, cluster_arn)
            return ClusterTold(epoch=ticket.epoch, sweep=0)
        arn, told = self._understood(endpoint, lambda: read_cluster(body))
        self._check(endpoint, arn, cluster_arn)
        return told

    async def _ask_sweep(self, endpoint: str, cluster_arn: str) -> Ticket:
        path = f"/v2/clusters/{short_id(cluster_arn)}/sweep"
        body = await self._ask(endpoint, "POST", path)
        arn, ticket = self._understood(endpoint, lambda: read_ticket(body))
        self._check(endpoint, arn, cluster_arn)
        return ticket

    async def _items(
        self, endpoint: str, path: str, cluster_arn: str, numbering: str
    ) -> AsyncGenerator[TaskTold | HostTold, None]:
        """Every item of a list."""
        query = {"cluster": cluster_arn, "limit": str(self._page)}
        while True:
            page = await self._read_page(endpoint, path, query)
            if page.position.rpartition(".")[0] != numbering:
                raise self._fail(endpoint, "became another service while it was listed")
            for at in range(0, len(page.items), TOGETHER):
                for told in self._read_few(endpoint, page.items[at : at + TOGETHER], cluster_arn):
                    yield told
                await asyncio.sleep(0)
            if page.next_token is None:
                return
            query["nextToken"] = page.next_token

    async def _read_page(self, endpoint: str, path: str, query: Mapping[str, str]) -> Page:
        body = await self._ask(endpoint, "GET", path, query)
        return self._understood(endpoint, lambda: read_page(body))

    def _read_few(
        self, endpoint: str, items: Sequence[Raw], cluster_arn: str
    ) -> list[TaskTold | HostTold]:
        return self._understood(endpoint, lambda: list(read_items(items, cluster_arn)))

    def _understood(self, endpoint: str, read: Callable[[], T]) -> T:
        """What `read` makes of an answer."""
        try:
            return read()
        except Unreadable as error:
            raise self._fail(endpoint, f"answers what cannot be understood: {error}") from error

    def _check(self, endpoint: str, arn: str, cluster_arn: str) -> None:
        """Whether the service means the same cluster by its name."""
        if arn == cluster_arn:
            return
        theirs, ours = parse_arn(arn), parse_arn(cluster_arn)
        where = arn if theirs is None else f"account {theirs.account} in {theirs.region}"
        here = cluster_arn if ours is None else f"account {ours.account} in {ours.region}"
        raise self._fail(
            endpoint,
            f"watches cluster {short_id(arn)} of {where}, and this scheduler acts on that of "
            f"{here}: it is another one's service",
        )

    # --- Requests ---------------------------------------------------------------------------------

    async def _ask(
        self, endpoint: str, method: str, path: str, query: Mapping[str, str] | None = None
    ) -> bytes:
        """One request, sent once; the body of an answer that grants it."""
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            answer = await self._send(endpoint, method, path, query or {}, timeout)
            async with answer:
                body = await answer.read()
        except TimeoutError as error:
            raise self._fail(endpoint, NO_ANSWER) from error
        except _FAILURES as error:
            raise self._fail(endpoint, _cause(error)) from error
        if answer.status == 404 and path.startswith("/v2/clusters/"):
            raise NotWatched(f"The cluster-state-service at {endpoint}: {detail_of(body)}")
        if not 200 <= answer.status < 300:
            self._refused(endpoint, answer.status, body, path)
        self._failed.pop(endpoint, None)
        return body

    async def _send(
        self,
        endpoint: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        base = self._urls[endpoint]
        url = base.with_path(base.path.rstrip("/") + path).with_query(query)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": f"blox/{blox.__version__}",
                    "Accept": "application/json, application/x-ndjson",
                    "Accept-Encoding": "identity",
                },
                trust_env=False,
            )
        return await self._session.request(method, url, timeout=timeout, allow_redirects=False)

    def _refused(self, endpoint: str, status: int, body: bytes, path: str) -> NoReturn:
        detail = detail_of(body) or f"HTTP {status} to {path}"
        if status == 503:
            raise self._fail(endpoint, f"is not ready: {detail}")
        asked = "Is it a cluster-state-service?" if status in (404, 405) else ""
        raise self._fail(endpoint, f"refuses {path}: {detail} {asked}".rstrip(". "))

    def _fail(self, endpoint: str, how: str) -> ServiceUnavailable:
        """This endpoint failed; another comes into use, if there is one. The error to raise."""
        if endpoint == self._in_use or endpoint not in self._failed:
            self._failed[endpoint] = how
        how = self._failed[endpoint]  # A stream that we ended says nothing of why.
        if endpoint == self._in_use and len(self.endpoints) > 1:
            place = self.endpoints.index(endpoint) + 1
            self._in_use = self.endpoints[place % len(self.endpoints)]
            self.switched += 1
            for answer, at in list(self._streams.items()):
                if at == endpoint:
                    answer.close()
        if len(self._failed) == len(self.endpoints) > 1:
            each = "; ".join(f"{name} {self._failed[name]}" for name in self.endpoints)
            return ServiceUnavailable(
                f"None of the cluster-state-services can be followed ({each}). Start one, or "
                "correct --css-endpoint."
            )
        what_next = "Start it, or correct --css-endpoint."
        if len(self.endpoints) > 1:
            what_next = f"Next is {self._in_use}."
        return ServiceUnavailable(
            f"The cluster-state-service at {endpoint} cannot be followed: it {how}. {what_next}"
        )


def _slim(told: HostTold, shared: dict[object, Any]) -> HostTold:
    """The same host with parts that are one object in all of them: attributes and resources are
    most of its 9 kB, and hosts differ little in them. `shared`: the parts seen so far."""

    def one(parts: Any) -> Any:
        return shared.setdefault(parts, parts) if isinstance(parts, tuple) else parts

    document = told.document
    return HostTold(
        document=replace(
            document,
            attributes=one(document.attributes),
            registered_resources=one(document.registered_resources),
            remaining_resources=one(document.remaining_resources),
        ),
        read_at=told.read_at,
    )


def _url(endpoint: str) -> URL:
    return URL(endpoint if "://" in endpoint else f"http://{endpoint}")


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"does not answer ({os.strerror(number) if number else error.os_error})"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "ended the connection"
    return f"does not answer ({type(error).__name__}: {error})"
