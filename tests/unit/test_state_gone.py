"""What lists show of what ends and is let go, over hours of virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from blox.clusterstate.api import operations
from blox.http.operations import Answer, Call
from blox.http.queries import parse_query
from blox.simulator import loop
from blox.simulator.cloud import Cloud
from blox.simulator.live import LiveCloud
from support.documents import CLUSTER
from support.entities import INSTANCE
from support.statestore import StateStore, over_a_cloud

HOUR = 3600.0


class Scene:
    """A store over a cloud with one host and one task."""

    def __init__(self, store: StateStore, live: LiveCloud) -> None:
        self.store = store
        self.live = live
        self.host = next(iter(live.cloud.hosts))
        self.task = next(iter(live.cloud.tasks))
        self._handlers = {o.id: o.handle for o in operations(store.api)}

    def act(self, act: Callable[[Cloud, float], object]) -> None:
        """Let something happen to the simulated ECS."""
        act(self.live.cloud, self.live.now())
        self.live.settle()

    async def listed(self, kind: str) -> list[tuple[str, str]]:
        """ARN and status of every task or instance in /v1."""
        call = Call(
            method="GET", path="", params={}, query=parse_query(b"", allowed=()), headers={}
        )
        answer = await self._handlers[f"List{kind}"](call)
        assert isinstance(answer, Answer)
        assert isinstance(answer.body, bytes)
        entities = [item["entity"] for item in msgspec.json.decode(answer.body)["items"]]
        if kind == "Tasks":
            return [(e["taskARN"], e["lastStatus"]) for e in entities]
        return [(e["containerInstanceARN"], e["status"]) for e in entities]


def scene(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        cloud = Cloud("gone")
        now = LiveCloud(cloud).now()
        cloud.add_definition("agent", now=now, stop_timeout=1)
        cloud.add_cluster("demo", now=now)
        host = cloud.add_host("demo", now=now)
        cloud.start_foreign("demo", host, "agent", now=now)
        async with over_a_cloud(cloud, "demo") as (store, live):
            await asyncio.sleep(120)
            await story(Scene(store, live))

    loop.run(main())


def test_a_stopped_task_is_listed_for_an_hour_and_then_no_more() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.listed("Tasks") == [(scene.task, "RUNNING")]
        scene.act(lambda cloud, now: cloud.stop_foreign(scene.task, now=now))
        await asyncio.sleep(0.5 * HOUR)
        assert await scene.listed("Tasks") == [(scene.task, "STOPPED")]
        await asyncio.sleep(1.5 * HOUR)
        assert await scene.listed("Tasks") == []

    scene(story)


def test_a_host_that_has_left_is_listed_as_inactive_and_no_late_event_brings_it_back() -> None:
    async def story(scene: Scene) -> None:
        late = scene.live.now()
        assert await scene.listed("Instances") == [(scene.host, "ACTIVE")]
        scene.act(lambda cloud, now: cloud.terminate_host(scene.host, now=now))
        await asyncio.sleep(0.5 * HOUR)
        assert await scene.listed("Instances") == [(scene.host, "INACTIVE")]
        await asyncio.sleep(2 * HOUR)
        assert await scene.listed("Instances") == []
        told = {**INSTANCE, "clusterArn": CLUSTER, "containerInstanceArn": scene.host}
        assert scene.store.tell(told, time=late) == "too old"
        assert await scene.listed("Instances") == []
        assert scene.store.catalogue.get("instance", CLUSTER, scene.host) is None

    scene(story)


def test_a_cluster_that_is_not_watched_any_more_is_not_listed() -> None:
    async def story(scene: Scene) -> None:
        assert scene.store.api.clusters_named("demo") == (CLUSTER,)
        scene.store.view.unfollow(CLUSTER)
        assert scene.store.api.clusters_named("demo") == ()
        assert await scene.listed("Instances") == []
        assert await scene.listed("Tasks") == []

    scene(story)
