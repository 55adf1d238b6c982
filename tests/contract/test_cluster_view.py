"""What every `blox.scheduler.view.ClusterView` keeps: in process, and followed over HTTP."""

import asyncio

import pytest

from blox.ecs.seen import Presumed
from support.clusterviews import ASSUMED, WAYS, Bench, seen_through
from support.documents import (
    CLUSTER,
    INTENT,
    OTHER_CLUSTER,
    STARTED_BY,
    foreign,
    host,
    host_arn,
    host_event,
    task,
    task_arn,
    task_event,
)
from support.scriptedecs import refused

V = ASSUMED.read_lag


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Each way to a view."""
    return str(request.param)


def furnished(bench: Bench) -> None:
    """Two hosts, ours on the first, somebody else's on both."""
    bench.put(host(2), host(1), task(1), foreign(3), foreign(2, container_instance_arn=host_arn(2)))


async def primed(bench: Bench) -> None:
    await bench.until(lambda: bench.seen.primed, what="primed")


# --- What is known --------------------------------------------------------------------------------


def test_a_cluster_that_is_not_watched_is_not_known(way: str) -> None:
    async def story(bench: Bench) -> None:
        assert bench.view.cluster(CLUSTER) is None
        assert list(bench.view.hosts(CLUSTER)) == []
        assert bench.view.host(host_arn(1)) is None
        assert bench.view.task(task_arn(1)) is None
        assert bench.view.tasks_on(host_arn(1)) == ()
        assert list(bench.view.started_by(STARTED_BY)) == []
        assert await bench.view.look(CLUSTER) is False
        assert await bench.view.describe(CLUSTER, [task_arn(1)]) is None

    seen_through(way, story, before=furnished, follow=False)


def test_the_first_sweep_primes_and_everything_is_in_then(way: str) -> None:
    async def story(bench: Bench) -> None:
        assert not bench.seen.primed
        await primed(bench)
        assert [seen.host.arn for seen in bench.view.hosts(CLUSTER)] == [host_arn(1), host_arn(2)]
        assert [one.arn for one in bench.view.tasks_on(host_arn(1))] == [task_arn(1), task_arn(3)]
        assert [one.arn for one in bench.view.started_by(STARTED_BY)] == [task_arn(1)]
        found = bench.view.task(task_arn(1))
        assert found is not None
        assert (found.last_status, found.intent, found.version) == ("RUNNING", INTENT, 3)
        seen = bench.view.host(host_arn(1))
        assert seen is not None
        assert (seen.host.instance_id, seen.host.version) == (f"i-{1:017x}", 5)
        assert bench.seen.sweep >= 1
        assert bench.seen.swept_at is not None
        assert bench.seen.absence_horizon is not None

    seen_through(way, story, before=furnished)


def test_a_cluster_may_be_followed_by_its_name(way: str) -> None:
    async def story(bench: Bench) -> None:
        await bench.view.follow("demo")
        await bench.until(
            lambda: (seen := bench.view.cluster(CLUSTER)) and seen.primed, what="primed"
        )
        assert bench.view.task(task_arn(1)) is not None

    seen_through(way, story, before=furnished, follow=False)


def test_it_stays_good_to_act_on_while_all_is_well(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        for _ in range(300):
            assert not bench.seen.stale(bench.clock.monotonic())
            await asyncio.sleep(0.1)

    seen_through(way, story, before=furnished)


# --- What changes ---------------------------------------------------------------------------------


def test_what_events_tell_is_told_to_the_listeners(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        await bench.until(lambda: bench.seen.sweeps, what="swept")
        bench.touched.clear()
        now = bench.ecs.now()
        bench.event(task_event(9, time=now, version=4, lastStatus="PENDING"))
        bench.event(host_event(2, time=now, version=6, status="DRAINING"))
        await bench.until(lambda: bench.status(task_arn(9)) == "PENDING", what="the task")
        await bench.until(
            lambda: (s := bench.view.host(host_arn(2))) and s.host.status == "DRAINING",
            what="the host",
        )
        assert any(task_arn(9) in one.tasks for one in bench.touched)
        assert any(host_arn(1) in one.hosts for one in bench.touched)
        assert any(host_arn(2) in one.hosts for one in bench.touched)
        bench.event(task_event(9, time=now, version=3, lastStatus="PROVISIONING"))
        bench.event(task_event(9, time=now, version=5, lastStatus="RUNNING"))
        await bench.until(lambda: bench.status(task_arn(9)) == "RUNNING", what="RUNNING")

    seen_through(way, story, before=furnished)


def test_a_host_that_is_inactive_is_no_host(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.put(host(2, version=7, status="INACTIVE"))
        bench.event(host_event(2, time=bench.ecs.now(), version=7, status="INACTIVE"))
        await bench.until(lambda: bench.view.host(host_arn(2)) is None, what="gone")
        assert [seen.host.arn for seen in bench.view.hosts(CLUSTER)] == [host_arn(1)]

    seen_through(way, story, before=furnished)


def test_what_ended_is_shown_as_ended(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        ended = task(
            1, version=9, last_status="STOPPED", desired_status="STOPPED", stopped_at=1.8e9
        )
        bench.put(ended)
        await bench.until(lambda: bench.status(task_arn(1)) == "STOPPED", what="STOPPED")
        found = bench.view.task(task_arn(1))
        assert found is not None
        assert found.stopped_at == 1.8e9
        assert [one.arn for one in bench.view.tasks_on(host_arn(1))] == [task_arn(1), task_arn(3)]

    seen_through(way, story, before=furnished)


def test_what_is_not_shown_any_more_leaves_when_that_proves_something(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        del bench.ecs.tasks[task_arn(1)]
        gone_at = bench.clock.monotonic()
        await bench.until(lambda: bench.view.task(task_arn(1)) is None, what="gone")
        assert bench.clock.monotonic() > gone_at
        assert bench.status(task_arn(3)) == "RUNNING"

    seen_through(way, story, before=furnished)


# --- Our own calls --------------------------------------------------------------------------------


def test_an_answer_of_ours_is_in_at_once_and_stays(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.touched.clear()
        begun = bench.clock.monotonic()
        bench.view.answer(task(7, version=1, last_status="PROVISIONING"), begun)
        assert bench.status(task_arn(7)) == "PROVISIONING"
        assert bench.touched[-1].tasks == (task_arn(7),)
        # ECS does not show it yet.
        await asyncio.sleep(V / 2)
        assert bench.status(task_arn(7)) == "PROVISIONING"
        bench.put(task(7, version=4))
        await bench.until(lambda: bench.status(task_arn(7)) == "RUNNING", what="RUNNING")

    seen_through(way, story, before=furnished)


def test_a_stop_that_was_answered_is_not_undone_by_older_accounts(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.view.answer(task(1, version=8, desired_status="STOPPED"), bench.clock.monotonic())
        # Reads go on showing the version before.
        for _ in range(2):
            await bench.swept()
            found = bench.view.task(task_arn(1))
            assert found is not None
            assert (found.desired_status, found.version) == ("STOPPED", 8)

    seen_through(way, story, before=furnished)


def test_a_presumed_task_is_live_until_reads_deny_it(way: str) -> None:
    presumed = Presumed(
        arn=task_arn(8),
        cluster_arn=CLUSTER,
        host_arn=host_arn(2),
        definition_arn="d",
        started_by=STARTED_BY,
        group="blox:agent",
        intent=INTENT,
    )

    async def story(bench: Bench) -> None:
        bench.view.presume(presumed)
        await primed(bench)
        entered = bench.clock.monotonic()
        assert task_arn(8) in [one.arn for one in bench.view.tasks_on(host_arn(2))]
        await bench.until(lambda: bench.view.task(task_arn(8)) is None, what="denied")
        assert bench.clock.monotonic() >= entered + V / 2

    seen_through(way, story, before=furnished)


# --- Looking --------------------------------------------------------------------------------------


def test_a_look_shows_what_is_there_and_moves_the_horizon(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.put(task(6, version=1, last_status="PENDING"))
        before = bench.clock.monotonic()
        assert await bench.view.look(CLUSTER)
        assert bench.status(task_arn(6)) == "PENDING"
        assert bench.seen.absence_horizon is not None
        assert bench.seen.absence_horizon >= before

    seen_through(way, story, before=furnished)


def test_a_look_that_fails_says_so(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.ecs.broken["ListTasks"] = refused("ListTasks")
        horizon = bench.seen.absence_horizon
        assert not await bench.view.look(CLUSTER)
        assert bench.seen.absence_horizon == horizon
        assert bench.seen.read_error is not None
        await bench.until(
            lambda: bench.seen.read_error and "ListTasks" in bench.seen.read_error, what="why"
        )
        bench.ecs.broken.clear()
        await bench.until(lambda: bench.seen.read_error is None, what="well again")

    seen_through(way, story, before=furnished)


def test_a_describe_shows_what_ecs_says_now(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.put(task(1, version=6, last_status="DEACTIVATING", desired_status="STOPPED"))
        read = await bench.view.describe(CLUSTER, [task_arn(1)])
        assert read is not None
        assert [one.task_arn for one in read.items] == [task_arn(1)]
        assert bench.status(task_arn(1)) == "DEACTIVATING"
        bench.ecs.broken["DescribeTasks"] = refused("DescribeTasks")
        assert await bench.view.describe(CLUSTER, [task_arn(1)]) is None

    seen_through(way, story, before=furnished)


def test_a_host_is_described_again_when_asked(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.put(host(1, version=9, agent_connected=False))
        bench.view.recheck(host_arn(1))
        await bench.until(
            lambda: (s := bench.view.host(host_arn(1))) and not s.host.agent_connected,
            what="disconnected",
        )
        seen = bench.view.host(host_arn(1))
        assert seen is not None
        assert seen.disconnected_since is not None

    seen_through(way, story, before=furnished)


# --- Clusters that come and go --------------------------------------------------------------------


def test_a_cluster_that_is_gone_is_empty_and_unprimed_until_it_is_back(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.ecs.clusters[CLUSTER] = "INACTIVE"
        await bench.until(lambda: bench.seen.status == "INACTIVE", what="gone")
        assert not bench.seen.primed
        assert list(bench.view.hosts(CLUSTER)) == []
        assert bench.view.task(task_arn(1)) is None
        bench.ecs.clusters[CLUSTER] = "ACTIVE"
        await bench.until(lambda: bench.seen.primed, what="back")
        assert bench.status(task_arn(1)) == "RUNNING"

    seen_through(way, story, before=furnished)


def test_a_cluster_that_is_let_go_is_not_known_any_more(way: str) -> None:
    async def story(bench: Bench) -> None:
        await primed(bench)
        bench.touched.clear()
        bench.view.unfollow(CLUSTER)
        assert bench.view.cluster(CLUSTER) is None
        assert bench.touched[-1].cluster
        bench.event(task_event(9, time=bench.ecs.now()))
        await asyncio.sleep(5)
        assert bench.view.task(task_arn(9)) is None

    seen_through(way, story, before=furnished)


def test_clusters_do_not_mix(way: str) -> None:
    async def story(bench: Bench) -> None:
        bench.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        there = host_arn(5, "other")
        bench.put(
            host(5, container_instance_arn=there),
            task(5, task_arn=task_arn(5, "other"), container_instance_arn=there),
        )
        await bench.view.follow(OTHER_CLUSTER)
        await primed(bench)
        await bench.until(
            lambda: (seen := bench.view.cluster(OTHER_CLUSTER)) and seen.primed, what="primed"
        )
        assert [seen.host.arn for seen in bench.view.hosts(CLUSTER)] == [host_arn(1), host_arn(2)]
        assert [seen.host.arn for seen in bench.view.hosts(OTHER_CLUSTER)] == [there]
        ours = [task_arn(1), task_arn(5, "other")]
        assert [one.arn for one in bench.view.started_by(STARTED_BY)] == ours
        bench.view.unfollow(OTHER_CLUSTER)
        assert [one.arn for one in bench.view.started_by(STARTED_BY)] == ours[:1]
        assert bench.view.host(there) is None

    seen_through(way, story, before=furnished)


def test_services_and_providers_are_looked_up_by_the_view_itself(way: str) -> None:
    async def story(bench: Bench) -> None:
        bench.ecs.services["logs"] = "DAEMON"
        bench.ecs.providers["asg"] = "ENABLED"
        await primed(bench)
        await bench.until(
            lambda: bench.view.is_daemon_service(CLUSTER, "service:logs") is True, what="a DAEMON"
        )
        await bench.until(lambda: bench.view.scales_in(CLUSTER, "asg") is True, what="it scales")
        assert bench.view.is_daemon_service(CLUSTER, "blox:agent") is False
        assert bench.view.scales_in(CLUSTER, "") is False

    seen_through(way, story, before=furnished)
