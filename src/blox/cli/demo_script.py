"""What happens in the live demo while nobody touches it: a gentle script that begins anew.

One thing at a time, each told as it happens. Whoever plays along from another terminal may have
changed anything meanwhile, so each step takes the cluster as it finds it, and leaves itself out
when it cannot be done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from blox.base.errors import BloxError
from blox.cli.demo_truth import CLUSTER, FAMILY, SCRIPT_KEY, daemons, hosts_of, quiet_hosts
from blox.cli.demo_world import World
from blox.simulator.model import Fault, HostRecord
from blox.simulator.wire_faults import Rule

_PAUSE: Final = 9.0
"""Seconds between one thing and the next: time to read what came of it."""
_CRASHING: Final = 15.0
_AGENT_GONE: Final = 15.0
_DOWN: Final = 3.0
_ROLLOUT: Final = 120.0
Tell = Callable[[str], None]


class Script:
    """The steps, in the order in which they are told."""

    def __init__(self, world: World, tell: Tell) -> None:
        self._world = world
        self._tell = tell
        self._turn = 0

    async def run(self) -> None:
        """Deploy, then disturb for ever."""
        await self._world.create()
        self._tell(f"the environment logs is deployed: one {FAMILY} on every host")
        await self._world.deploy()
        await self._completion()
        while True:
            for step in self._steps():
                await asyncio.sleep(_PAUSE)
                try:
                    await step()
                except (BloxError, Fault) as error:
                    self._tell(f"left out: {error}")

    def _steps(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (
            self._join,
            self._die,
            self._disconnect,
            self._crash_loop,
            self._roll_out,
            self._drain,
            self._lose_answer,
            self._duplicate,
            self._kill_scheduler,
        )

    # --- Steps ------------------------------------------------------------------------------------

    async def _join(self) -> None:
        host = self._world.add_host()
        self._tell(f"{self._world.name(host)} joins the cluster")

    async def _die(self) -> None:
        host = self._someone()
        if host is not None:
            self._kill_daemon(host)
            self._tell(f"the daemon on {host.instance_id} dies (exit code 1)")

    async def _disconnect(self) -> None:
        host = self._someone()
        if host is None:
            return
        self._world.act(lambda cloud, now: cloud.disconnect_agent(host.arn, now=now))
        self._tell(f"the agent on {host.instance_id} goes away; its daemon runs on")
        await asyncio.sleep(_AGENT_GONE)
        self._world.act(lambda cloud, now: cloud.connect_agent(host.arn, now=now))
        self._tell(f"the agent on {host.instance_id} is back")

    async def _crash_loop(self) -> None:
        host = self._someone()
        if host is None:
            return
        self._world.act(lambda cloud, _: cloud.crash_loop(host.arn, 1.0))
        self._kill_daemon(host)
        self._tell(f"something is wrong with {host.instance_id}: daemons die a second after start")
        await asyncio.sleep(_CRASHING)
        self._world.act(lambda cloud, _: cloud.crash_loop(host.arn, None))
        self._tell(f"{host.instance_id} is mended; its next daemon stays")

    async def _roll_out(self) -> None:
        definition = self._world.act(
            lambda cloud, now: cloud.add_definition(
                FAMILY, now=now, cpu=64, memory=128, stop_timeout=2
            )
        )
        await self._world.change(definition)
        share = self._world.plan.policy["maxUnavailable"]
        name = definition.rsplit("/", 1)[-1]
        self._tell(f"{name} is rolled out, {share} of the hosts at a time")
        await self._world.deploy()
        if await self._completion():
            self._tell(f"{name} runs everywhere")

    async def _drain(self) -> None:
        host = self._someone()
        if host is None:
            return
        app = self._world.act(
            lambda cloud, now: cloud.start_foreign(
                CLUSTER, host.arn, "web", service="shop", now=now
            )
        )
        self._world.act(lambda cloud, now: cloud.drain_host(host.arn, now=now))
        self._tell(f"{host.instance_id} is drained; an application runs there for 5 s more")
        await asyncio.sleep(5.0)
        self._world.act(lambda cloud, now: cloud.stop_foreign(app, now=now))
        await self._until(lambda: not self._world.cloud.live_tasks(host.arn), within=30.0)
        await asyncio.sleep(3.0)
        if not host.inactive:
            self._world.act(lambda cloud, now: cloud.terminate_host(host.arn, now=now))
            self._tell(f"{host.instance_id} is terminated")

    async def _lose_answer(self) -> None:
        host = self._someone()
        if host is None:
            return
        rule = Rule(operation="StartTask", outcome="drop", stage="after", times=1)
        self._world.server.book.add(rule)
        self._kill_daemon(host)
        self._tell(f"the daemon on {host.instance_id} dies, and the answer to its start is lost")

    async def _duplicate(self) -> None:
        old = self._someone()
        if old is None:
            return
        self._world.act(lambda cloud, now: cloud.duplicate_host(old.arn, now=now))
        self._tell(f"{old.instance_id} registers anew; its old record stays behind")
        await asyncio.sleep(_PAUSE)
        if not old.inactive:
            gone: dict[str, object] = {
                "cluster": CLUSTER,
                "containerInstance": old.arn,
                "force": True,
            }
            self._world.act(
                lambda cloud, now: cloud.call(
                    "DeregisterContainerInstance", gone, now=now, caller=SCRIPT_KEY
                )
            )
            self._tell(f"the old record of {old.instance_id} is deregistered")

    async def _kill_scheduler(self) -> None:
        pid = self._world.scheduler.pid
        self._tell(f"kill -9 {pid}: the scheduler is gone, the daemons run on")
        await self._world.kill_scheduler()
        await asyncio.sleep(_DOWN)
        await self._world.start_scheduler()
        self._tell(f"the scheduler runs again (process {self._world.scheduler.pid})")

    # --- Parts ------------------------------------------------------------------------------------

    def _someone(self) -> HostRecord | None:
        """A host where all is well, another one each time; None when there is none."""
        found = quiet_hosts(self._world.cloud, ran_for=0.0, now=self._world.now())
        if not found:
            self._tell("no host is in the state to disturb it")
            return None
        self._turn += 1
        return found[self._turn * 5 % len(found)]

    def _kill_daemon(self, host: HostRecord) -> None:
        task = daemons(self._world.cloud, host.arn)[0]
        self._world.act(lambda cloud, now: cloud.kill_task(task.arn, now=now))

    async def _completion(self) -> bool:
        """Wait until every host that can have the daemon runs what was deployed."""
        world = self._world

        def everywhere() -> bool:
            return all(
                [task.definition for task in daemons(world.cloud, host.arn)] == [world.definition]
                for host in hosts_of(world.cloud)
                if host.status == "ACTIVE" and host.agent_connected
            )

        return await self._until(everywhere, within=_ROLLOUT)

    async def _until(self, holds: Callable[[], bool], *, within: float) -> bool:
        """Whether it came true in time."""
        deadline = self._world.elapsed() + within
        while not holds():
            if self._world.elapsed() > deadline:
                return False
            await asyncio.sleep(0.2)
        return True
