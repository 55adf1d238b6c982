"""What happens to the cluster in `blox demo --once`, each way once, and what must come of it.

Every method lets one thing happen, waits until the simulated ECS shows what must follow, and
returns a sentence with what it saw. It raises NotSo when something else happened.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from blox.base.errors import Unavailable
from blox.cli.client import JsonObject
from blox.cli.demo_progress import NotSo, Progress, insist, until
from blox.cli.demo_truth import (
    CLUSTER,
    FAMILY,
    SCRIPT_KEY,
    daemons,
    every_daemon,
    hosts_of,
    ours,
    quiet_hosts,
    runs_one,
    starts_on,
)
from blox.cli.demo_world import KEY, World
from blox.cli.output import span
from blox.cli.words import place
from blox.simulator.model import HostRecord, TaskRecord
from blox.simulator.wire_faults import Rule

RAN_WELL: Final = 12.0
"""Seconds after which a daemon's death is no young death: it is started again at once."""
_WITHIN: Final = 30.0
_AGENT_GONE: Final = 5.0
"""Seconds that an agent stays away, unless its host counts as away before."""
_APP_RUNS_ON: Final = 0.5
"""Seconds for which an application runs on after its host began to drain."""
_YOUNG_DEATHS: Final = 1
_BACKOFF: Final = 0.9
"""Seconds: the shortest first delay, a second less a tenth of it."""
T = TypeVar("T")


class Disturbances:
    """Everything that can be done to the demo's cluster."""

    def __init__(self, world: World, progress: Progress) -> None:
        self._world = world
        self._progress = progress
        self._used: dict[str, None] = {}
        self.apart: dict[str, None] = {}
        """Hosts where the scheduler waits on purpose before it starts."""
        self.answers_lost = 0
        self.restarted = asyncio.Event()

    # --- Hosts ------------------------------------------------------------------------------------

    async def join(self) -> str:
        """A machine registers."""
        host = self._world.add_host()
        self._used[host] = None
        await self._running(host)
        return self._once_started(host, since=self._world.cloud.hosts[host].registered_at)

    async def drain(self) -> str:
        """A host with an application is drained: the daemon must leave last."""
        world, host = self._world, await self._pick()
        app = world.act(
            lambda cloud, now: cloud.start_foreign(
                CLUSTER, host.arn, "web", service="shop", now=now
            )
        )
        other = world.cloud.tasks[app]
        await self._until(lambda: other.last_status == "RUNNING", "the application runs")
        (daemon,) = daemons(world.cloud, host.arn)
        began = world.now()
        world.act(lambda cloud, now: cloud.drain_host(host.arn, now=now))
        await asyncio.sleep(_APP_RUNS_ON)
        world.act(lambda cloud, now: cloud.stop_foreign(app, now=now))
        await self._until(
            lambda: not daemons(world.cloud, host.arn), f"{host.instance_id} is empty"
        )
        deadline = float(world.plan.policy.get("drainDeadline", 900.0))
        asked = (daemon.stopping_at or began) - began
        gone = (other.stopped_at or world.now()) - began
        insist(asked >= min(gone, deadline), f"the daemon left {span(gone - asked)} too early")
        insist(not starts_on(world.cloud, host.arn, since=began), "it was started again")
        last = "last" if asked >= gone else "at its deadline"
        return (
            f"{host.instance_id}: the application was gone after {span(gone)}, the daemon left "
            f"{last}, after {span(asked)}"
        )

    async def disconnect(self) -> str:
        """An agent goes away and comes back: the daemon is left alone."""
        world, host = self._world, await self._pick()
        (daemon,) = daemons(world.cloud, host.arn)
        began = world.now()
        world.act(lambda cloud, now: cloud.disconnect_agent(host.arn, now=now))
        try:
            said = await self._away(host.arn)
        finally:
            world.act(lambda cloud, now: cloud.connect_agent(host.arn, now=now))
        await self._said(host.arn, lambda said: said["class"] == "current", "current again")
        insist(
            daemons(world.cloud, host.arn) == [daemon] and daemon.desired_status == "RUNNING",
            "its daemon was touched",
        )
        insist(not starts_on(world.cloud, host.arn, since=began), "a start was tried meanwhile")
        return (
            f"{host.instance_id}: {said['class']} ({said['sentence']}), then current with the same "
            "daemon; no call was made"
        )

    async def _away(self, host: str) -> JsonObject:
        """What blox says of a host whose agent has been gone for longer than the grace."""
        began = self._world.elapsed()
        with self._progress.during(f"{self._world.name(host)} has no agent"):
            while True:
                said = await self._about(host)
                if said.get("class") == "away" or self._world.elapsed() - began > _AGENT_GONE:
                    insist(said.get("class") == "away", f"it is {said.get('class')}")
                    return said
                await asyncio.sleep(0.1)

    async def terminate(self) -> str:
        """A machine goes for good."""
        world, host = self._world, await self._pick()
        began = world.now()
        world.act(lambda cloud, now: cloud.terminate_host(host.arn, now=now))
        await self._unlisted(host.arn)
        insist(not starts_on(world.cloud, host.arn, since=began), "a start was tried there")
        return (
            f"{host.instance_id}: not counted any more after {span(world.now() - began)}; no call "
            "was made"
        )

    async def duplicate(self) -> str:
        """A machine registers anew beside its old record."""
        world, old = self._world, await self._pick()
        (daemon,) = daemons(world.cloud, old.arn)
        new = world.act(lambda cloud, now: cloud.duplicate_host(old.arn, now=now))
        self._used[new] = None
        await self._running(new)
        await self._until(
            lambda: daemon.desired_status == "STOPPED", "the old record's daemon is stopped"
        )
        await self._said(old.arn, lambda said: said["class"] == "superseded", "superseded")
        stops = [
            call
            for call in world.cloud.log
            if call.operation == "StopTask" and ours(call) and call.params["task"] == daemon.arn
        ]
        insist(len(stops) == 1, f"{len(stops)} StopTask calls for the old record's daemon")
        gone: dict[str, object] = {"cluster": CLUSTER, "containerInstance": old.arn, "force": True}
        world.act(
            lambda cloud, now: cloud.call(
                "DeregisterContainerInstance", gone, now=now, caller=SCRIPT_KEY
            )
        )
        began = world.cloud.hosts[new].registered_at
        return self._once_started(new, since=began) + "; the old record: one StopTask, superseded"

    # --- Daemons ----------------------------------------------------------------------------------

    async def die(self) -> str:
        """A daemon that ran well dies."""
        host = await self._pick(ran_for=RAN_WELL)
        died = await self._kill(host)
        await self._running(host.arn)
        return self._once_started(host.arn, since=died.stopped_at or 0.0)

    async def crash_loop(self) -> str:
        """A host's daemons die young until it is mended."""
        world, host = self._world, await self._pick()
        self.apart[host.arn] = None
        world.act(lambda cloud, _: cloud.crash_loop(host.arn, 0.3))
        deaths = [await self._kill(host)]
        since = deaths[0].stopped_at or 0.0

        def young() -> list[TaskRecord]:
            made = every_daemon(world.cloud, host.arn)
            return [task for task in made if task.created_at >= since and not task.live]

        try:
            await self._until(lambda: len(young()) >= _YOUNG_DEATHS, "a daemon to die young")
            said = await self._said(host.arn, lambda s: s["reason"] == "backoff", "backing off")
        finally:
            world.act(lambda cloud, _: cloud.crash_loop(host.arn, None))
        await self._said(host.arn, lambda s: s["class"] == "current", "current once mended")
        deaths += young()
        calls = starts_on(world.cloud, host.arn, since=since)
        insist(len(calls) == len(deaths), f"{len(calls)} starts for {len(deaths)} deaths")
        waits = [
            call.time - (dead.stopped_at or 0.0) for call, dead in zip(calls, deaths, strict=True)
        ]
        # The first may have run well, and is followed at once; the delays of the others double.
        floors = [0.0, *(_BACKOFF * 2**place for place in range(len(waits) - 1))]
        insist(
            all(wait >= floor for wait, floor in zip(waits, floors, strict=True)),
            f"it waited {waits} s, less than the back-off",
        )
        shown = ", ".join(span(wait) for wait in waits)
        return f'{host.instance_id}: "{said["sentence"]}"; it waited {shown}; mended, it is current'

    async def lost_answer(self) -> str:
        """A StartTask is carried out, and its answer never comes."""
        world, host = self._world, await self._pick(ran_for=RAN_WELL)
        rule = Rule(operation="StartTask", outcome="drop", stage="after", times=1)
        key = world.server.book.add(rule)
        try:
            died = await self._kill(host)
            await self._running(host.arn)
            await self._said(host.arn, lambda said: said["class"] == "current", "current again")
        finally:
            self.answers_lost += rule.struck
            world.server.book.remove(key)
        insist(rule.struck == 1, "no StartTask lost its answer")
        shown = self._once_started(host.arn, since=died.stopped_at or 0.0)
        return f"{shown}; the answer was lost, the task was found, nothing was started twice"

    # --- Everything -------------------------------------------------------------------------------

    async def first_deployment(self) -> str:
        """An environment and its first deployment."""
        world = self._world
        await world.create()
        made = await world.deploy()
        seconds = await self._completed(str(made["id"]))
        hosts = sum(runs_one(world.cloud, host) for host in hosts_of(world.cloud))
        calls = sum(call.operation == "StartTask" for call in world.cloud.log)
        return f"{hosts} hosts have their daemon after {span(seconds)}, by {calls} StartTask calls"

    async def roll_out(self) -> str:
        """A new revision replaces every daemon, within the budget."""
        world = self._world
        definition = world.act(
            lambda cloud, now: cloud.add_definition(
                FAMILY, now=now, cpu=64, memory=128, stop_timeout=2
            )
        )
        await world.change(definition)
        made = await world.deploy()
        seconds = await self._completed(str(made["id"]))
        most = world.oracle.statistics(world.now()).most_down_for_replacement
        return (
            f"every daemon runs {definition.rsplit('/', 1)[-1]} after {span(seconds)}; at most "
            f"{most} were down at once ({world.plan.policy['maxUnavailable']} may)"
        )

    async def kill_scheduler(self) -> str:
        """kill -9 in the middle of the rollout, and a new process."""
        world = self._world
        before = world.definition
        await self._until(lambda: world.definition != before, "the rollout began")
        await self._until(lambda: self._updated() >= 3, "three hosts are updated")
        pid, at_kill, stops = world.scheduler.pid, self._updated(), self._stops()
        began = world.elapsed()
        await world.kill_scheduler()
        await world.start_scheduler()
        back = world.elapsed() - began
        known = await world.described()
        deployment = known["deployment"]
        insist(
            deployment is not None and deployment["taskDefinition"] == world.definition,
            "the new process does not know the deployment",
        )
        self.restarted.set()
        return (
            f"process {pid} was killed with {at_kill} hosts updated after {stops} stops; the new "
            f"one answered after {span(back)} and went on with revision {deployment['revision']}"
        )

    # --- Parts ------------------------------------------------------------------------------------

    def _updated(self) -> int:
        world = self._world
        return sum(
            runs_one(world.cloud, host, definition=world.definition)
            for host in hosts_of(world.cloud)
        )

    def _stops(self) -> int:
        return sum(call.operation == "StopTask" and ours(call) for call in self._world.cloud.log)

    async def _pick(self, *, ran_for: float = 0.0) -> HostRecord:
        """A host with a daemon that has run for so long, which nothing happened to yet."""
        world = self._world

        def look() -> HostRecord | None:
            found = quiet_hosts(world.cloud, ran_for=ran_for, now=world.now())
            return next((host for host in found if host.arn not in self._used), None)

        host = await self._until(look, f"a daemon has run for {span(ran_for)}")
        if host is None:
            raise NotSo("no host is left to disturb")
        self._used[host.arn] = None
        return host

    async def _kill(self, host: HostRecord) -> TaskRecord:
        """Its daemon's process exits; the task, STOPPED."""
        task = daemons(self._world.cloud, host.arn)[0]
        self._world.act(lambda cloud, now: cloud.kill_task(task.arn, now=now))
        await self._until(lambda: not task.live, "the daemon is dead")
        return task

    async def _running(self, host: str) -> None:
        world = self._world
        await self._until(
            lambda: runs_one(world.cloud, world.cloud.hosts[host], definition=world.definition),
            f"{world.name(host)} has its daemon",
        )

    def _once_started(self, host: str, *, since: float) -> str:
        """How it came to its daemon, by exactly one call."""
        world = self._world
        calls = starts_on(world.cloud, host, since=since)
        insist(len(calls) == 1, f"{len(calls)} StartTask calls for {world.name(host)}")
        task = daemons(world.cloud, host)[0]
        ran = (task.started_at or world.now()) - since
        return (
            f"{world.name(host)}: start call after {span(calls[0].time - since)}, RUNNING after "
            f"{span(ran)}"
        )

    async def _completed(self, deployment: str) -> float:
        """Wait until blox says that it has; how long it took. The judge looks at once."""
        world = self._world
        began = world.elapsed()

        def state() -> str:
            return f"the deployment: {self._updated()} hosts run it"

        with self._progress.during(state):
            while True:
                shown = await self._deployment(deployment)
                if shown.get("status") == "completed":
                    break
                insist(shown.get("status") != "failed", f"the deployment failed: {shown}")
                insist(world.elapsed() - began < 2 * _WITHIN, f"{state()} after {2 * _WITHIN:g} s")
                await asyncio.sleep(0.1)
        found = world.oracle.completed(KEY, now=world.now())
        insist(not found, "; ".join(violation.text for violation in found))
        return world.elapsed() - began

    async def _deployment(self, deployment: str) -> JsonObject:
        path = place(CLUSTER, KEY, "deployments", deployment)
        try:
            return await self._world.ask(lambda client: client.get(path))
        except Unavailable:
            return {}

    async def _unlisted(self, host: str) -> None:
        began = self._world.elapsed()
        with self._progress.during(f"{self._world.name(host)} is forgotten"):
            while any(said["arn"] == host for said in await self._world.reported()):
                insist(self._world.elapsed() - began < _WITHIN, "it is listed still")
                await asyncio.sleep(0.1)

    async def _said(
        self, host: str, holds: Callable[[JsonObject], object], what: str
    ) -> JsonObject:
        """What blox says of a host, once it is so."""
        began = self._world.elapsed()
        last: JsonObject = {}
        with self._progress.during(f"{self._world.name(host)} to be {what}"):
            while self._world.elapsed() - began < _WITHIN:
                last = await self._about(host)
                if last and holds(last):
                    return last
                await asyncio.sleep(0.1)
        raise NotSo(
            f"{self._world.name(host)} is not {what} after {_WITHIN:g} s but {last.get('class')}: "
            f"{last.get('sentence')}"
        )

    async def _about(self, host: str) -> JsonObject:
        """What blox says of a host now; empty when it says nothing."""
        said = await self._world.reported()
        return next((one for one in said if one["arn"] == host), {})

    async def _until(self, look: Callable[[], T], what: str) -> T:
        with self._progress.during(what):
            return await until(look, within=_WITHIN, what=what)
