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
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

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
LONGEST_ANSWER: Final = 128 * 1024 * 1024

T = TypeVar("T")
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError)


class _Route(NamedTuple):
    """Who is asked, and about which cluster."""

    endpoint: str
    cluster_arn: str


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
        """Where clusters begin; each goes on by itself."""
        self._used: dict[str, str] = {}
        """The endpoint of each cluster."""
        self._silence = SILENCE * heartbeat
        self._timeout = timeout
        self._page = page
        self._failed: dict[str, str] = {}
        """Endpoints that have not answered anybody since they failed, and how."""
        self._wrong: dict[str, dict[str, str]] = {}
        """By cluster, those that have told nothing of it since they did not do for it, and how."""
        self._unwatched: dict[str, dict[str, str]] = {}
        """By cluster, those that do not watch it, and what they said."""
        self._streams: dict[aiohttp.ClientResponse, _Route] = {}
        self._listing = asyncio.Semaphore(LISTED_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self.switched = 0
        """How often another service came into use for a cluster."""

    @property
    def name(self) -> str:
        """The endpoint that most clusters use."""
        used = list(self._used.values())
        return max(self.endpoints, key=used.count) if used else self._in_use

    async def close(self) -> None:
        """End all streams and connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- StateService -----------------------------------------------------------------------------

    def serves(self, cluster_arn: str) -> str:
        """The endpoint that is used for this cluster."""
        return self._used.get(cluster_arn, self._in_use)

    def leave(self, cluster_arn: str, endpoint: str, how: str) -> bool:
        """Use another endpoint for this cluster."""
        if len(self.endpoints) == 1 or self.serves(cluster_arn) != endpoint:
            return False
        self._fail(_Route(endpoint, cluster_arn), how)
        return True

    async def listing(self, cluster_arn: str) -> Listing:
        """All of one cluster, page by page."""
        at = self._route(cluster_arn)
        async with self._listing:
            position = await self._position(at, cluster_arn)
            cluster = await self._cluster(at, cluster_arn)
            numbering = position.rpartition(".")[0]
            tasks: list[TaskTold] = []
            hosts: list[HostTold] = []
            shared: dict[object, Any] = {}
            for path in ("/v2/tasks", "/v2/instances"):
                async for told in self._items(at, path, cluster_arn, numbering):
                    if isinstance(told, TaskTold):
                        tasks.append(told)
                    else:
                        hosts.append(_slim(told, shared))
            if (await self._cluster(at, cluster_arn)).epoch != cluster.epoch:
                # Its stored copy need not have had all that the former run told of its sweep.
                raise self._fail(at, "was restarted while it was listed")
        return Listing(position=position, cluster=cluster, tasks=tuple(tasks), hosts=tuple(hosts))

    async def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        """One stream: a batch for whatever comes together."""
        at = self._route(cluster_arn)
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
            answer = await self._send(at.endpoint, "GET", "/v2/stream", query, timeout)
            if answer.status != 200:
                body = await answer.read()
                if answer.status == 410:
                    raise PositionExpired
                self._refused(at, answer.status, body, "/v2/stream")
            self._streams[answer] = at
            if self.serves(cluster_arn) != at.endpoint:
                raise self._fail(at, "was left while the stream began")
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
                    self._answered(at)
                    yield position, batch
        except Expired as error:
            raise PositionExpired from error
        except Unreadable as error:
            raise self._fail(at, f"tells what cannot be understood: {error}") from error
        except TimeoutError as error:
            how = f"sent nothing for {self._silence:g} s"
            how = NO_ANSWER if answer is None else how
            raise self._fail(at, how, down=True) from error
        except _FAILURES as error:
            raise self._fail(at, _cause(error), down=True) from error
        finally:
            if answer is not None:
                self._streams.pop(answer, None)
                answer.close()
        raise self._fail(at, "ended the stream", down=True)

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        """Ask for a sweep."""
        return await self._ask_sweep(self._route(cluster_arn), cluster_arn)

    # --- Parts of it ------------------------------------------------------------------------------

    async def _position(self, at: _Route, cluster_arn: str) -> str:
        """Where the service is now."""
        query = {"cluster": cluster_arn, "limit": "1"}
        return (await self._read_page(at, "/v2/tasks", query)).position

    async def _cluster(self, at: _Route, cluster_arn: str) -> ClusterTold:
        """How well the cluster is known; one that the service does not watch is watched from then
        on."""
        path = f"/v2/clusters/{short_id(cluster_arn)}"
        try:
            body = await self._ask(at, "GET", path)
        except NotWatched:
            ticket = await self._ask_sweep(at, cluster_arn)
            return ClusterTold(epoch=ticket.epoch, sweep=0)
        arn, told = self._understood(at, lambda: read_cluster(body))
        self._check(at, arn, cluster_arn)
        self._unwatched.pop(cluster_arn, None)
        return told

    async def _ask_sweep(self, at: _Route, cluster_arn: str) -> Ticket:
        path = f"/v2/clusters/{short_id(cluster_arn)}/sweep"
        try:
            body = await self._ask(at, "POST", path)
        except NotWatched as error:
            raise self._not_watched(at, error) from error
        arn, ticket = self._understood(at, lambda: read_ticket(body))
        self._check(at, arn, cluster_arn)
        self._unwatched.pop(cluster_arn, None)
        return ticket

    async def _items(
        self, at: _Route, path: str, cluster_arn: str, numbering: str
    ) -> AsyncGenerator[TaskTold | HostTold, None]:
        """Every item of a list."""
        query = {"cluster": cluster_arn, "limit": str(self._page)}
        while True:
            page = await self._read_page(at, path, query)
            if page.position.rpartition(".")[0] != numbering:
                raise self._fail(at, "became another service while it was listed")
            for first in range(0, len(page.items), TOGETHER):
                for told in self._read_few(at, page.items[first : first + TOGETHER], cluster_arn):
                    yield told
                await asyncio.sleep(0)
            if page.next_token is None:
                return
            query["nextToken"] = page.next_token

    async def _read_page(self, at: _Route, path: str, query: Mapping[str, str]) -> Page:
        body = await self._ask(at, "GET", path, query)
        return self._understood(at, lambda: read_page(body))

    def _read_few(
        self, at: _Route, items: Sequence[Raw], cluster_arn: str
    ) -> list[TaskTold | HostTold]:
        return self._understood(at, lambda: list(read_items(items, cluster_arn)))

    def _understood(self, at: _Route, read: Callable[[], T]) -> T:
        """What `read` makes of an answer."""
        try:
            return read()
        except Unreadable as error:
            raise self._fail(at, f"answers what cannot be understood: {error}") from error

    def _check(self, at: _Route, arn: str, cluster_arn: str) -> None:
        """Whether the service means the same cluster by its name."""
        if arn == cluster_arn:
            return
        theirs, ours = parse_arn(arn), parse_arn(cluster_arn)
        where = arn if theirs is None else f"account {theirs.account} in {theirs.region}"
        here = cluster_arn if ours is None else f"account {ours.account} in {ours.region}"
        raise self._fail(
            at,
            f"watches cluster {short_id(arn)} of {where}, and this scheduler acts on that of "
            f"{here}: it is another one's service",
        )

    # --- Requests ---------------------------------------------------------------------------------

    async def _ask(
        self, at: _Route, method: str, path: str, query: Mapping[str, str] | None = None
    ) -> bytes:
        """One request, sent once; the body of an answer that grants it. Raises NotWatched where
        this service says that there is no such cluster."""
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            answer = await self._send(at.endpoint, method, path, query or {}, timeout)
            async with answer:
                body = await _whole(answer)
        except Unreadable as error:
            raise self._fail(at, f"answers what cannot be understood: {error}") from error
        except TimeoutError as error:
            raise self._fail(at, NO_ANSWER) from error
        except _FAILURES as error:
            raise self._fail(at, _cause(error), down=True) from error
        detail = detail_of(body)
        if answer.status == 404 and detail and path.startswith("/v2/clusters/"):
            raise NotWatched(f"The cluster-state-service at {at.endpoint}: {detail}")
        if not 200 <= answer.status < 300:
            self._refused(at, answer.status, body, path)
        self._answered(at)
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

    def _refused(self, at: _Route, status: int, body: bytes, path: str) -> NoReturn:
        detail = detail_of(body).rstrip(". ") or f"HTTP {status} to {path}"
        if status == 503:
            raise self._fail(at, f"is not ready: {detail}", down=True)
        asked = ". Is it a cluster-state-service?" if status in (404, 405) else ""
        raise self._fail(at, f"refuses {path}: {detail}{asked}", down=status >= 500)

    # --- Which one is asked -----------------------------------------------------------------------

    def _route(self, cluster_arn: str) -> _Route:
        """Who is asked about this cluster: the same one as before."""
        return _Route(self._used.setdefault(cluster_arn, self._in_use), cluster_arn)

    def _answered(self, at: _Route) -> None:
        """This endpoint answers, and about this cluster too."""
        self._failed.pop(at.endpoint, None)
        self._wrong.get(at.cluster_arn, {}).pop(at.endpoint, None)

    def _not_watched(self, at: _Route, said: NotWatched) -> ServiceUnavailable:
        """This service does not watch the cluster. Only when all of them have said so, it is so."""
        unwatched = self._unwatched.setdefault(at.cluster_arn, {})
        unwatched[at.endpoint] = said.message
        failed = self._fail(at, f"does not watch cluster {short_id(at.cluster_arn)}")
        if len(unwatched) < len(self.endpoints):
            return failed
        return NotWatched(" ".join(unwatched[endpoint] for endpoint in self.endpoints))

    def _fail(self, at: _Route, how: str, *, down: bool = False) -> ServiceUnavailable:
        """This endpoint failed for this cluster, which uses another one from now on, if there is
        one; the others notice by themselves. `down`: it fails for everybody, and is the last one
        that others turn to. The error to raise."""
        endpoint = at.endpoint
        wrong = self._wrong.setdefault(at.cluster_arn, {})
        used = endpoint == self.serves(at.cluster_arn)
        if used or endpoint not in wrong:
            wrong[endpoint] = how
            if down:
                self._failed[endpoint] = how
        how = wrong[endpoint]  # A stream that we ended says nothing of why.
        if used and len(self.endpoints) > 1:
            self._move(at, down=down)
        end = "" if how.endswith("?") else "."
        if len(wrong) == len(self.endpoints) > 1:
            each = "; ".join(f"{name} {wrong[name]}" for name in self.endpoints)
            return ServiceUnavailable(
                f"None of the cluster-state-services can be followed ({each}). Start one, or "
                "correct --css-endpoint."
            )
        what_next = f"{'Start it' if down else 'See to it'}, or correct --css-endpoint."
        if len(self.endpoints) > 1:
            what_next = f"Next is {self.serves(at.cluster_arn)}."
        return ServiceUnavailable(
            f"The cluster-state-service at {endpoint} cannot be followed: it {how}{end} {what_next}"
        )

    def _move(self, at: _Route, *, down: bool) -> None:
        """Use the next endpoint for this cluster: one that has not failed, if there is one."""
        place = self.endpoints.index(at.endpoint) + 1
        ring = [*self.endpoints[place:], *self.endpoints[: place - 1]]
        wrong = self._wrong[at.cluster_arn]
        following = min(ring, key=lambda name: (name in wrong, name in self._failed))
        self._used[at.cluster_arn] = following
        self.switched += 1
        if down and self._in_use == at.endpoint:
            self._in_use = following
        for answer, of in list(self._streams.items()):
            if of == at:
                answer.close()


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """The body. Raises Unreadable where it is longer than any answer of such a service."""
    chunks, size = [], 0
    async for chunk in answer.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > LONGEST_ANSWER:
            answer.close()
            raise Unreadable(f"an answer of more than {LONGEST_ANSWER} bytes")
    return b"".join(chunks)


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
        if number and number > 0:
            return f"does not answer ({os.strerror(number)})"
        return f"does not answer ({error.os_error.strerror or error.os_error})"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "ended the connection"
    return f"does not answer ({type(error).__name__}: {error})"
