"""What the view looks up by name: which services are DAEMON ones, which providers scale in."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from blox.clusterstate.view import View
from blox.ecs.seen import Touched
from blox.settings import Assumptions, ViewSettings
from support.documents import CLUSTER, OTHER_CLUSTER
from support.ecsclients import SimStage, simulated
from support.scriptedecs import refused, silent
from support.watching import Watch, watch

ALL = Touched(cluster_arn=CLUSTER, cluster=True)
HOUR = 3600.0


def looking(story: Callable[[Watch], Awaitable[None]]) -> None:
    """Run a story with a view whose lookups run; no cluster is swept, so that every touch is
    theirs."""

    async def running(scene: Watch) -> None:
        run = asyncio.create_task(scene.view.run())
        await asyncio.sleep(1)
        try:
            await story(scene)
        finally:
            run.cancel()

    watch(running, follow=False)


class Services:
    """Services, asked for by a task's group."""

    operation = "DescribeServices"

    @staticmethod
    def put(scene: Watch, name: str, *, yes: bool) -> None:
        scene.ecs.services[name] = "DAEMON" if yes else "REPLICA"

    @staticmethod
    def ask(scene: Watch, name: str, cluster: str = CLUSTER) -> bool | None:
        return scene.view.is_daemon_service(cluster, f"service:{name}")


class Providers:
    """Capacity providers, asked for by name."""

    operation = "DescribeCapacityProviders"

    @staticmethod
    def put(scene: Watch, name: str, *, yes: bool) -> None:
        scene.ecs.providers[name] = "ENABLED" if yes else "DISABLED"

    @staticmethod
    def ask(scene: Watch, name: str, cluster: str = CLUSTER) -> bool | None:
        return scene.view.scales_in(cluster, name)


Kind = type[Services] | type[Providers]


@pytest.fixture(params=[Services, Providers])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_names_are_looked_up_ten_a_call_once_asked_for(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        names = [f"n{n}" for n in range(12)]
        for name in names:
            kind.put(scene, name, yes=name == "n3")
        await asyncio.sleep(HOUR)
        assert scene.ecs.calls == []
        assert [kind.ask(scene, name) for name in names] == [None] * 12
        assert scene.ecs.calls == [], "asking waits for nothing"
        await asyncio.sleep(1)
        assert [len(asked) for asked in scene.ecs.asked(kind.operation)] == [10, 2]
        assert [name for name in names if kind.ask(scene, name)] == ["n3"]

    looking(story)


def test_a_yes_touches_the_cluster_and_a_no_does_not(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "no", yes=False)
        kind.put(scene, "yes", yes=True)
        kind.ask(scene, "no")
        await asyncio.sleep(1)
        assert scene.touched == []
        kind.ask(scene, "yes")
        await asyncio.sleep(1)
        assert scene.touched == [ALL]
        assert kind.ask(scene, "yes")
        assert not kind.ask(scene, "no")

    looking(story)


@pytest.mark.parametrize("first", [False, True])
def test_a_change_is_noticed_within_the_hour_without_being_asked_again(
    kind: Kind, *, first: bool
) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=first)
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        assert kind.ask(scene, "x") is first
        scene.touched.clear()
        kind.put(scene, "x", yes=not first)
        await asyncio.sleep(HOUR - 2)
        assert len(scene.ecs.asked(kind.operation)) == 1
        assert scene.touched == []
        await asyncio.sleep(3)
        assert scene.touched == [ALL]
        assert kind.ask(scene, "x") is not first

    looking(story)


def test_what_nobody_asks_about_any_more_is_looked_up_no_more(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=True)
        kind.ask(scene, "x")
        await asyncio.sleep(10 * HOUR)
        assert scene.ecs.asked(kind.operation) == [("x",)]
        kind.put(scene, "x", yes=False)
        assert kind.ask(scene, "x"), "the last answer, until there is a newer one"
        await asyncio.sleep(1)
        assert not kind.ask(scene, "x")

    looking(story)


@pytest.mark.parametrize("shown", [True, False])
def test_what_nobody_has_asked_about_for_an_hour_is_forgotten(kind: Kind, *, shown: bool) -> None:
    """Names come and go without end."""

    async def story(scene: Watch) -> None:
        if shown:
            kind.put(scene, "x", yes=True)
        kind.ask(scene, "x")
        await asyncio.sleep(HOUR - 2)
        kind.ask(scene, "y")
        await asyncio.sleep(1)
        assert kind.ask(scene, "y") is False
        assert len(scene.ecs.asked(kind.operation)) == 2, "x is looked up no more"
        await asyncio.sleep(3)
        kind.ask(scene, "z")
        await asyncio.sleep(1)
        assert kind.ask(scene, "x") is None
        assert kind.ask(scene, "y") is False

    looking(story)


def test_a_name_that_comes_up_after_others_is_looked_up_at_once(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "old", yes=False)
        kind.ask(scene, "old")
        await asyncio.sleep(1)
        kind.put(scene, "new", yes=True)
        assert not kind.ask(scene, "new")
        await asyncio.sleep(1)
        assert kind.ask(scene, "new")
        assert scene.ecs.asked(kind.operation) == [("old",), ("new",)]

    looking(story)


def test_what_ecs_does_not_show_yet_is_looked_up_again_soon(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        assert not kind.ask(scene, "x")
        kind.put(scene, "x", yes=True)
        await asyncio.sleep(298)
        assert scene.touched == []
        await asyncio.sleep(3)
        assert scene.touched == [ALL]
        assert len(scene.ecs.asked(kind.operation)) == 2

    looking(story)


def test_where_it_is_denied_the_answer_is_no_for_an_hour(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=True)
        scene.ecs.broken[kind.operation] = refused(kind.operation)
        kind.ask(scene, "x")
        await asyncio.sleep(HOUR - 10)
        assert not kind.ask(scene, "x")
        assert len(scene.ecs.asked(kind.operation)) == 1
        del scene.ecs.broken[kind.operation]
        await asyncio.sleep(20)
        assert kind.ask(scene, "x"), "the permission was given meanwhile"

    looking(story)


@pytest.mark.parametrize("code", ["", "ThrottlingException", "ServerException"])
def test_a_lookup_that_fails_leaves_the_answer_and_is_tried_again(kind: Kind, code: str) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=True)
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        error = refused(kind.operation, code) if code else silent(kind.operation)
        scene.ecs.failing[kind.operation] = [error] * 3
        assert kind.ask(scene, "x")
        kind.put(scene, "x", yes=False)
        scene.touched.clear()
        await asyncio.sleep(HOUR)
        assert kind.ask(scene, "x")
        assert scene.touched == []
        await asyncio.sleep(200)
        assert scene.touched == [ALL]
        assert not kind.ask(scene, "x")
        assert len(scene.ecs.asked(kind.operation)) == 5

    looking(story)


def test_a_name_that_ecs_does_not_take_keeps_no_other_from_being_looked_up(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=True)
        malformed = refused(kind.operation, "InvalidParameterException")
        scene.ecs.failing[kind.operation] = [malformed, malformed]
        kind.ask(scene, "bad name")
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        assert kind.ask(scene, "x")
        assert scene.ecs.asked(kind.operation) == [("bad name", "x"), ("bad name",), ("x",)]
        assert not kind.ask(scene, "bad name")
        await asyncio.sleep(HOUR - 10)
        assert len(scene.ecs.asked(kind.operation)) == 3

    looking(story)


def test_a_cluster_that_is_let_go_is_forgotten(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        await scene.view.follow(CLUSTER)
        kind.put(scene, "x", yes=True)
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        assert kind.ask(scene, "x")
        scene.view.unfollow(CLUSTER)
        await asyncio.sleep(2 * HOUR)
        assert len(scene.ecs.asked(kind.operation)) == 1
        assert not kind.ask(scene, "x")

    looking(story)


def test_a_cluster_let_go_during_its_lookup_stays_forgotten(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        await scene.view.follow(CLUSTER)
        await asyncio.sleep(1)
        scene.ecs.latency = 5.0
        kind.put(scene, "x", yes=True)
        kind.ask(scene, "x")
        await asyncio.sleep(1)
        scene.view.unfollow(CLUSTER)
        scene.touched.clear()
        await asyncio.sleep(2 * HOUR)
        assert len(scene.ecs.asked(kind.operation)) == 1
        assert scene.touched == []

    looking(story)


def test_each_cluster_is_told_of_its_own(kind: Kind) -> None:
    async def story(scene: Watch) -> None:
        kind.put(scene, "x", yes=True)
        kind.ask(scene, "x", OTHER_CLUSTER)
        await asyncio.sleep(1)
        assert scene.touched == [Touched(cluster_arn=OTHER_CLUSTER, cluster=True)]
        assert not kind.ask(scene, "x")

    looking(story)


def test_groups_that_name_no_service_and_hosts_of_no_provider_ask_nothing() -> None:
    async def story(scene: Watch) -> None:
        assert not scene.view.is_daemon_service(CLUSTER, "family:web")
        assert not scene.view.is_daemon_service(CLUSTER, "blox:agent")
        assert not scene.view.scales_in(CLUSTER, "")
        await asyncio.sleep(HOUR)
        assert scene.ecs.calls == []

    looking(story)


def test_only_managed_scaling_scales_in() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.providers = {"asg": "ENABLED", "fixed": "DISABLED", "FARGATE": None}
        for _ in range(2):
            found = [name for name in scene.ecs.providers if scene.view.scales_in(CLUSTER, name)]
            await asyncio.sleep(1)
        assert found == ["asg"]

    looking(story)


def test_what_the_simulated_ecs_says_reaches_the_view() -> None:
    async def story(stage: SimStage) -> None:
        stage.add_service("logs", "DAEMON")
        stage.add_provider("moving", "ENABLED")
        view = View(stage.client, stage.clock, assumptions=Assumptions(), settings=ViewSettings())
        touched: list[Touched] = []
        view.subscribe(touched.append)
        run = asyncio.create_task(view.run())
        cluster = stage.cluster_arn
        assert not view.is_daemon_service(cluster, "service:logs")
        assert not view.scales_in(cluster, "moving")
        await asyncio.sleep(10)
        assert view.is_daemon_service(cluster, "service:logs")
        assert view.scales_in(cluster, "moving")
        assert touched == [Touched(cluster_arn=cluster, cluster=True)] * 2
        run.cancel()
        await view.close()

    simulated(story)
