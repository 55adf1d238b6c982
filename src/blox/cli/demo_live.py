"""`blox demo`: the cluster as it is and what blox says of it, live, while things happen to it.

On a terminal, one screen that is drawn again and again; else plain lines, one for each change.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import click

from blox.base.errors import BloxError
from blox.cli.client import JsonObject
from blox.cli.demo_script import Script
from blox.cli.demo_truth import (
    CLUSTER,
    ENVIRONMENT,
    QUEUE,
    SCHEDULER_KEY,
    SCRIPT_KEY,
    daemons,
    hosts_of,
    ours,
    quiet_hosts,
    reads,
    superseded,
)
from blox.cli.demo_view import (
    GONE,
    Happening,
    HostShown,
    Picture,
    Seen,
    frame,
    plain_row,
    seen_lines,
)
from blox.cli.demo_world import Plan, World
from blox.cli.output import plain, span
from blox.cli.screen import console, fit, styled, terminal
from blox.cli.words import hosts_sum, wanted_sum
from blox.simulator.model import HostRecord, TaskRecord

PLAN: Final = Plan(
    hosts=12,
    variables={"BLOX_AWAY_AFTER": "10"},
    policy={"maxUnavailable": "25%", "minHealthySeconds": 3.0, "drainDeadline": 60.0},
)
_REDRAW: Final = 0.25
_ASK: Final = 0.5
_SUMS_EVERY: Final = 15.0
_GONE_SHOWN: Final = 8.0
"""Seconds for which a terminated host stays on the screen."""
_FIRST_TASK: Final = (
    f"$(aws ecs list-tasks --cluster {CLUSTER} --query 'taskArns[0]' --output text)"
)
_STATUS: Final = 12
"""Characters of a task's status that fit beside its id and revision."""


class Live:
    """What is shown, kept up to date."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._events: deque[Happening] = deque(maxlen=50)
        self._said: dict[str, JsonObject] = {}
        self._environment: JsonObject = {}
        self._problem = ""
        self._heard = 0
        """How many of the calls that change things were looked at."""
        self.told: deque[Happening] = deque()
        """What was not printed yet, for plain lines."""

    def tell(self, text: str) -> None:
        """Something has happened."""
        event = Happening(at=self._world.elapsed(), text=text)
        self._events.append(event)
        self.told.append(event)

    async def ask(self) -> None:
        """Keep asking what blox says, for ever."""
        while True:
            try:
                environment, hosts = await self._world.described(), await self._world.reported()
            except BloxError as error:
                self._problem = plain(f"what blox says is old: {error.message}")
            else:
                self._problem = ""
                self._environment = environment
                self._said = {str(host["arn"]): host for host in hosts}
            self._overhear()
            await asyncio.sleep(_ASK)

    def _overhear(self) -> None:
        """Tell what somebody else asked of ECS from another terminal."""
        log = self._world.cloud.log
        for call in log[self._heard :]:
            if call.caller not in (SCHEDULER_KEY, SCRIPT_KEY):
                self.tell(f"you: {call.operation} ({call.outcome})")
        self._heard = len(log)

    def picture(self) -> Picture:
        """Everything, as of now."""
        return Picture(
            elapsed=self._world.elapsed(),
            title=f"blox demo   {CLUSTER}/{ENVIRONMENT}",
            deployment=_deployment(self._environment),
            hosts=self.hosts(),
            sums=self.sums(),
            events=tuple(self._events),
            seen=self.seen(),
            commands=commands(self._world),
            problem=self._problem if self._environment else "",
        )

    def sums(self) -> list[str]:
        """The counters that add up; nothing before blox has said any."""
        counts = self._environment.get("counts")
        return [hosts_sum(counts), wanted_sum(counts)] if counts else []

    def seen(self) -> Seen:
        """What the simulated ECS saw."""
        world = self._world
        statistics = world.oracle.statistics(world.now())
        acts = [call.operation for call in world.cloud.log if ours(call)]
        return Seen(
            calls=sum(statistics.calls.values()),
            starts=acts.count("StartTask"),
            stops=acts.count("StopTask"),
            reads=reads(statistics.calls),
            throttled=statistics.throttled,
            two=statistics.hosts_with_two,
            worst=statistics.longest_without_daemon,
        )

    def hosts(self) -> list[HostShown]:
        """Every host, those included that went a moment ago."""
        world = self._world
        gone = [
            host
            for host in world.cloud.hosts.values()
            if host.inactive_at is not None and world.now() - host.inactive_at < _GONE_SHOWN
        ]
        found = sorted([*hosts_of(world.cloud), *gone], key=lambda host: host.registered_at)
        return [self._host(host) for host in found]

    def _host(self, host: HostRecord) -> HostShown:
        live = daemons(self._world.cloud, host.arn)
        said = self._said.get(host.arn, {})
        return HostShown(
            arn=host.arn,
            name=host.instance_id,
            state=_state(self._world, host),
            daemon=_daemon(live),
            two=len(live) > 1,
            verdict=str(said.get("verdict", "")),
            slot_class=str(said.get("class", "")),
            reason=plain(said["sentence"]) if said else "",
            who=str(said.get("who", "")),
        )


def _state(world: World, host: HostRecord) -> str:
    if host.inactive:
        return GONE
    if superseded(world.cloud, host):
        return "old"
    return host.status if host.agent_connected else "no agent"


def _daemon(live: Sequence[TaskRecord]) -> str:
    if len(live) > 1:
        return f"{len(live)} DAEMONS"
    if not live:
        return ""
    task = live[0]
    status = task.last_status
    if status == "RUNNING" and task.desired_status == "STOPPED":
        status = "STOPPING"
    revision = task.definition.rsplit(":", 1)[-1]
    return f"{task.arn.rsplit('/', 1)[-1][:6]}:{revision} {status[:_STATUS]}"


def _deployment(environment: JsonObject) -> str:
    shown = environment.get("deployment")
    if not shown:
        return "nothing is deployed yet"
    name = str(shown["taskDefinition"]).rsplit("/", 1)[-1]
    return f"deployment of revision {shown['revision']} ({name}): {shown['status']}"


# --- Hints ----------------------------------------------------------------------------------------


def commands(world: World) -> list[str]:
    """What to type in another terminal, as it stands, to look at the demo and to disturb it."""
    found = quiet_hosts(world.cloud, ran_for=0.0, now=world.now()) or hosts_of(world.cloud)
    if not found:
        return []
    host = found[0]
    live = daemons(world.cloud, host.arn)
    task = live[0].arn.rsplit("/", 1)[-1] if live else _FIRST_TASK
    return [
        "Try it from another terminal; first:  . " + str(world.env_file),
        f"  curl -s {world.api}/v2/environments/{CLUSTER}/{ENVIRONMENT}",
        f"  blox explain {host.instance_id}",
        f"  aws ecs list-tasks --cluster {CLUSTER}",
        f"  aws ecs stop-task --cluster {CLUSTER} --task {task}",
        f"  blox simulate hosts drain {host.instance_id}",
    ]


def announcement(world: World) -> list[str]:
    """Where everything is, and more to type: for the terminal's memory and for plain output."""
    folder = world.folder
    return [
        f"scheduler      {world.api}   (OpenAPI: {world.api}/openapi.json)",
        f"simulated AWS  {world.server.url}   cluster {CLUSTER}, queue {QUEUE}",
        f"files          {folder}   (scheduler.log, blox.db; removed at the end)",
        "",
        *commands(world),
        "  # the aws command's version 1 needs --endpoint-url for SQS:",
        "  aws sqs get-queue-attributes --endpoint-url $AWS_ENDPOINT_URL \\",
        "      --queue-url $QUEUE_URL --attribute-names All",
        f'  curl -s $BLOX_SIMULATOR/_control/hosts -d \'{{"cluster":"{CLUSTER}"}}\'   # one more',
        "",
    ]


# --- The two ways of showing it -------------------------------------------------------------------


async def live(world: World) -> None:
    """Show it until cancelled. Raises SchedulerDied, Unavailable."""
    click.echo("The demo begins: a simulated cluster, and the scheduler as a process of its own.")
    shown = Live(world)
    await world.start_scheduler()
    for line in announcement(world):
        click.echo(line)
    script = asyncio.ensure_future(Script(world, shown.tell).run())
    asking = asyncio.ensure_future(shown.ask())
    screen = asyncio.ensure_future(_on_terminal(shown) if terminal() else _in_lines(shown))
    tasks = (script, asking, screen)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _farewell(shown, world)


async def _on_terminal(shown: Live) -> None:
    from rich.live import Live as Screen
    from rich.text import Text

    drawn_on = console()
    with Screen(
        console=drawn_on, screen=True, auto_refresh=False, vertical_overflow="crop"
    ) as screen:
        while True:
            lines = frame(shown.picture(), width=drawn_on.width, height=drawn_on.height)
            screen.update(styled(lines, Text), refresh=True)
            await asyncio.sleep(_REDRAW)


async def _in_lines(shown: Live) -> None:
    before: dict[str, str] = {}
    summed = -_SUMS_EVERY
    while True:
        picture = shown.picture()
        while shown.told:
            event = shown.told.popleft()
            click.echo(f"{event.at:4.0f} s  {event.text}")
        for host in picture.hosts:
            news = f"{host.state} {host.two} {host.verdict} {host.reason}"
            if host.reason and before.get(host.arn) != news:
                before[host.arn] = news
                click.echo(f"{picture.elapsed:4.0f} s    {plain_row(host)}")
        if picture.elapsed - summed >= _SUMS_EVERY and picture.sums:
            summed = picture.elapsed
            for text in (*picture.sums, *_footer(picture.seen)):
                click.echo(f"{picture.elapsed:4.0f} s  = {text}")
        await asyncio.sleep(_ASK)


def _footer(seen: Seen) -> list[str]:
    return ["".join(part for part, _ in line) for line in seen_lines(seen, 200)]


def _farewell(shown: Live, world: World) -> None:
    click.echo(fit(f"Ended after {span(world.elapsed())}.", 200))
    for text in _footer(shown.seen()):
        click.echo(text)
