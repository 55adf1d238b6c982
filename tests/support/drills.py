"""Drills: one scheduler over a simulated ECS under virtual time, and a wire that can be disturbed.

A drill is a short story: hosts, an environment, one mishap at the worst moment, and what ECS saw of
it. Unlike the random runs, it says on which call what happens.
"""

import asyncio
import inspect
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from itertools import pairwise
from random import Random
from typing import Any, Final, TypeVarTuple, Unpack

from structlog.testing import capture_logs

from blox.base.clock import LoopClock
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.scheduler.model import Deployment, DeploymentStatus, Environment, Policy
from blox.scheduler.service import Wish
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Verdict
from blox.settings import Settings
from blox.simulator.client import SimTransport
from blox.simulator.cloud import Cloud
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.loop import VirtualLoop
from blox.simulator.model import CallLogged, Fault, Json, Switches, TaskRecord
from blox.simulator.world import Process
from blox.store.memory import MemoryData
from blox.store.port import Store

Ts = TypeVarTuple("Ts")
QUICK: Final = Policy(max_unavailable="1", min_healthy_seconds=0)
"""One host at a time, each healthy as soon as it runs."""
LONG_AGO: Final = 1000.0
"""Seconds for which cluster and hosts are there before the first process starts."""


# --- The wire -------------------------------------------------------------------------------------


class Call:
    """One request that its caller wants to send."""

    def __init__(
        self,
        wire: "Wire",
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None,
        fresh: bool,
    ) -> None:
        self._wire = wire
        self.operation = operation
        self.body = body
        self._date = date
        self._permit = permit
        self._fresh = fresh
        self.signed_at = 0.0
        """Monotonic; set by `leave`."""
        self.dated = 0.0
        """The date in its signature; set by `leave`."""

    async def go_on(self) -> WireAnswer:
        """Send it as if nothing were."""
        return await self._wire.under.send(
            self.operation, self.body, date=self._date, permit=self._permit, fresh=self._fresh
        )

    def leave(self) -> None:
        """Sign it and ask for the permit, as a transport does; raises NotSent without one."""
        self.signed_at = asyncio.get_running_loop().time()
        self.dated = self._date()
        refusal = None if self._permit is None else self._permit()
        if refusal is not None:
            raise NotSent("permit", refusal)

    def arrive(self, *, executes_after: float = 0.0) -> None:
        """Let ECS have it now; whether it takes it is ECS's affair, and nobody hears of it."""
        live, now = self._wire.live, self._wire.live.now()
        with suppress(Fault):
            live.cloud.execute_later(
                self.operation,
                json.loads(self.body),
                now=now,
                due=now + executes_after,
                signed_at=self.dated,
                caller="blox",
            )
        live.settle()

    def lost(self) -> Lost:
        """What its caller gets to see when the connection broke."""
        return Lost("the connection broke", signed_at=self.signed_at)

    def refused(self, code: str, message: str) -> WireAnswer:
        """ECS's refusal."""
        live = self._wire.live
        body = {"__type": f"com.amazonaws.ecs#{code}", "message": message}
        return WireAnswer(
            status=400,
            headers={"x-amzn-requestid": live.cloud.new_request_id()},
            body=json.dumps(body).encode(),
            begun=self.signed_at,
            signed_at=self.signed_at,
        )


Mishap = Callable[[Call], Awaitable[WireAnswer]]


class Wire:
    """A process's way to ECS, on which chosen calls meet a mishap.

    `once[operation]` are the mishaps of the next calls, one each; `always[operation]` is that of
    all others.
    """

    def __init__(self, under: SimTransport, live: LiveCloud) -> None:
        self.under = under
        self.live = live
        self.once: dict[str, deque[Mishap]] = {}
        self.always: dict[str, Mishap] = {}
        self.tried: list[str] = []
        """Operations, in the order in which they were to be sent."""

    def next(self, operation: str, *mishaps: Mishap) -> None:
        """The next calls of this operation meet these."""
        self.once.setdefault(operation, deque()).extend(mishaps)

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        self.tried.append(operation)
        call = Call(self, operation, body, date=date, permit=permit, fresh=fresh)
        waiting = self.once.get(operation)
        mishap = waiting.popleft() if waiting else self.always.get(operation)
        return await (call.go_on() if mishap is None else mishap(call))

    async def close(self) -> None:
        await self.under.close()


def connecting_takes(seconds: float) -> Mishap:
    """The connection is up so late; then everything goes well."""

    async def happen(call: Call) -> WireAnswer:
        await asyncio.sleep(seconds)
        return await call.go_on()

    return happen


def never_connects() -> Mishap:
    async def happen(call: Call) -> WireAnswer:
        raise NotSent("connect", "no route to host")

    return happen


def never_arrives(*, noticed_after: float = 0.1) -> Mishap:
    """It leaves, ECS never sees it, and the connection breaks."""

    async def happen(call: Call) -> WireAnswer:
        call.leave()
        await asyncio.sleep(noticed_after)
        raise call.lost()

    return happen


def arrives_late(seconds: float, *, executes_after: float = 0.0, connecting: float = 0.0) -> Mishap:
    """It leaves, the connection breaks, and ECS sees it so long after its signature."""

    async def happen(call: Call) -> WireAnswer:
        await asyncio.sleep(connecting)
        call.leave()
        asyncio.get_running_loop().call_later(
            seconds, lambda: call.arrive(executes_after=executes_after)
        )
        await asyncio.sleep(1.0)
        raise call.lost()

    return happen


def answered_late(seconds: float) -> Mishap:
    """All goes well, but the answer takes so long."""

    async def happen(call: Call) -> WireAnswer:
        answer = await call.go_on()
        await asyncio.sleep(seconds)
        return answer

    return happen


def refused(code: str, message: str) -> Mishap:
    """ECS refuses it, having done nothing."""

    async def happen(call: Call) -> WireAnswer:
        call.leave()
        await asyncio.sleep(0.05)
        return call.refused(code, message)

    return happen


# --- The world ------------------------------------------------------------------------------------


class Drill:
    """A cluster `demo` with hosts, a definition `agent:1`, and one process after the other."""

    def __init__(
        self,
        hosts: int,
        *,
        settings: Settings | None = None,
        switches: Switches | None = None,
        health_check: bool = False,
        seed: int = 1,
    ) -> None:
        self.settings = settings or Settings()
        self.cloud = Cloud(seed, assumptions=self.settings.assumptions, switches=switches)
        self.live = LiveCloud(self.cloud)
        self.data = MemoryData()
        """What the store holds; it outlives the processes."""
        self.feed: Feed | None = Feed(self.live, random=Random(seed + 2))
        self._random = Random(seed)
        self._health_check = health_check
        before = self.live.now() - LONG_AGO
        self.cloud.add_cluster("demo", now=before)
        self.hosts = [self.cloud.add_host("demo", now=before) for _ in range(hosts)]
        self.define(now=before)
        self.live.settle()
        self.process: Process
        self.wire: Wire

    # --- Processes --------------------------------------------------------------------------------

    async def begin(
        self,
        *,
        store: Store | None = None,
        observe: bool = False,
        wall: float = 0.0,
        unreachable: Sequence[str] = (),
    ) -> Process:
        """Start a process on what is stored. `wall`: seconds by which its machine's clock is ahead;
        `unreachable`: operations for which there is no connection."""
        process = Process(
            self.live,
            self.feed,
            random=self._random,
            settings=self.settings,
            data=self.data,
            store=store,
            clock=LoopClock(self.live.epoch + wall),
            observe=observe,
        )
        self.wire = Wire(process.transport, self.live)
        self.wire.always |= {operation: never_connects() for operation in unreachable}
        process.client._transport = self.wire
        self.process = process
        await process.start()
        return process

    async def crash_and_begin(self) -> Process:
        await self.process.kill()
        return await self.begin()

    @property
    def time(self) -> float:
        """Monotonic."""
        return asyncio.get_running_loop().time()

    # --- What people do ---------------------------------------------------------------------------

    async def deploy_new(
        self, name: str = "logs", *, policy: Policy = QUICK, **wish: Any
    ) -> Environment:
        """A new environment for `agent`, deployed."""
        wanted = Wish(**{"task_definition": "agent", "policy": policy, **wish})
        environment = await self.process.service.create(name, "demo", wanted)
        self.process.environments_changed()
        await self.process.service.deploy(environment.id)
        return environment

    async def settled(
        self, name: str = "logs", *, policy: Policy = QUICK, **wish: Any
    ) -> Environment:
        """The same, a while after it has got everywhere."""
        environment = await self.deploy_new(name, policy=policy, **wish)
        await self.until(lambda: self.running() == len(self.hosts), within=60.0)
        await asyncio.sleep(60.0)
        return environment

    async def change(self, environment: Environment, **wish: Any) -> None:
        """Make the next revision: by default the newest revision of `agent`."""
        wanted = Wish(**{"task_definition": "agent", **wish})
        await self.process.service.change(environment.id, wanted)

    async def roll_out(self, environment: Environment, **wish: Any) -> Deployment:
        """Make the next revision of `agent` and deploy it."""
        self.define()
        await self.change(environment, **wish)
        return await self.process.service.deploy(environment.id, supersede=True)

    def status(self, deployment: Deployment) -> DeploymentStatus:
        found = self.process.repository.deployment(deployment.id)
        assert found is not None
        return found.status

    # --- What happens in the cloud ----------------------------------------------------------------

    def define(self, *, now: float | None = None) -> str:
        """One more revision of `agent`; its ARN."""
        when = self.live.now() if now is None else now
        return self.cloud.add_definition("agent", now=when, health_check=self._health_check)

    def add_host(self, *, poisoned: bool = False, provider: str = "", **more: Any) -> str:
        host = self.cloud.add_host("demo", now=self.live.now(), provider=provider, **more)
        if poisoned:
            self.cloud.poison_host(host)
        self.live.settle()
        self.hosts.append(host)
        return host

    def happen(self, act: Callable[..., object], arn: str) -> None:
        """One of the cloud's methods that take an ARN and a time happens now."""
        act(arn, now=self.live.now())
        self.live.settle()

    def add_provider(self) -> str:
        """A capacity provider of which ECS removes idle hosts; its name."""
        self.cloud.add_provider("scaling", now=self.live.now(), cluster="demo")
        return "scaling"

    def by_hand(self, host: str, family: str = "agent", *, service: str | None = None) -> str:
        """Somebody else starts a task there; its ARN."""
        arn = self.cloud.start_foreign("demo", host, family, now=self.live.now(), service=service)
        self.live.settle()
        return arn

    async def lose_store(self) -> Process:
        """The process dies, its database is deleted, and another process begins."""
        await self.process.kill()
        self.data = MemoryData()
        return await self.begin()

    def mark(self, hosts: Sequence[str], name: str, value: str | None) -> None:
        """Somebody gives these hosts a custom attribute, or takes it from them."""
        operation = "DeleteAttributes" if value is None else "PutAttributes"
        for host in hosts:
            mark = {"name": name, "targetId": host} | ({} if value is None else {"value": value})
            self.cloud.call(
                operation,
                {"cluster": "demo", "attributes": [mark]},
                now=self.live.now(),
                caller="somebody",
            )
        self.live.settle()

    def lose_daemon(self, host: str) -> None:
        """The daemon on this host ends by itself."""
        (task,) = self.on(host)
        self.happen(self.cloud.kill_task, task.arn)

    def copy_of_start(self, call: CallLogged) -> None:
        """ECS executes a StartTask that it has seen a second time: an assumption is broken."""
        params: Json = json.loads(json.dumps(call.params))
        self.cloud.call("StartTask", params, now=self.live.now(), caller="blox")
        self.live.settle()

    # --- What is there ----------------------------------------------------------------------------

    def on(self, host: str) -> list[TaskRecord]:
        """The live tasks of a host."""
        return [task for task in self.cloud.tasks.values() if task.live and task.host == host]

    def running(self, definition: str = "") -> int:
        """Hosts with one daemon that runs and is wanted; `definition`: its ARN's end."""
        found = 0
        for host in self.hosts:
            tasks = self.on(host)
            found += len(tasks) == 1 and all(
                t.last_status == t.desired_status == "RUNNING" and t.definition.endswith(definition)
                for t in tasks
            )
        return found

    def calls(self, operation: str, *, since: float = 0.0) -> list[CallLogged]:
        """What ECS saw of this operation since then (monotonic)."""
        begun = self.live.epoch + since
        return [c for c in self.cloud.log if c.operation == operation and c.time >= begun]

    def with_two(self) -> list[str]:
        """Hosts on which two tasks ever lived at one time."""
        found = []
        for host in self.hosts:
            lives = sorted(task.lived() for task in self.cloud.tasks.values() if task.host == host)
            found += [
                f"{host}: until {ended} and from {begun}"
                for (_, ended), (begun, _) in pairwise(lives)
                if ended is None or ended > begun
            ]
        return found

    def tracked(self, environment: Environment) -> Tracked:
        return self.process.scheduler.state.tracked[environment.id]

    def verdict(self, environment: Environment, host: str) -> Verdict:
        return self.tracked(environment).board.verdicts[host]

    async def until(
        self, holds: Callable[[], object], *, within: float, every: float = 0.25
    ) -> float:
        """Wait until it holds; the seconds that it took."""
        begun = self.time
        while not holds():
            waited = self.time - begun
            assert waited <= within, f"not within {within:g} s"
            await asyncio.sleep(every)
        return self.time - begun

    async def until_tried(
        self, operation: str, *, within: float = 20.0, every: float = 0.25
    ) -> None:
        """Wait until this process wants to send one more call of this operation."""
        before = self.wire.tried.count(operation)
        await self.until(
            lambda: self.wire.tried.count(operation) > before, within=within, every=every
        )

    async def until_called(self, operation: str, *, since: float, within: float) -> None:
        """Wait until ECS has seen a call of this operation since then (monotonic)."""
        await self.until(lambda: self.calls(operation, since=since), within=within)

    async def close(self) -> None:
        if not self.process.dead:
            await self.process.kill()
        self.live.close()


# --- Running one ----------------------------------------------------------------------------------


class EarlyLoop(VirtualLoop):
    """Timers fire a millisecond before they are due by `time()`, as those of loops do that count
    whole milliseconds."""

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        early = 0.001 if delay > 0.0015 else 0.0
        return super().call_later(delay - early, callback, *args, context=context)


def drilled(
    hosts: int, *, loop: type[VirtualLoop] = VirtualLoop, begin: bool = True, **options: Any
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """Make a test of a story, a coroutine function that takes a `Drill` of so many hosts first.

    `begin`: its first process has been started. `options` are the drill's. Whatever the story
    says, the process must not have failed, nor a task of a call have raised.
    """

    def decorate(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        async def whole(given: dict[str, Any]) -> None:
            drill = Drill(hosts, **options)
            try:
                if begin:
                    await drill.begin()
                await story(drill, **given)
                assert drill.process.failure is None
            finally:
                await drill.close()

        def test(**given: Any) -> None:
            with capture_logs() as lines, asyncio.Runner(loop_factory=loop) as runner:
                runner.run(whole(given))
            raised = [line for line in lines if line.get("exc_info")]
            assert not raised, raised

        test.__name__, test.__doc__, test.__module__ = (
            story.__name__,
            story.__doc__,
            story.__module__,
        )
        asked = inspect.signature(story)
        test.__signature__ = asked.replace(  # type: ignore[attr-defined]
            parameters=list(asked.parameters.values())[1:]
        )
        return test

    return decorate
