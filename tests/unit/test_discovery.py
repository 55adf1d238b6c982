"""Which clusters are watched: found once a minute and when an event names one, let go when gone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from blox.base.clock import LoopClock
from blox.clusterstate.discovery import EVERY, LONGEST_REST, REST, Discovery
from blox.clusterstate.view import SUSPICION_REST, View
from blox.ecs.errors import EcsRefused
from blox.ecs.events import TaskEvent, read_event
from blox.ecs.model import ClusterDocument
from blox.ecs.port import Read
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from support.documents import CLUSTER, OTHER_CLUSTER, PREFIX, task_event
from support.scriptedecs import ScriptedEcs, refused, silent

THIRD = f"{PREFIX}:cluster/third"
FOREIGN = "arn:aws:ecs:eu-west-1:999988887777:cluster/foreign"


class Scene:
    """A real view that watches what a discovery finds in a scripted ECS."""

    def __init__(self, *, page: int = 100, latency: float = 0.01) -> None:
        self.clock = LoopClock()
        self.ecs = ScriptedEcs(self.clock, page=page, latency=latency)
        self.view = View(
            self.ecs,
            self.clock,
            assumptions=Assumptions(),
            settings=ViewSettings(),
            queue=True,
            stranger=lambda arn: self.discovery.stranger(arn),
        )
        self.discovery = Discovery(self.ecs, self.view, self.clock)

    @property
    def lists(self) -> int:
        return len(self.ecs.asked("ListClusters"))

    def primed(self, arn: str) -> bool:
        seen = self.view.cluster(arn)
        return seen is not None and seen.primed

    def happens_in(self, arn: str) -> str:
        """An event about a task of that cluster comes."""
        head = arn.replace(":cluster/", ":{}/") + "/1"
        arns = {
            "clusterArn": arn,
            "taskArn": head.format("task"),
            "containerInstanceArn": head.format("container-instance"),
        }
        event = read_event(task_event(1, time=self.clock.wall(), **arns))
        assert isinstance(event, TaskEvent)
        return self.view.apply(event)


def problem_of(scene: Scene) -> str | None:
    return scene.discovery.problem


def discovering(story: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        scene = Scene(**options)
        work = [
            asyncio.create_task(scene.view.run()),
            asyncio.create_task(scene.discovery.run()),
        ]
        try:
            await story(scene)
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            await scene.view.close()
            assert all(task.cancelled() for task in work)

    loop.run(main())


def test_all_clusters_of_all_pages_are_found_and_swept_at_once() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.clusters = {CLUSTER: "ACTIVE", OTHER_CLUSTER: "ACTIVE", THIRD: "INACTIVE"}
        await asyncio.sleep(1)
        assert scene.view.clusters == (CLUSTER, OTHER_CLUSTER)
        assert scene.primed(CLUSTER)
        assert scene.primed(OTHER_CLUSTER)
        assert (scene.lists, scene.discovery.listings) == (2, 1)

    discovering(story, page=1)


def test_they_are_listed_once_a_minute() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        await asyncio.sleep(EVERY - 2)
        assert (scene.lists, scene.view.clusters) == (1, (CLUSTER,))
        await asyncio.sleep(2)
        assert (scene.lists, scene.view.clusters) == (2, (CLUSTER, OTHER_CLUSTER))
        await asyncio.sleep(9.5 * EVERY)
        assert scene.lists == 11

    discovering(story)


def test_a_cluster_that_an_event_names_is_found_at_once() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(REST + 1)
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        assert scene.happens_in(OTHER_CLUSTER) == "ignored"
        await asyncio.sleep(0.5)
        assert scene.primed(OTHER_CLUSTER)
        assert scene.happens_in(OTHER_CLUSTER) == "applied"

    discovering(story)


def test_an_event_that_comes_during_a_listing_has_another_one() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(0.25)
        assert scene.lists == 1
        assert scene.happens_in(OTHER_CLUSTER) == "ignored"
        await asyncio.sleep(0.5)
        assert scene.discovery.listings == 1
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        await asyncio.sleep(REST + 5)
        assert scene.primed(OTHER_CLUSTER)

    discovering(story, latency=0.5)


def test_a_stranger_that_no_listing_shows_asks_less_and_less() -> None:
    async def story(scene: Scene) -> None:
        for _ in range(int(10 * EVERY)):
            scene.happens_in(FOREIGN)
            await asyncio.sleep(1)
        # One a minute, and those that it asked for: at 0, 5, 15, 35, 75, 155, 315 s, about.
        assert 10 <= scene.lists <= 20
        scene.ecs.calls.clear()
        for _ in range(int(10 * LONGEST_REST)):
            scene.happens_in(FOREIGN)
            await asyncio.sleep(1)
        assert scene.lists <= 10 * LONGEST_REST / EVERY + 12
        assert FOREIGN not in scene.view.clusters

    discovering(story)


def test_many_strangers_at_once_ask_for_one_listing() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(REST + 1)
        for number in range(5000):
            scene.discovery.stranger(f"{PREFIX}:cluster/gone-{number}")
        await asyncio.sleep(REST - 1)
        assert scene.lists == 2
        assert len(scene.discovery._strangers) == 1000

    discovering(story)


def test_a_cluster_is_let_go_when_it_is_neither_listed_nor_active() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        await asyncio.sleep(1)
        del scene.ecs.clusters[OTHER_CLUSTER]
        await asyncio.sleep(3 * EVERY)
        assert scene.view.clusters == (CLUSTER,)
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        await asyncio.sleep(EVERY + 1)
        assert scene.primed(OTHER_CLUSTER)

    discovering(story)


def test_a_listing_that_leaves_out_an_active_cluster_lets_nothing_go() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.ecs.hidden.add(CLUSTER)
        await asyncio.sleep(10 * EVERY)
        assert scene.lists > 9
        assert scene.primed(CLUSTER)

    discovering(story)


def test_a_cluster_that_is_listed_and_inactive_stays_until_both_say_that_it_is_gone() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(1)
        listed = scene.ecs.list_clusters

        async def still_listed(*, next_token: str | None = None) -> Read[str]:
            return replace(await listed(next_token=next_token), items=(CLUSTER,))

        scene.ecs.list_clusters = still_listed  # type: ignore[method-assign]
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        await asyncio.sleep(5 * EVERY)
        seen = scene.view.cluster(CLUSTER)
        assert seen is not None
        assert seen.status == "INACTIVE"

    discovering(story)


def test_where_listing_is_denied_the_way_out_is_named_and_what_is_known_goes_on() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.ecs.broken["ListClusters"] = refused("ListClusters")
        await asyncio.sleep(3 * EVERY)
        assert scene.discovery.problem == (
            "Listing the clusters of this account and region is denied: not today"
        )
        assert "ecs:ListClusters" in scene.discovery.next_step
        assert "--cluster" in scene.discovery.next_step
        seen = scene.view.cluster(CLUSTER)
        assert seen is not None
        assert seen.sweeps >= 3
        del scene.ecs.broken["ListClusters"]
        await asyncio.sleep(EVERY + 1)
        assert problem_of(scene) is None
        assert scene.discovery.next_step == ""

    discovering(story)


def test_a_failure_that_passes_is_tried_again_soon_and_told_meanwhile() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.failing["ListClusters"] = [silent("ListClusters"), silent("ListClusters")]
        await asyncio.sleep(0.5)
        assert scene.discovery.problem is not None
        assert "the connection broke" in scene.discovery.problem
        await asyncio.sleep(4)
        assert scene.discovery.problem is None
        assert scene.primed(CLUSTER)

    discovering(story)


def test_one_cluster_that_is_denied_disturbs_no_other() -> None:
    async def story(scene: Scene) -> None:
        described = scene.ecs.describe_clusters

        async def denied_there(clusters: Sequence[str]) -> Read[ClusterDocument]:
            if OTHER_CLUSTER in clusters:
                raise EcsRefused("DescribeClusters", "AccessDeniedException", "no", 400, "r-1")
            return await described(clusters)

        scene.ecs.describe_clusters = denied_there  # type: ignore[method-assign]
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        await asyncio.sleep(5 * EVERY)
        seen, other = scene.view.cluster(CLUSTER), scene.view.cluster(OTHER_CLUSTER)
        assert seen is not None
        assert other is not None
        assert (seen.primed, seen.read_error) == (True, None)
        assert seen.sweeps >= 5
        assert not other.primed
        assert "AccessDenied" in (other.read_error or "")

    discovering(story)


def test_a_cluster_that_somebody_asks_for_is_looked_up_and_followed() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        scene.ecs.clusters[THIRD] = "INACTIVE"
        assert await scene.discovery.find("other") == OTHER_CLUSTER
        assert await scene.discovery.find("third") is None
        assert await scene.discovery.find("nowhere") is None
        await asyncio.sleep(1)
        assert scene.primed(OTHER_CLUSTER)
        assert scene.view.clusters == (CLUSTER, OTHER_CLUSTER)

    discovering(story)


def test_a_cluster_that_is_made_again_is_swept_soon_after_its_first_event() -> None:
    async def story(scene: Scene) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(25)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        scene.view.request_sweep(CLUSTER)
        await asyncio.sleep(2)
        assert not scene.primed(CLUSTER)
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        scene.ecs.calls.clear()
        for _ in range(100):
            assert scene.happens_in(CLUSTER) == "ignored"
        await asyncio.sleep(SUSPICION_REST - 3)
        assert not scene.ecs.asked("DescribeClusters")
        await asyncio.sleep(4)
        assert scene.primed(CLUSTER)
        assert len(scene.ecs.asked("DescribeClusters")) == 1
        assert scene.happens_in(CLUSTER) == "applied"

    discovering(story)


def test_events_about_a_cluster_that_stays_deleted_cost_few_reads() -> None:
    async def story(scene: Scene) -> None:
        scene.view.queue_flows(flowing=True)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        await scene.view.follow(CLUSTER)
        await asyncio.sleep(1)
        scene.ecs.calls.clear()
        for _ in range(50):
            scene.happens_in(CLUSTER)
            await asyncio.sleep(1)
        assert 3 <= len(scene.ecs.asked("DescribeClusters")) <= 50 / SUSPICION_REST

    discovering(story)


def test_a_cluster_that_is_made_again_is_swept_once_it_is_listed() -> None:
    async def story(scene: Scene) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(EVERY - 20)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        scene.view.request_sweep(CLUSTER)
        await asyncio.sleep(1)
        assert not scene.primed(CLUSTER)
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        await asyncio.sleep(21)
        assert (scene.lists, scene.primed(CLUSTER)) == (2, True)

    discovering(story)
