"""`blox demo`: the whole of it on this machine, live, without AWS."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click

from blox.cli.demo_world import Plan, World, opened

T = TypeVar("T")
_INTERRUPTED: Final = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--once",
    "at_once",
    is_flag=True,
    help="No live view: disturb the cluster in each way once, judge by what the simulated ECS saw, "
    "print a receipt as JSON. Exits 1 if a promise was broken. Takes less than a minute.",
)
@click.option(
    "--hosts",
    metavar="N",
    type=click.IntRange(8, 200),
    default=12,
    show_default=True,
    help="Hosts to begin with.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65_535),
    default=None,
    help="Where the scheduler listens. [default: 2000, or a free port]",
)
def demo(*, at_once: bool, hosts: int, port: int | None) -> int:
    """See it all work on this machine, without AWS.

    A simulated ECS cluster is served on loopback in the real protocols, a real scheduler process
    with its SQLite file in a temporary folder keeps one daemon on each host, and things happen to
    them: hosts join, drain and lose their agents, daemons die, a new revision rolls out. Ctrl-C
    ends it and leaves nothing behind.
    """
    from dataclasses import replace

    if at_once:
        from blox.cli import demo_once

        receipt = _staged(replace(demo_once.PLAN, hosts=hosts, port=port), demo_once.once)
        if receipt is None:
            return _INTERRUPTED
        click.echo(json.dumps(receipt, indent=2))
        return 0 if receipt["passed"] else 1
    from blox.cli import demo_live

    _staged(replace(demo_live.PLAN, hosts=hosts, port=port), demo_live.live)
    return 0


def _staged(plan: Plan, work: Callable[[World], Awaitable[T]]) -> T | None:
    """Do the work on a stage of its own; None when a signal ended it. Raises what it raises, and
    SchedulerDied when the scheduler's process ends by itself."""
    return asyncio.run(_until_signalled(plan, work))


async def _until_signalled(plan: Plan, work: Callable[[World], Awaitable[T]]) -> T | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    worked = asyncio.ensure_future(_on_stage(plan, work))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((worked, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not worked.done():
        worked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worked
        return None
    return worked.result()


async def _on_stage(plan: Plan, work: Callable[[World], Awaitable[T]]) -> T:
    """The work, ended by the scheduler's death."""
    async with opened(plan) as world:
        worked = asyncio.ensure_future(work(world))
        died = asyncio.ensure_future(world.scheduler.died.wait())
        try:
            await asyncio.wait((worked, died), return_when=asyncio.FIRST_COMPLETED)
            if not worked.done():
                raise world.scheduler.obituary()
        finally:
            for task in (worked, died):
                task.cancel()
            await asyncio.gather(worked, died, return_exceptions=True)
        return worked.result()
