"""What is kept of what happens to a scheduler's slots and environments, and while whom it is kept:
a whole scheduler under virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from blox.scheduler.api.context import Api
from blox.scheduler.api.happenings import (
    HEALTH_EVERY,
    KEPT,
    LINGER,
    LOOK_EVERY,
    ClusterHappened,
    DeploymentHappened,
    EnvironmentHappened,
    Happening,
    Happenings,
    SlotHappened,
)
from blox.scheduler.api.process import ProcessInfo
from blox.scheduler.model import Environment
from blox.scheduler.service import Wish
from blox.settings import Settings
from blox.simulator import loop
from blox.simulator.cloud import Cloud
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.world import Process


class Scene:
    """A scheduler on three hosts, and what happens to it."""

    def __init__(self, live: LiveCloud, process: Process) -> None:
        self.live = live
        self.process = process
        info = ProcessInfo(version="test", began_at=1000.0, clusters=lambda: process.view.clusters)
        self.api = Api(process.service, process.scheduler, process=info)
        self.happenings = Happenings(self.api)

    def kept(self) -> list[Happening]:
        ring = self.happenings.ring
        return [happened for _, happened in ring.after(ring.floor)]

    async def created(self, name: str = "logs") -> Environment:
        wish = Wish(task_definition="agent")
        created = await self.process.service.create(name, "demo", wish)
        self.process.environments_changed()
        return created


def run(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        cloud = Cloud("happenings")
        live = LiveCloud(cloud)
        now = live.now()
        cloud.add_cluster("demo", now=now)
        for _ in range(3):
            cloud.add_host("demo", now=now)
        cloud.add_definition("agent", now=now, stop_timeout=1)
        feed = Feed(live, random=Random("feed"))
        process = Process(live, feed, random=Random("process"), settings=Settings())
        await process.start()
        await process.view.follow("demo")
        try:
            await asyncio.sleep(5.0)
            await story(Scene(live, process))
        finally:
            await process.stop()
            live.close()

    loop.run(main())


def test_nothing_is_kept_while_nobody_follows() -> None:
    async def story(scene: Scene) -> None:
        environment = await scene.created()
        await scene.process.service.deploy(environment.id)
        await asyncio.sleep(60.0)
        assert scene.kept() == []
        assert scene.process.scheduler.state.slot_changed is None

    run(story)


def test_from_the_first_who_follows_everything_is_told_and_nothing_that_was_so_before() -> None:
    async def story(scene: Scene) -> None:
        environment = await scene.created()
        await asyncio.sleep(10.0)
        scene.happenings.begin()
        await asyncio.sleep(2 * HEALTH_EVERY)
        assert scene.kept() == []
        await scene.process.service.deploy(environment.id)
        await asyncio.sleep(120.0)
        told = scene.kept()
        deployments = [h for h in told if isinstance(h, DeploymentHappened)]
        assert [h.deployment.status for h in deployments][-1] == "completed"
        assert deployments[-1].tally is not None
        assert deployments[-1].tally.current == 3
        slots = [h for h in told if isinstance(h, SlotHappened)]
        last = {h.host_arn: h.report for h in slots}
        assert [report and report.slot_class for report in last.values()] == ["current"] * 3
        environments = [h for h in told if isinstance(h, EnvironmentHappened)]
        report = environments[-1].report
        assert report is not None
        assert (report.healthy, report.tally.current) == (True, 3)
        assert [h.at for h in told] == sorted(h.at for h in told)

    run(story)


def test_a_new_environment_and_its_end_are_told_within_a_look() -> None:
    async def story(scene: Scene) -> None:
        scene.happenings.begin()
        environment = await scene.created()
        await asyncio.sleep(LOOK_EVERY)
        (new,) = scene.kept()
        assert isinstance(new, EnvironmentHappened)
        assert new.environment.id == environment.id
        assert new.report is not None
        await scene.process.service.delete(environment.id)
        await asyncio.sleep(LOOK_EVERY)
        gone = scene.kept()[-1]
        assert isinstance(gone, EnvironmentHappened)
        assert (gone.environment.name, gone.report) == ("logs", None)

    run(story)


def test_health_that_turns_by_time_alone_is_told() -> None:
    async def story(scene: Scene) -> None:
        scene.live.cloud.stall_pending("agent", now=scene.live.now())
        environment = await scene.created()
        await scene.process.service.deploy(environment.id)
        await asyncio.sleep(20.0)
        scene.happenings.begin()
        scene.happenings.followed(1)
        await asyncio.sleep(1000.0)
        reports = [
            h.report for h in scene.kept() if isinstance(h, EnvironmentHappened) and h.report
        ]
        assert [problem.code for problem in reports[-1].problems]
        assert not reports[-1].healthy
        assert len(reports) < 40  # Not once for each look.

    run(story)


def test_a_cluster_is_told_when_more_than_its_age_has_changed() -> None:
    async def story(scene: Scene) -> None:
        (cluster,) = scene.process.view.clusters
        scene.happenings.begin()
        for _ in range(3):
            scene.process.view.request_sweep(cluster)
            await asyncio.sleep(30.0)
        assert scene.kept() == []
        scene.live.cloud.deny("ecs:ListTasks")
        scene.process.view.request_sweep(cluster)
        await asyncio.sleep(30.0)
        told = scene.kept()[0]
        assert isinstance(told, ClusterHappened)
        assert told.seen is not None
        assert "ListTasks" in (told.seen.read_error or "")
        assert (told.hosts, told.environments) == (3, 0)

    run(story)


def test_who_comes_back_in_time_goes_on_and_who_comes_later_cannot() -> None:
    async def story(scene: Scene) -> None:
        happenings = scene.happenings
        happenings.begin()
        happenings.followed(1)
        await scene.created("one")
        await asyncio.sleep(1.0)
        reached = happenings.ring.last
        happenings.followed(0)
        await asyncio.sleep(LINGER - 10.0)
        await scene.created("two")
        await asyncio.sleep(1.0)
        happenings.begin()
        assert happenings.ring.floor <= reached < happenings.ring.last
        happenings.followed(1)
        await asyncio.sleep(2 * LINGER)
        happenings.followed(0)
        await asyncio.sleep(LINGER + 1.0)
        assert scene.process.scheduler.state.slot_changed is None
        reached = happenings.ring.last
        await scene.created("three")
        happenings.begin()
        assert reached < happenings.ring.floor
        assert scene.kept() == []

    run(story)


def test_numbers_begin_above_those_of_an_earlier_process() -> None:
    async def story(scene: Scene) -> None:
        assert scene.happenings.ring.last == 1_000_000

    run(story)


def test_so_many_are_kept_and_no_more() -> None:
    async def story(scene: Scene) -> None:
        scene.happenings.begin()
        environment = await scene.created()
        await asyncio.sleep(LOOK_EVERY)
        (told,) = scene.kept()
        for _ in range(KEPT + 5):
            scene.happenings.ring.put(told)
        assert len(scene.kept()) == KEPT
        assert environment.id

    run(story)


def test_a_mistake_in_a_look_is_logged_and_the_next_look_comes(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(scene: Scene) -> None:
        scene.happenings.begin()
        broken = scene.api.answers.of

        def fails(environment: Environment) -> None:
            scene.api.answers.of = broken  # type: ignore[method-assign]
            raise RuntimeError("a mistake of ours")

        scene.api.answers.of = fails  # type: ignore[method-assign,assignment]
        await scene.created()
        await asyncio.sleep(10.0)
        (told,) = scene.kept()
        assert isinstance(told, EnvironmentHappened)

    run(story)
    assert "events could not be made" in capsys.readouterr().out + caplog.text
