"""The way from a client to cluster-state-services, as an adversary: `StateService` without HTTP.

Answers come in milliseconds or minutes, or not at all; lists are read page by page while the world
goes on; streams are cut at any moment, in the middle of a batch too, or fall silent; what a stream
took from a service is delivered even after the service died, as late as a proxy holds it; positions
expire at will; the endpoint in use changes between two calls.

What is never done is what HTTP and the service exclude: a stream never leaves out or reorders what
the service tells in it, and a list holds what was there when its position was taken.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NoReturn

from blox.base.ids import short_id
from blox.clusterstate.remote.lines import (
    Expired,
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
from blox.simulator.state_process import Replica, Run

NOTICED: Final = 45.0
"""Seconds of silence after which the client gives a stream up."""
CALL_TIMEOUT: Final = 30.0
"""Seconds after which the client gives a call up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How often what goes wrong between a client and the services: 0 never, 1 always."""

    refused: float = 0.0
    """A call fails at once."""
    slow: float = 0.0
    """A call takes seconds, up to minutes."""
    hangs: float = 0.0
    """A call is carried out, perhaps, and never answered."""
    cuts: float = 0.0
    """A stream is cut, at any moment of the next ten minutes."""
    silent: float = 0.0
    """A stream falls silent for ever, at any moment of the next ten minutes."""
    held: float = 0.0
    """A batch of a stream is held up, for seconds or minutes; what follows comes in a burst."""
    pieces: float = 0.0
    """A batch comes in pieces, with time in between."""
    expires: float = 0.0
    """A position that is good is refused."""
    strays: float = 0.0
    """A call goes to another endpoint than the one in use."""


FAIR: Final = Weather()


class Line:
    """One client's way to some services, of which one is in use at a time."""

    def __init__(self, replicas: Sequence[Replica], *, random: Random) -> None:
        self.weather = FAIR
        self.partitioned = False
        """Nothing reaches any service, and nothing comes back."""
        self.in_use = 0
        """Which service is asked. A call that fails moves on to the next, and ends the streams."""
        self.slowly: float | None = None
        """Seconds that everything takes that is asked or answered; None: as chance has it."""
        self.counts = {"lists": 0, "streams": 0, "cuts": 0, "expired": 0, "sweeps": 0}
        self._replicas = tuple(replicas)
        self._random = random
        self._breaks = 0

    def use(self, number: int, *, cut: bool = False) -> None:
        """Another service is in use from now on. `cut`: the streams of the former end, soon."""
        self.in_use = number
        self._breaks += cut

    # --- StateService -----------------------------------------------------------------------------

    def serves(self, cluster_arn: str) -> str:  # noqa: ARG002
        """The name of the service in use: one for all clusters."""
        return self._replicas[self.in_use % len(self._replicas)].name

    def leave(self, cluster_arn: str, endpoint: str, how: str) -> bool:  # noqa: ARG002
        """The next service comes into use."""
        if len(self._replicas) == 1 or self.serves(cluster_arn) != endpoint:
            return False
        self.use((self.in_use + 1) % len(self._replicas), cut=True)
        return True

    async def listing(self, cluster_arn: str) -> Listing:
        """Answer by answer, as `blox.clusterstate.remote.client` asks for them."""
        self.counts["lists"] += 1
        replica = self._chosen()
        query = {"cluster": cluster_arn, "limit": "1"}
        position = read_page(await self._ask(replica, "findTasks", query=query)).position
        cluster = await self._cluster(replica, cluster_arn)
        numbering = position.rpartition(".")[0]
        tasks = await self._items(replica, "findTasks", cluster_arn, numbering)
        hosts = await self._items(replica, "findInstances", cluster_arn, numbering)
        if (await self._cluster(replica, cluster_arn)).epoch != cluster.epoch:
            self._fails(f"the simulated {replica.name} began anew while it was listed")
        return Listing(
            position=position,
            tasks=tuple(one for one in tasks if isinstance(one, TaskTold)),
            hosts=tuple(one for one in hosts if isinstance(one, HostTold)),
            cluster=cluster,
        )

    async def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        """A stream; see the module."""
        self.counts["streams"] += 1
        replica = self._chosen()
        run = await self._reach(replica)
        if self._strikes(self.weather.expires):
            self.counts["expired"] += 1
            raise PositionExpired
        query = {
            "kinds": "tasks,instances,clusters",
            "cluster": cluster_arn,
            "position": position,
        }
        fate = _Fate(
            ends=self._doom(self.weather.cuts),
            silent=self._doom(self.weather.silent),
            breaks=self._breaks,
        )
        async with aclosing(_Chunks(run, await run.served.stream(query))) as chunks:
            while True:
                chunk = await self._next(chunks, fate)
                await self._hold(fate)
                for lines in self._in_pieces(chunk):
                    await self._pass(self._random.uniform(0.001, 0.02), fate)
                    yield _understood(lines, cluster_arn)

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        """Asked for, perhaps in vain."""
        self.counts["sweeps"] += 1
        replica = self._chosen()
        if replica.trouble.deaf:
            told = await self._cluster(replica, cluster_arn)
            return Ticket(epoch=told.epoch, number=told.sweep + 1)
        return await self._ask_sweep(replica, cluster_arn)

    # --- A call -----------------------------------------------------------------------------------

    async def _cluster(self, replica: Replica, cluster_arn: str) -> ClusterTold:
        params = {"cluster": short_id(cluster_arn)}
        try:
            return read_cluster(await self._ask(replica, "showCluster", params=params))[1]
        except NotWatched:
            ticket = await self._ask_sweep(replica, cluster_arn)
            return ClusterTold(epoch=ticket.epoch, sweep=0)

    async def _ask_sweep(self, replica: Replica, cluster_arn: str) -> Ticket:
        params = {"cluster": short_id(cluster_arn)}
        return read_ticket(await self._ask(replica, "sweepCluster", params=params))[1]

    async def _items(
        self, replica: Replica, operation: str, cluster_arn: str, numbering: str
    ) -> list[TaskTold | HostTold]:
        found: list[TaskTold | HostTold] = []
        limit = self._random.choice((1, 3, 1000)) if self._strikes(0.2) else 1000
        query = {"cluster": cluster_arn, "limit": str(limit)}
        while True:
            page = read_page(await self._ask(replica, operation, query=query))
            if page.position.rpartition(".")[0] != numbering:
                self._fails(f"the simulated {replica.name} became another")
            found += read_items(page.items, cluster_arn)
            if page.next_token is None:
                return found
            query["nextToken"] = page.next_token

    async def _ask(
        self,
        replica: Replica,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request and its answer."""
        run = await self._reach(replica)
        body = await run.served.ask(operation, query=query, params=params)
        await self._travels(replica)
        return body

    def _chosen(self) -> Replica:
        """The service that is asked."""
        at = self.in_use
        if self._strikes(self.weather.strays):
            at = self._random.randrange(len(self._replicas))
        return self._replicas[at % len(self._replicas)]

    async def _reach(self, replica: Replica) -> Run:
        """A request arrives at a service that runs."""
        await self._travels(replica)
        if replica.run is None:
            self._move_on(replica)
            self._fails(f"the simulated {replica.name} does not answer")
        if replica.trouble.hung:
            await self._hang(replica)
        return replica.run

    def _move_on(self, replica: Replica) -> None:
        """A call failed: whoever was asked, if it is the one in use, is left for the next."""
        if len(self._replicas) > 1 and self._replicas[self.in_use] is replica:
            self.use((self.in_use + 1) % len(self._replicas), cut=True)

    async def _travels(self, replica: Replica) -> None:
        """A request or an answer."""
        weather = self.weather
        if self._strikes(weather.hangs):
            await self._hang(replica)
        if self._strikes(weather.refused):
            self._move_on(replica)
            self._fails("the simulated connection was refused")
        slow = self._strikes(weather.slow)
        seconds = self._span(0.5, 120.0) if slow else self._random.uniform(0.001, 0.02)
        if self.slowly is not None:
            seconds = self.slowly
        if seconds > CALL_TIMEOUT:
            await self._hang(replica)
        await asyncio.sleep(seconds)
        if self.partitioned:
            await self._hang(replica)

    async def _hang(self, replica: Replica) -> NoReturn:
        await asyncio.sleep(CALL_TIMEOUT)
        self._move_on(replica)
        self._fails("no answer from the simulated service")

    @staticmethod
    def _fails(how: str) -> NoReturn:
        raise ServiceUnavailable(how)

    # --- A stream ---------------------------------------------------------------------------------

    def _doom(self, rate: float) -> float:
        """When something befalls this stream; infinity: never."""
        if not self._strikes(rate):
            return float("inf")
        return asyncio.get_running_loop().time() + self._random.uniform(0.0, 600.0)

    def _in_pieces(self, chunk: bytes) -> Sequence[Sequence[bytes]]:
        """The lines as they are gathered into batches."""
        lines = chunk.splitlines()
        if self._strikes(self.weather.pieces):
            return [[line] for line in lines]
        return [lines]

    async def _next(self, chunks: "_Chunks", fate: "_Fate") -> bytes:
        """What the service sends next."""
        loop = asyncio.get_running_loop()
        until = min(fate.ends, fate.silent, loop.time() + NOTICED)
        chunk = await chunks.within(until - loop.time())
        await self._pass(0.0, fate)
        if chunks.run.replica.trouble.hung or chunk is None:
            await self._silence()
        return chunk

    async def _hold(self, fate: "_Fate") -> None:
        """A batch is held up on its way."""
        if self._strikes(self.weather.held):
            await self._pass(self._span(0.5, 300.0), fate)

    async def _pass(self, seconds: float, fate: "_Fate") -> None:
        loop = asyncio.get_running_loop()
        until = min(loop.time() + seconds, fate.ends, fate.silent)
        if until > loop.time():
            await asyncio.sleep(until - loop.time())
        if loop.time() >= fate.silent or self.partitioned:
            await self._silence()
        if loop.time() >= fate.ends or fate.breaks != self._breaks:
            self.counts["cuts"] += 1
            self._fails("the simulated stream was cut")

    async def _silence(self) -> NoReturn:
        await asyncio.sleep(NOTICED)
        self._fails("the simulated stream fell silent")

    # --- Chance -----------------------------------------------------------------------------------

    def _strikes(self, rate: float) -> bool:
        return rate > 0.0 and self._random.random() < rate

    def _span(self, low: float, high: float) -> float:
        return float(low * (high / low) ** self._random.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """What becomes of a stream, and when; infinity: never."""

    ends: float
    silent: float
    breaks: int
    """How often all streams had been cut when it began."""


class _Chunks:
    """The chunks of a stream, until its service dies."""

    def __init__(self, run: Run, chunks: AsyncIterator[bytes]) -> None:
        self.run = run
        self._chunks = chunks
        self._next: asyncio.Future[bytes] | None = None

    async def within(self, seconds: float) -> bytes | None:
        """The next chunk; None when none came. Raises ServiceUnavailable when no more will."""
        if self._next is None:
            self._next = asyncio.ensure_future(_one(self._chunks))
        over = asyncio.ensure_future(self.run.ended.wait())
        try:
            waiting: tuple[asyncio.Future[Any], ...] = (self._next, over)
            await asyncio.wait(
                waiting, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            over.cancel()
        if self.run.ended.is_set():
            raise ServiceUnavailable(f"the simulated {self.run.replica.name} closed the connection")
        if not self._next.done():
            return None
        chunk, self._next = self._next.result(), None
        return chunk

    async def aclose(self) -> None:
        """The client leaves."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait((self._next,))
            if not self._next.cancelled():
                self._next.exception()
        close = getattr(self._chunks, "aclose", None)
        assert close is not None
        await close()


async def _one(chunks: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        raise ServiceUnavailable("the simulated service ended the stream") from None


def _understood(lines: Sequence[bytes], cluster_arn: str) -> tuple[str, Sequence[Told]]:
    """The place that some lines come to, and what they tell."""
    position, batch = "", []
    try:
        for line in lines:
            position, told = read_line(line, cluster_arn)
            if told is not None:
                batch.append(told)
    except Expired as error:
        raise PositionExpired from error
    return position, batch
