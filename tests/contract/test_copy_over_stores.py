"""A stored copy over every kind of store."""

import asyncio
from pathlib import Path

import pytest

from blox.store.port import Store
from support import stores
from support.copying import cluster_of, copy_of, host_told, read_at, shown, task_told
from support.documents import CLUSTER, host_arn, task_arn
from support.stores import BACKENDS, Backend, SteppedClock


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_what_is_stored_comes_back_as_it_was(backend: Backend, tmp_path: Path) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        copy = copy_of(store, clock, 1)
        catalogue = await copy.load()
        running = asyncio.create_task(copy.run())
        cluster = cluster_of(catalogue)
        cluster.read_hosts([host_told(number) for number in range(300)], read_at(1.0))
        cluster.read_tasks([task_told(number) for number in range(300)], read_at(2.0))
        await copy.settled()
        cluster.read_tasks([task_told(7, version=4, stoppedReason="“ü”\x01")], read_at(3.0))
        catalogue.gone("task", CLUSTER, task_arn(8))
        catalogue.gone("instance", CLUSTER, host_arn(8))
        await copy.settled()
        settled = shown(catalogue)
        cluster.read_tasks([task_told(9, version=4)], read_at(4.0))
        running.cancel()
        await asyncio.wait([running])
        # Not closed: it was killed.
        again = copy_of(store, clock, 2)
        restored = await again.load()
        assert restored.name == catalogue.name
        assert restored.last > catalogue.last
        found = shown(restored)
        assert found.pop(task_arn(9)) in (settled.pop(task_arn(9)), shown(catalogue)[task_arn(9)])
        assert found == settled
        await again.close()
        third = await copy_of(store, clock, 3).load()
        assert (third.name, third.last) == (restored.name, restored.last)

    stores.play(backend, tmp_path, scenario)
