"""Durable intents: how many a second, against how often this disk can be told to keep something.

An intent is written before its call is signed. Each commit waits for the disk (fsync); those that
wait together share one.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, say
from benchmarks.stage import scratch
from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.ecs.model import TaskDefinition
from blox.scheduler.model import Environment, Intent, Revision
from blox.scheduler.repository import Repository
from blox.store.sqlite import SqliteStore

SECONDS: Final = 3.0
WAITERS: Final = (1, 64)
_ARN: Final = "arn:aws:ecs:us-east-1:111122223333"
_BLOCK: Final = 4096
"""Bytes: what SQLite writes into its log for a small transaction is a few pages."""
_BLOCKS: Final = 256
_DEFINITION: Final = TaskDefinition(task_definition_arn=f"{_ARN}:task-definition/agent:1")
_ENVIRONMENT: Final = Environment(
    id="11111111-2222-3333-4444-555555555555",
    name="logs",
    cluster_arn=f"{_ARN}:cluster/bench",
    revisions=(Revision(number=1, definition=_DEFINITION),),
    token="77777777-2222-3333-4444-555555555555",
)


def run(*, seconds: float = SECONDS, waiters: tuple[int, ...] = WAITERS) -> list[Figure]:
    """SQLite with few and with many waiting, each after the disk's floor."""
    figures = []
    with scratch() as folder:
        for number in waiters:
            say(f"durability: fsyncs of this disk, then intents with {number} waiting")
            floor = _fsyncs(folder / f"{number}.fsync", seconds)
            rate = asyncio.run(_intents(folder / f"{number}.db", number, seconds))
            figures.append(
                Figure(
                    what=f"durable intents a second, {number} at a time",
                    measured=rate,
                    unit="/s",
                    reference=floor,
                    reference_is="write and fdatasync of 4 KiB on this disk, just before",
                )
            )
    return figures


def _fsyncs(path: Path, seconds: float) -> float:
    """Blocks that are on the disk, a second. They lie within a file's length, as most of what
    SQLite writes into its log does."""
    block = b"\0" * _BLOCK
    with path.open("wb", buffering=0) as file:
        file.write(block * _BLOCKS)
        os.fsync(file.fileno())
        places = itertools.cycle(range(0, _BLOCKS * _BLOCK, _BLOCK))

        def write() -> None:
            os.pwrite(file.fileno(), block, next(places))
            os.fdatasync(file.fileno())

        return _rate(write, seconds)


def _rate(act: Callable[[], None], seconds: float) -> float:
    began = time.monotonic()
    done = 0
    while (took := time.monotonic() - began) < seconds:
        act()
        done += 1
    return done / took


async def _intents(path: Path, waiters: int, seconds: float) -> float:
    """Intents of ten hosts each that became durable, a second."""
    store = await SqliteStore.open(str(path), clock=SystemClock())
    try:
        repository = Repository(store)
        await repository.load()
        await repository.create_environment(_ENVIRONMENT)
        entropy = SystemEntropy()
        began = time.monotonic()
        done = 0

        async def wait() -> None:
            nonlocal done
            last: list[str] = []
            while time.monotonic() - began < seconds:
                intent = _intent(entropy.token())
                await repository.open_intent(intent, drop=last)
                last = [intent.id]
                done += 1

        await asyncio.gather(*(wait() for _ in range(waiters)))
        return done / (time.monotonic() - began)
    finally:
        await store.close()


def _intent(token: str) -> Intent:
    return Intent(
        id=token,
        environment_id=_ENVIRONMENT.id,
        deployment_id="66666666-7777-8888-9999-000000000000",
        cluster_arn=_ENVIRONMENT.cluster_arn,
        definition_arn=_DEFINITION.task_definition_arn,
        group="blox:logs",
        hosts=tuple(f"{_ARN}:container-instance/bench/{token}{n:06}" for n in range(10)),
        window=420.0,
        created_at=1_750_000_000.0,
    )
