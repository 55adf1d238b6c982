"""Which cluster-state-services are followed, how that is said, and how much is read beside them."""

import asyncio

import pytest
from aiohttp import web

from blox.app.compose import _pacer
from blox.app.delays import StartDelays
from blox.app.followed import StateFeed
from blox.app.plan import Plan, state_services
from blox.app.whereabouts import Answered, who_answers
from blox.base.clock import LoopClock
from blox.base.errors import InvalidInput
from blox.clusterstate.view import View
from blox.ecs.pacing import Category, Kind
from blox.ecs.seen import Touched
from blox.http.metrics import Metrics
from blox.settings import Assumptions, Settings
from blox.simulator import loop
from support.documents import CLUSTER, host_arn
from support.processes import free_port
from support.scriptedecs import ScriptedEcs


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:3000", "css:3000", "[::1]:3000", "http://css", "https://css.example.com/state"],
)
def test_endpoints(endpoint: str) -> None:
    assert state_services([endpoint], queue=None) == (endpoint,)


def test_each_endpoint_is_tried_once_a_round() -> None:
    given = ["a:1", "b:2", "a:1", "http://c/"]
    assert state_services(given, queue=None) == ("a:1", "b:2", "http://c")
    assert state_services([], queue="events") == ()


@pytest.mark.parametrize(
    "endpoint",
    ["", "css", ":3000", "css:port", "css:0", "css:70000", "http://", "a b:1", "http://css/?a=b"],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(InvalidInput, match="--css-endpoint"):
        state_services([endpoint], queue=None)


def test_a_queue_has_one_reader() -> None:
    with pytest.raises(InvalidInput, match="--queue and --css-endpoint exclude each other"):
        state_services(["css:3000"], queue="events")


def test_who_follows_leaves_most_reads_to_the_service() -> None:
    async def story() -> None:
        clock = LoopClock()

        async def reads_until(plan: Plan, seconds: float) -> int:
            pacer = _pacer(plan, clock)
            done = 0
            while clock.monotonic() < seconds:
                await pacer.acquire(Category.RESOURCE_READ, Kind.REPAIR)
                done += 1
            return done

        alone = await reads_until(Plan(store="s", queue="q"), 100.0)
        following = await reads_until(Plan(store="s", css_endpoints=("css:3000",)), 200.0)
        assert following == pytest.approx(alone * 0.1 / 0.5, rel=0.1)

    loop.run(story())


def test_it_says_whom_it_follows_and_that_it_cannot() -> None:
    async def story() -> None:
        clock = LoopClock()
        ecs = ScriptedEcs(clock)
        delays = StartDelays(clock, observe=lambda _: None)
        endpoint = f"127.0.0.1:{free_port()}"
        feed = StateFeed(
            [endpoint, "css:2"], clock, settings=Settings(), ecs_now=ecs.now, delays=delays
        )
        view = View(
            ecs, clock, assumptions=Assumptions(), settings=Settings().view, feeder=feed.feeder
        )
        metrics = Metrics(version="test")
        feed.show(metrics, view)
        assert feed.problem is None
        assert feed.note == (
            f"The cluster-state-service at {endpoint} is to keep the view of clusters, and has "
            "not answered yet. Others to turn to: css:2."
        )
        await view.follow(CLUSTER)
        async with asyncio.timeout(20):
            while feed.problem is None:
                await asyncio.sleep(0.01)
        assert f"{endpoint} cannot be followed: it does not answer" in feed.problem
        assert feed.note.startswith("The cluster-state-service at css:2 is to keep")
        shown = (await metrics.render()).decode()
        assert f'blox_state_service_in_use{{endpoint="{endpoint}"}} 0.0' in shown
        assert 'blox_state_service_in_use{endpoint="css:2"} 1.0' in shown
        assert 'blox_view_good_for_seconds{cluster="demo"} 0.0' in shown
        await view.close()
        await feed.close()

    asyncio.run(story())


def test_who_is_at_the_endpoints_is_found_before_there_is_a_cluster() -> None:
    async def story() -> None:
        async def at(mark: str) -> tuple[str, web.AppRunner]:
            async def status(_: web.Request) -> web.Response:
                return web.json_response({mark: "x"})

            app = web.Application()
            app.router.add_get("/v2/status", status)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"127.0.0.1:{runner.addresses[0][1]}", runner

        service, first = await at("epoch")
        scheduler, second = await at("mode")
        page, third = await at("something")
        nobody = f"127.0.0.1:{free_port()}"
        assert await who_answers(service) == Answered("")
        assert f"{scheduler} is a daemon-scheduler, not" in (await who_answers(scheduler)).problem
        assert f"{page} is something else, not" in (await who_answers(page)).problem
        silent = await who_answers(nobody)
        assert f"answers at {nobody} (Connection refused)" in silent.problem
        assert not silent.other
        assert "no TLS there" in (await who_answers(f"https://{service}")).problem

        clock = LoopClock()
        delays = StartDelays(clock, observe=lambda _: None)

        async def feed_of(endpoint: str) -> StateFeed:
            feed = StateFeed(
                [endpoint], clock, settings=Settings(), ecs_now=clock.wall, delays=delays
            )
            assert feed.problem is None
            asking = asyncio.create_task(feed.ask())
            async with asyncio.timeout(20):
                while "view of clusters, and" in feed.note and not feed.problem:
                    await asyncio.sleep(0.01)
            asking.cancel()
            await feed.close()
            return feed

        wrong, right = await feed_of(scheduler), await feed_of(service)
        assert wrong.problem == (await who_answers(scheduler)).problem
        assert "is to keep the view of clusters, and has not answered" in wrong.note
        assert right.problem is None
        assert f"{service} keeps the view" in right.note
        for runner in (first, second, third):
            await runner.cleanup()

    asyncio.run(story())


def test_what_the_service_tells_marks_the_hosts_that_it_concerns() -> None:
    async def story() -> None:
        clock = LoopClock()
        delays = StartDelays(clock, observe=lambda _: None)
        feed = StateFeed(["css:1"], clock, settings=Settings(), ecs_now=clock.wall, delays=delays)
        change = Touched(cluster_arn=CLUSTER, hosts=frozenset({host_arn(1)}))
        delays.touched(change)
        assert len(delays) == 0
        with feed.feeder._around():
            delays.touched(change)
        assert len(delays) == 1
        await feed.close()

    asyncio.run(story())
