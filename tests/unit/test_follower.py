"""Following a cluster-state-service (R12): what is applied, what is believed, and how long."""

import asyncio

import pytest

from blox.clusterstate.merge import Evidence
from blox.clusterstate.remote.believed import LONGEST_GOOD, SILENCE
from blox.clusterstate.remote.port import (
    ClusterTold,
    Gone,
    HostTold,
    NotWatched,
    PositionExpired,
    ServiceUnavailable,
    TaskTold,
)
from blox.ecs.model import ContainerOverride, Overrides
from blox.ecs.seen import Presumed
from support.documents import (
    CLUSTER,
    INTENT,
    STARTED_BY,
    foreign,
    host,
    host_arn,
    task,
    task_arn,
)
from support.followed import Paced, Scene, follow
from support.scriptedecs import refused

V = 300.0
INTERVAL = 60.0


# --- Priming --------------------------------------------------------------------------------------


def test_a_cluster_is_primed_by_the_first_sweep_that_it_asked_for() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        scene.service.sweep_takes = None
        await asyncio.sleep(5)
        # Listed, and shown: but nothing says yet that this is all.
        assert scene.task(task_arn(1)) == "RUNNING"
        assert [seen.host.arn for seen in scene.view.hosts(CLUSTER)] == [host_arn(1)]
        assert not scene.seen.primed
        assert len(scene.service.asked) == 1
        scene.service.swept()
        await asyncio.sleep(1)
        assert scene.seen.primed
        assert scene.seen.swept_at == scene.service.asked[0] - 0.002
        assert scene.seen.absence_horizon == scene.seen.swept_at
        # ECS is asked once whether the cluster is there: the answer tells its time, too.
        assert [name for name, _ in scene.ecs.calls] == ["DescribeClusters"]

    follow(story)


def test_a_sweep_that_was_complete_before_we_asked_proves_nothing() -> None:
    async def story(scene: Scene) -> None:
        scene.service.sweep_takes = None
        scene.service.cluster = ClusterTold(epoch="e1", sweep=0)
        await asyncio.sleep(1)
        scene.service.tell(ClusterTold(epoch="e1", sweep=0))
        await asyncio.sleep(1)
        assert not scene.seen.primed
        # Another run's numbers are greater, and say nothing of ours.
        scene.service.tell(ClusterTold(epoch="e0", sweep=99))
        await asyncio.sleep(1)
        assert not scene.seen.primed

    follow(story)


def test_what_the_sweep_found_is_in_the_view_when_it_counts() -> None:
    async def story(scene: Scene) -> None:
        primed_with: list[bool] = []

        def look(_: object) -> None:
            if scene.seen.primed and not primed_with:
                primed_with.append(scene.task(task_arn(7)) is not None)

        scene.view.subscribe(look)
        scene.service.before_swept = lambda: scene.service.tell(task(7), host(1))
        await asyncio.sleep(2)
        assert primed_with == [True]

    follow(story)


def test_a_sweep_that_is_not_over_is_said_to_be_missing_and_not_asked_for_again() -> None:
    """The next one would be the one after it, for ever."""

    async def story(scene: Scene) -> None:
        scene.service.sweep_takes = None
        await asyncio.sleep(3 * INTERVAL + 3)
        assert not scene.seen.primed
        assert scene.seen.read_error is not None
        assert "css:3000 has not completed a sweep of demo within 180 s" in scene.seen.read_error
        await asyncio.sleep(1000)
        assert len(scene.service.asked) == 1
        scene.service.swept()
        await asyncio.sleep(1)
        assert scene.seen.primed
        assert scene.seen.read_error is None
        # It took 20 minutes, and is not good for twice that.
        assert scene.seen.good_until is not None
        assert scene.seen.good_until <= scene.now + LONGEST_GOOD

    follow(story)


@pytest.mark.parametrize("takes", [20.0, 31.0, 45.0, 60.0, 90.0, 150.0, 300.0])
def test_a_service_whose_sweeps_take_long_primes_and_stays_good(takes: float) -> None:
    """It sweeps one after the other, and rests as long as each took: so long that a sweep which is
    asked for while another one runs takes three times that. None was ever complete in time."""

    async def story(scene: Scene) -> None:
        pace = Paced(scene.service, takes)
        primed_at = None
        for second in range(3 * 3600):
            await asyncio.sleep(1)
            if primed_at is None and scene.seen.primed:
                primed_at = second
            assert primed_at is None or not scene.stale, second
        pace.end()
        assert primed_at is not None
        assert primed_at <= 3 * takes + INTERVAL

    follow(story)


def test_a_service_that_completes_no_sweep_is_left_for_another() -> None:
    async def story(scene: Scene) -> None:
        service = scene.service
        service.sweep_takes, service.next = None, "other:3000"
        await asyncio.sleep(5)
        service.sweep_takes = 0.5  # From the next request on.
        await asyncio.sleep(3 * INTERVAL)
        assert service.left == ["has not completed a sweep of demo within 180 s"]
        await asyncio.sleep(30)
        assert scene.seen.primed
        assert service.name == "other:3000"
        assert len(service.asked) == 2

    follow(story)


# --- How long it is good --------------------------------------------------------------------------


def test_it_is_good_until_two_intervals_after_a_sweep_was_complete() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(3)
        assert scene.seen.sweep_ended is not None
        over = scene.seen.sweep_ended + 2 * INTERVAL
        scene.service.deaf = ServiceUnavailable("css:3000 refuses sweeps")
        await asyncio.sleep(over - scene.now - 0.1)
        assert not scene.stale
        await asyncio.sleep(0.2)
        assert scene.stale
        assert scene.seen.primed

    follow(story)


def test_it_is_not_good_for_long_when_the_service_is_silent() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(3)
        scene.service.down = ServiceUnavailable("css:3000 is away")
        scene.service.cut()
        await asyncio.sleep(SILENCE - 3)
        assert not scene.stale
        await asyncio.sleep(3)
        assert scene.stale
        assert scene.seen.read_error == "css:3000 is away"
        assert scene.following.problem == "css:3000 is away"
        scene.service.down = None
        await asyncio.sleep(20)
        assert not scene.stale
        assert scene.seen.read_error is None
        assert scene.following.problem is None

    follow(story)


def test_a_slow_service_is_not_stale_between_its_sweeps() -> None:
    async def story(scene: Scene) -> None:
        scene.service.sweep_takes = 70.0
        await asyncio.sleep(75)
        for _ in range(600):
            assert scene.seen.primed
            assert not scene.stale
            await asyncio.sleep(1)

    follow(story)


def test_recovery_does_not_wait_for_the_next_interval() -> None:
    async def story(scene: Scene) -> None:
        scene.service.down = ServiceUnavailable("css:3000 is away")
        await asyncio.sleep(500)
        assert not scene.seen.primed
        scene.service.down = None
        await asyncio.sleep(17)
        assert scene.seen.primed

    follow(story)


# --- Our own answers ------------------------------------------------------------------------------


def test_our_own_answer_stays_until_the_service_shows_that_version() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(2)
        begun = scene.now
        scene.view.answer(task(1, version=5, last_status="PENDING"), begun)
        assert scene.task(task_arn(1)) == "PENDING"
        # The service lags: it lists nothing, then shows an older version.
        scene.service.expired = {f"e1.{number}" for number in range(100)}
        scene.service.cut()
        await asyncio.sleep(10)
        assert scene.service.listings > 1
        assert scene.task(task_arn(1)) == "PENDING"
        scene.service.expired = set()
        await asyncio.sleep(20)
        scene.service.tell(task(1, version=4, desired_status="STOPPED", last_status="PENDING"))
        await asyncio.sleep(0.1)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert (shown.version, shown.last_status) == (5, "PENDING")
        scene.service.tell(task(1, version=6))
        await asyncio.sleep(0.1)
        assert scene.task(task_arn(1)) == "RUNNING"

    follow(story)


def test_a_stop_of_ours_is_not_undone_by_what_is_older() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1, version=5))
        await asyncio.sleep(2)
        scene.view.answer(task(1, version=6, desired_status="STOPPED"), scene.now)
        scene.service.tell(task(1, version=5), read_at=scene.ecs.now())
        await asyncio.sleep(0.1)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.desired_status == "STOPPED"

    follow(story)


def test_at_equal_versions_the_later_read_decides() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(30)
        scene.view.answer(task(1, version=5, health_status="HEALTHY"), scene.now)
        early = scene.ecs.now() - 20
        scene.service.tell(task(1, version=5, health_status="UNKNOWN"), read_at=early)
        await asyncio.sleep(0.1)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.health == "HEALTHY"
        await asyncio.sleep(10)
        late = scene.ecs.now() - 1
        scene.service.tell(task(1, version=5, health_status="UNKNOWN"), read_at=late)
        await asyncio.sleep(0.1)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.health == "UNKNOWN"

    follow(story)


def test_a_time_of_a_read_that_lies_ahead_counts_as_now() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(2)
        scene.service.tell(task(1, version=5, health_status="HEALTHY"), read_at=9e9)
        await asyncio.sleep(1)
        scene.view.answer(task(1, version=5, health_status="UNKNOWN"), scene.now)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.health == "UNKNOWN"

    follow(story)


# --- What is not listed ---------------------------------------------------------------------------


def test_a_list_without_a_live_task_takes_nothing_away_ecs_does() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        scene.ecs.put(task(1), host(1))
        await asyncio.sleep(V + 10)
        scene.service.restart("e2")
        await asyncio.sleep(5)
        assert scene.service.listings == 2
        # ECS was asked, and shows both.
        assert (task_arn(1),) in scene.ecs.asked("DescribeTasks")
        assert (host_arn(1),) in scene.ecs.asked("DescribeContainerInstances")
        assert scene.task(task_arn(1)) == "RUNNING"
        assert scene.view.host(host_arn(1)) is not None

    follow(story)


def test_what_ecs_does_not_show_either_leaves_by_our_own_evidence() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        await asyncio.sleep(10)
        scene.service.tell(Gone(kind="task", arn=task_arn(1)))
        await asyncio.sleep(V - 30)
        # R6: it may have been made as late as we were told of it, and reads lag by V.
        assert scene.task(task_arn(1)) == "RUNNING"
        await asyncio.sleep(120)
        assert scene.task(task_arn(1)) is None
        assert scene.view.host(host_arn(1)) is not None

    follow(story)


def test_a_live_task_that_the_service_lets_go_of_stays_while_ecs_shows_it() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1))
        scene.ecs.put(task(1))
        await asyncio.sleep(2 * V)
        scene.service.tell(Gone(kind="task", arn=task_arn(1)))
        await asyncio.sleep(3)
        assert (task_arn(1),) in scene.ecs.asked("DescribeTasks")
        await asyncio.sleep(2 * V)
        assert scene.task(task_arn(1)) == "RUNNING"

    follow(story)


def test_an_ended_task_that_the_service_lets_go_of_asks_nothing_of_ecs() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1, last_status="STOPPED", desired_status="STOPPED"))
        await asyncio.sleep(5)
        scene.service.tell(Gone(kind="task", arn=task_arn(1)))
        await asyncio.sleep(5)
        assert scene.ecs.asked("DescribeTasks") == []
        assert scene.task(task_arn(1)) == "STOPPED"

    follow(story)


def test_a_sweep_does_not_count_while_ecs_does_not_say_what_it_missed() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.view.answer(task(1), scene.now)
        scene.ecs.broken["DescribeTasks"] = refused("DescribeTasks")
        swept = scene.seen.swept_at
        await asyncio.sleep(2 * INTERVAL)
        assert scene.seen.swept_at == swept
        del scene.ecs.broken["DescribeTasks"]
        await asyncio.sleep(INTERVAL)
        assert scene.seen.swept_at != swept

    follow(story)


def test_a_presumed_task_that_the_service_does_not_show_is_live_until_ecs_denies_it() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(2)
        scene.view.presume(
            Presumed(
                arn=task_arn(1),
                cluster_arn=CLUSTER,
                host_arn=host_arn(1),
                definition_arn="d",
                started_by=STARTED_BY,
                group="blox:agent",
                intent=INTENT,
            )
        )
        await asyncio.sleep(V - 10)
        assert [one.arn for one in scene.view.tasks_on(host_arn(1))] == [task_arn(1)]
        await asyncio.sleep(2 * INTERVAL)
        assert scene.view.tasks_on(host_arn(1)) == ()

    follow(story)


# --- Streams --------------------------------------------------------------------------------------


def test_a_cut_stream_goes_on_from_where_it_was() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.tell(task(1))
        await asyncio.sleep(0.1)
        scene.service.down = ServiceUnavailable("away")
        scene.service.cut()
        scene.service.tell(task(2))
        await asyncio.sleep(3)
        assert scene.task(task_arn(2)) is None
        scene.service.down = None
        await asyncio.sleep(15)
        assert scene.task(task_arn(2)) == "RUNNING"
        assert scene.service.listings == 1

    follow(story)


def test_an_expired_position_means_to_list_again() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.silently(task(1))
        scene.service.cut(PositionExpired())
        await asyncio.sleep(3)
        assert scene.task(task_arn(1)) == "RUNNING"
        assert scene.service.listings == 2

    follow(story)


def test_another_run_is_listed_before_a_sweep_of_it_counts() -> None:
    """It may have begun from an older copy and know less than it has told: a position that it
    takes proves nothing."""

    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        swept = scene.seen.swept_at
        # The same numbering, another run; task 2 is in its lists and never in the stream.
        scene.service.restart("e2")
        scene.service.silently(task(2))
        scene.service.before_swept = lambda: None
        await asyncio.sleep(INTERVAL + 5)
        assert scene.service.listings == 2
        assert scene.task(task_arn(2)) == "RUNNING"
        assert scene.seen.swept_at is not None
        assert swept is not None
        assert scene.seen.swept_at > swept

    follow(story)


def test_failures_are_tried_again_ever_later_and_from_the_start_after_a_steady_stream() -> None:
    async def story(scene: Scene) -> None:
        scene.service.down = ServiceUnavailable("away")
        await asyncio.sleep(100)
        failures = scene.following.followed.failures
        assert 8 <= failures <= 14  # 0.2 s, doubling to 15 s.
        scene.service.down = None
        await asyncio.sleep(60)
        scene.service.cut()
        await asyncio.sleep(0.5)
        assert len(scene.service.followed) == 2

    follow(story)


def test_hosts_come_after_the_tasks_on_them() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        alone: list[str] = []

        def look(_: object) -> None:
            hosts = [seen.host.arn for seen in scene.view.hosts(CLUSTER)]
            alone.extend(arn for arn in hosts if not scene.view.tasks_on(arn))

        scene.view.subscribe(look)
        scene.service.tell(host(1), task(1))
        await asyncio.sleep(0.1)
        assert scene.view.host(host_arn(1)) is not None
        assert alone == []

    follow(story)


def test_a_host_that_is_told_and_taken_back_together_is_not_entered() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.tell(host(1), Gone(kind="instance", arn=host_arn(1)))
        scene.service.tell(Gone(kind="instance", arn=host_arn(2)), host(2))
        await asyncio.sleep(0.1)
        assert scene.view.host(host_arn(1)) is None
        assert scene.view.host(host_arn(2)) is not None

    follow(story)


# --- Overrides ------------------------------------------------------------------------------------


def test_overrides_without_containers_do_not_make_a_task_somebody_elses() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.put(task(1))
        await asyncio.sleep(5)
        scene.service.tell(
            task(1, overrides=Overrides(container_overrides=())), read_at=scene.ecs.now() - 5
        )
        await asyncio.sleep(0.1)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.intent is None  # Not known, and read from ECS:
        await asyncio.sleep(2)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.intent == INTENT

    follow(story)


def test_overrides_with_a_container_are_believed() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        plain = Overrides(container_overrides=(ContainerOverride(name="agent"),))
        scene.service.tell(foreign(1, overrides=plain), read_at=scene.ecs.now() - 5)
        await asyncio.sleep(5)
        shown = scene.view.task(task_arn(1))
        assert shown is not None
        assert shown.intent == ""
        assert scene.ecs.asked("DescribeTasks") == []

    follow(story)


# --- Whether the cluster is there -----------------------------------------------------------------


def test_that_a_cluster_is_gone_is_ecs_s_to_say() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        await asyncio.sleep(5)
        scene.service.tell(ClusterTold(epoch="e1", sweep=1, status="INACTIVE"))
        await asyncio.sleep(5)
        assert (scene.seen.status, scene.seen.primed) == ("ACTIVE", True)
        assert scene.task(task_arn(1)) == "RUNNING"
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        scene.service.tell(ClusterTold(epoch="e1", sweep=1, status="INACTIVE"))
        await asyncio.sleep(5)
        assert (scene.seen.status, scene.seen.primed) == ("INACTIVE", False)
        assert scene.task(task_arn(1)) is None

    follow(story)


def test_a_cluster_that_is_back_is_listed_and_swept_before_it_is_primed() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        await asyncio.sleep(5)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        scene.service.tell(ClusterTold(epoch="e1", sweep=1, status="INACTIVE"))
        await asyncio.sleep(2 * V)
        scene.service.tell(Gone(kind="task", arn=task_arn(1)))
        # What is told while it is not there is not believed.
        scene.service.tell(host(3))
        await asyncio.sleep(1)
        assert list(scene.view.hosts(CLUSTER)) == []
        listings = scene.service.listings
        scene.service.sweep_takes = None
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        scene.service.tell(ClusterTold(epoch="e1", sweep=1))
        await asyncio.sleep(5)
        assert scene.service.listings > listings
        assert (scene.seen.status, scene.seen.primed) == ("ACTIVE", False)
        assert [seen.host.arn for seen in scene.view.hosts(CLUSTER)] == [host_arn(1), host_arn(3)]
        await asyncio.sleep(INTERVAL)
        scene.service.swept()
        await asyncio.sleep(2)
        assert scene.seen.primed

    follow(story)


@pytest.mark.parametrize("there", [True, False])
def test_a_service_that_does_not_watch_the_cluster(there: bool) -> None:
    async def story(scene: Scene) -> None:
        scene.service.down = NotWatched("css:3000: there is no cluster demo here")
        scene.ecs.clusters[CLUSTER] = "ACTIVE" if there else "INACTIVE"
        await asyncio.sleep(10)
        if there:
            assert scene.seen.read_error == "css:3000: there is no cluster demo here"
            assert scene.seen.status == "ACTIVE"
        else:
            assert scene.seen.read_error is None
            assert scene.seen.status == "INACTIVE"
        assert not scene.seen.primed
        scene.service.down = None
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        await asyncio.sleep(80)
        assert (scene.seen.status, scene.seen.primed) == ("ACTIVE", True)

    follow(story)


# --- What is said of it ---------------------------------------------------------------------------


def test_a_read_error_of_the_service_is_ours_until_it_is_over() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.tell(ClusterTold(epoch="e1", sweep=1, read_error="ListTasks was denied"))
        await asyncio.sleep(1)
        assert scene.seen.read_error == (
            "The cluster-state-service at css:3000: ListTasks was denied"
        )
        scene.service.tell(ClusterTold(epoch="e1", sweep=1))
        await asyncio.sleep(1)
        assert scene.seen.read_error is None

    follow(story)


def test_a_sweep_does_not_hide_what_the_service_still_says_of_its_reads() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.before_swept = lambda: None
        number = scene.seen.sweep
        scene.service.tell(ClusterTold(epoch="e1", sweep=1, read_error="ListTasks was denied"))
        scene.service.sweep_takes = None
        await asyncio.sleep(INTERVAL + 5)
        scene.service.swept(read_error="ListTasks was denied")
        await asyncio.sleep(1)
        assert scene.seen.sweep > number
        assert scene.seen.read_error is not None
        assert "ListTasks was denied" in scene.seen.read_error

    follow(story)


def test_a_stream_that_lives_does_not_hide_that_sweeps_are_refused() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.deaf = ServiceUnavailable("css:3000 refuses sweeps")
        await asyncio.sleep(3 * INTERVAL)
        assert scene.stale
        assert scene.seen.read_error == "css:3000 refuses sweeps"
        scene.service.tell(task(1))
        await asyncio.sleep(1)
        assert scene.task(task_arn(1)) == "RUNNING"
        assert scene.seen.read_error == "css:3000 refuses sweeps"
        scene.service.deaf = None
        await asyncio.sleep(20)
        assert not scene.stale
        assert scene.seen.read_error is None

    follow(story)


def test_letting_a_cluster_go_ends_its_stream_and_its_problem() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(5)
        scene.service.down = ServiceUnavailable("away")
        scene.service.cut()
        await asyncio.sleep(5)
        assert scene.following.problem == "away"
        scene.view.unfollow(CLUSTER)
        await asyncio.sleep(1)
        assert scene.following.problem is None
        assert scene.view.cluster(CLUSTER) is None

    follow(story)


def test_it_counts_what_it_is_told() -> None:
    async def story(scene: Scene) -> None:
        scene.service.silently(task(1), host(1))
        await asyncio.sleep(5)
        scene.service.tell(task(1, version=4))
        await asyncio.sleep(1)
        assert scene.following.followed.told == 3
        assert scene.following.followed.listings == 1
        assert scene.following.followed.failures == 0

    follow(story)


def test_accounts_carry_the_time_of_the_read_that_they_rest_on() -> None:
    """What one view of another view of ECS merges is what ECS said: no more, and no later."""

    async def story(scene: Scene) -> None:
        await asyncio.sleep(100)
        evidence: list[Evidence] = []
        cluster = scene.view._watched[CLUSTER].cluster
        apply = cluster.read_tasks

        def noting(documents: object, given: Evidence, **more: bool) -> None:
            evidence.append(given)
            apply(documents, given, **more)  # type: ignore[arg-type]

        cluster.read_tasks = noting  # type: ignore[method-assign, assignment]
        read_at = scene.ecs.now() - 30
        scene.service.tell(
            TaskTold(document=task(1), read_at=read_at),
            TaskTold(document=task(2)),
            HostTold(document=host(1)),
        )
        await asyncio.sleep(0.1)
        assert evidence[0].begun == pytest.approx(scene.now - 30.1 - 2.0, abs=0.01)
        assert evidence[0].ecs_time == read_at
        assert evidence[1].begun is None

    follow(story)
