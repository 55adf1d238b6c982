"""A process that keeps a stored copy of what changes for ever, and prints what was acknowledged: to
be killed.

Events about a hundred tasks come as fast as they are settled, each task's version counting up; now
and then one is gone. `TOUCHED ARN` and `GIVEN NAME VERSION` are printed before any of it can be
stored, `HELD ARN VERSION ECS-VERSION` or `GONE ARN` for each task once it has settled, and
`SETTLED` after them. `python -m support.copy_writer PATH`, with tests/ on the path.
"""

import asyncio
import os
import random
import sys

from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.copy_records import task_document
from blox.ecs.seen import ClusterSeen
from blox.store.sqlite import SqliteStore
from support.copying import cluster_of, entities, read_at, task_told
from support.documents import CLUSTER, task_arn

TASKS = 100


def tell(*lines: str) -> None:
    """In one piece and unbuffered: what is out counts, kill or no kill."""
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


async def _main(path: str) -> None:
    clock = SystemClock()
    store = await SqliteStore.open(path, clock=clock)
    copy = StoredCopy(store, clock, SystemEntropy(), every=0.01)
    catalogue = await copy.load()
    cluster = cluster_of(catalogue)
    catalogue.cluster_changed(ClusterSeen(arn=CLUSTER))
    restored = entities(catalogue).values()
    cluster.restore([], [(task_document(entity), entity.told_at) for entity in restored])
    tell(*(f"LOADED {e.key} {e.version} {e.whole.version}" for e in restored), "READY")
    running = asyncio.create_task(copy.run())
    chance = random.Random()
    version = 1_000_000 + max((e.whole.version for e in restored), default=0)
    while not running.done():
        touched = []
        for _ in range(chance.randrange(1, 40)):
            version += 1
            number = chance.randrange(TASKS)
            touched.append(f"TOUCHED {task_arn(number)}")
            if chance.random() < 0.1:
                cluster.tasks_missing([task_arn(number)], begun=1e15, now=1e15)
            else:
                cluster.read_tasks([task_told(number, version=version)], read_at(1.0))
        tell(*touched, f"GIVEN {catalogue.name} {catalogue.last}")
        now = {key: (e.version, e.whole.version) for key, e in entities(catalogue).items()}
        await copy.settled()
        lines = []
        for number in range(TASKS):
            arn = task_arn(number)
            held = now.get(arn)
            lines.append(f"GONE {arn}" if held is None else f"HELD {arn} {held[0]} {held[1]}")
        tell(*lines, "SETTLED")
    await running


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
