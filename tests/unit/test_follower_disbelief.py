"""What a cluster-state-service tells and is not believed before ECS has said so (R7, R15)."""

import asyncio

import pytest

from blox.clusterstate.remote.port import HostTold, TaskTold, Told
from blox.settings import ViewSettings
from support.documents import host, host_arn, task, task_arn
from support.followed import Scene, follow
from support.scriptedecs import refused

V = 300.0
INTERVAL = 60.0


@pytest.mark.parametrize("there", [True, False])
def test_what_was_read_long_ago_and_is_not_held_is_ecs_s_to_tell(there: bool) -> None:
    """A service that began from an old copy lists what ended and was forgotten long since."""

    async def story(scene: Scene) -> None:
        await asyncio.sleep(2 * V)
        read_at = scene.ecs.now() - 10_800
        if there:
            scene.ecs.put(task(1, version=9), host(1))
        old: list[Told] = [
            TaskTold(document=task(1), read_at=read_at),
            HostTold(document=host(1), read_at=read_at),
        ]
        scene.service.restart("e2", shown=old)
        for _ in range(8):
            await asyncio.sleep(0.1)
            shown = scene.view.task(task_arn(1))
            assert shown is None or shown.version == 9  # By ECS's own word.
        await asyncio.sleep(2 * INTERVAL)
        assert (task_arn(1),) in scene.ecs.asked("DescribeTasks")
        assert (host_arn(1),) in scene.ecs.asked("DescribeContainerInstances")
        assert scene.task(task_arn(1)) == ("RUNNING" if there else None)
        assert (scene.view.host(host_arn(1)) is not None) == there

    follow(story)


def test_no_sweep_counts_while_ecs_has_not_told_of_what_was_read_long_ago() -> None:
    """It may be there: beside it nothing is started."""

    async def story(scene: Scene) -> None:
        await asyncio.sleep(2 * V)
        scene.ecs.put(task(1, version=9))
        scene.ecs.broken["DescribeTasks"] = refused("DescribeTasks")
        swept = scene.seen.swept_at
        scene.service.tell(task(1), read_at=scene.ecs.now() - 10_800)
        await asyncio.sleep(3 * INTERVAL)
        assert scene.seen.swept_at is not None
        assert swept is not None
        assert scene.seen.swept_at < swept + INTERVAL + 5
        assert scene.task(task_arn(1)) is None
        del scene.ecs.broken["DescribeTasks"]
        await asyncio.sleep(2 * INTERVAL)
        assert scene.task(task_arn(1)) == "RUNNING"
        assert scene.seen.swept_at > swept + INTERVAL

    follow(story)


def test_unhealthy_takes_two_reads_of_our_own() -> None:
    """R15: ten seconds apart, and when the service's read began only two clocks say."""

    async def story(scene: Scene) -> None:
        scene.service.silently(task(1, health_status="HEALTHY"), read_at=scene.ecs.now())
        await asyncio.sleep(20)
        ill = task(1, version=7, health_status="UNHEALTHY")
        scene.ecs.put(ill)
        told_at = scene.now
        scene.service.tell(ill, read_at=scene.ecs.now() - 3600)
        while (shown := scene.view.task(task_arn(1))) and shown.health != "UNHEALTHY":
            assert scene.now < told_at + 60
            await asyncio.sleep(0.1)
        assert scene.now >= told_at + ViewSettings().unhealthy_confirmation + 1
        assert len(scene.ecs.asked("DescribeTasks")) >= 2

    follow(story)


def test_unhealthy_that_ecs_does_not_confirm_is_asked_about_after_each_sweep() -> None:
    async def story(scene: Scene) -> None:
        well = task(1, version=7, health_status="HEALTHY")
        scene.ecs.put(well)
        scene.service.silently(well, read_at=scene.ecs.now())
        await asyncio.sleep(20)
        ill = task(1, version=7, health_status="UNHEALTHY")
        scene.service.tell(ill, read_at=scene.ecs.now())
        await asyncio.sleep(2 * INTERVAL)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.health == "HEALTHY"
        assert len(scene.ecs.asked("DescribeTasks")) >= 2
        scene.ecs.put(ill)
        await asyncio.sleep(2 * INTERVAL)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.health == "UNHEALTHY"

    follow(story)
