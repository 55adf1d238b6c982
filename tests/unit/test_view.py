"""The view: events, answers, presumed tasks, listeners, following, and what only watching tells."""

import asyncio

from blox.base.clock import LoopClock
from blox.clusterstate.view import View
from blox.ecs.seen import Presumed, Touched
from blox.scheduler.view import ClusterView
from blox.settings import Assumptions, ViewSettings
from support.documents import (
    CLUSTER,
    INTENT,
    OTHER_CLUSTER,
    PREFIX,
    STARTED_BY,
    host,
    host_arn,
    host_event,
    task,
    task_arn,
    task_event,
)
from support.scriptedecs import refused, silent
from support.watching import V, Watch, watch


def as_the_scheduler_sees_it(view: View) -> ClusterView:
    """mypy proves here that the view satisfies the scheduler's protocol."""
    return view


PRESUMED = Presumed(
    arn=task_arn(1),
    cluster_arn=CLUSTER,
    host_arn=host_arn(1),
    definition_arn="d",
    started_by=STARTED_BY,
    group="blox:agent",
    intent=INTENT,
)


# --- Events ---------------------------------------------------------------------------------------


def test_an_event_changes_the_view_and_tells_before_it_returns() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1))
        await asyncio.sleep(1)
        scene.touched.clear()
        now = scene.clock.wall()
        assert scene.event(task_event(1, time=now)) == "applied"
        assert scene.touched == [
            Touched(cluster_arn=CLUSTER, hosts=frozenset({host_arn(1)}), tasks=(task_arn(1),))
        ]
        assert [t.arn for t in scene.view.started_by(STARTED_BY)] == [task_arn(1)]
        assert scene.event(task_event(1, time=now)) == "known"
        assert len(scene.touched) == 1
        assert scene.event(task_event(1, time=now, version=4, lastStatus="STOPPED")) == "applied"
        assert len(scene.touched) == 2

    watch(story)


def test_old_events_raise_no_ghosts() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(100)
        assert scene.seen.swept_at is not None
        swept = scene.clock.epoch + scene.seen.swept_at
        assert scene.event(task_event(1, time=swept - V - 1)) == "too old"
        assert scene.event(host_event(1, time=swept - V - 1)) == "too old"
        assert scene.view.task(task_arn(1)) is None
        assert scene.view.host(host_arn(1)) is None
        assert scene.view.counters.events_too_old == 2
        assert scene.event(task_event(1, time=swept - V + 1)) == "applied"
        # What is held may be told of by any event: its version decides.
        assert scene.event(task_event(1, time=1000.0, version=9)) == "applied"

    watch(story)


def test_before_the_first_complete_sweep_its_begin_is_the_measure() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.broken["ListTasks"] = refused("ListTasks")
        await asyncio.sleep(600)
        assert not scene.seen.primed
        begun = scene.clock.epoch
        assert scene.event(task_event(1, time=begun - V - 1)) == "too old"
        assert scene.event(task_event(2, time=begun - V + 1)) == "applied"

    watch(story)


def test_when_a_cluster_is_back_the_begin_of_its_new_first_sweep_is_the_measure() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        await asyncio.sleep(1000)
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        scene.ecs.broken["ListTasks"] = refused("ListTasks")
        await asyncio.sleep(30)
        assert (scene.seen.status, scene.seen.primed) == ("ACTIVE", False)
        assert scene.event(task_event(1, time=scene.clock.wall() - 600)) == "too old"
        assert scene.event(task_event(1, time=scene.clock.wall() - 60)) == "applied"

    watch(story)


def test_a_stopped_task_is_not_revived_by_an_event_however_late() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        stopped = scene.clock.wall()
        scene.event(task_event(1, time=stopped, version=5, lastStatus="STOPPED"))
        for _ in range(90):
            await asyncio.sleep(60)
            told = scene.event(task_event(1, time=stopped - 1, version=3))
            assert told in ("known", "too old")
        assert scene.view.task(task_arn(1)) is None  # forgotten by now, and still not revived

    watch(story)


def test_events_about_clusters_that_are_not_watched_are_ignored() -> None:
    async def story(scene: Watch) -> None:
        body = task_event(
            1,
            time=scene.clock.wall(),
            clusterArn=OTHER_CLUSTER,
            taskArn=task_arn(1, "other"),
            containerInstanceArn=host_arn(1, "other"),
        )
        assert scene.event(body) == "ignored"
        assert scene.view.task(task_arn(1, "other")) is None

    watch(story)


def test_events_about_an_inactive_cluster_do_not_fill_it() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        await asyncio.sleep(1)
        assert scene.event(host_event(1, time=scene.clock.wall())) == "ignored"
        assert list(scene.view.hosts(CLUSTER)) == []

    watch(story)


def test_an_event_without_overrides_about_an_unknown_task_makes_it_be_described() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        scene.ecs.put(task(1))
        scene.event(task_event(1, time=scene.clock.wall(), overrides=None))
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert (known.live, known.intent) == (True, None)
        await asyncio.sleep(5)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert known.intent == INTENT

    watch(story, queue=True)


def test_a_host_first_told_by_an_event_is_described_for_when_it_registered() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        scene.ecs.put(host(1))
        scene.event(host_event(1, time=scene.clock.wall()))
        seen = scene.view.host(host_arn(1))
        assert seen is not None
        assert seen.host.registered_at is None
        await asyncio.sleep(5)
        seen = scene.view.host(host_arn(1))
        assert seen is not None
        assert seen.host.registered_at == 1_750_000_000.0
        asked = len(scene.ecs.asked("DescribeContainerInstances"))
        await asyncio.sleep(30)
        assert len(scene.ecs.asked("DescribeContainerInstances")) == asked

    watch(story, queue=True)


def test_what_only_sweeps_find_becomes_a_problem() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        assert scene.view.problems() == ()
        scene.ecs.put(*(task(n) for n in range(1, 31)))
        await asyncio.sleep(200)
        assert len(scene.view.problems()) == 1
        assert "Something else reads the same queue" in scene.view.problems()[0]

    watch(story, queue=True)


def test_our_own_answers_and_their_events_are_no_problem() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        for number in range(1, 31):
            scene.ecs.put(task(number))
            scene.view.answer(task(number), scene.now)
        await asyncio.sleep(200)
        assert scene.view.problems() == ()

    watch(story, queue=True)


# --- Answers and presumed tasks -------------------------------------------------------------------


def test_an_answer_is_in_the_view_at_once_and_counts_as_begun_at_its_send() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(50)
        scene.view.answer(task(1, stopped_reason="later"), 40.0)
        scene.view.answer(task(1, stopped_reason="earlier"), 30.0)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert known.stopped_reason == "later"

    watch(story)


def test_a_presumed_task_enters_before_its_cluster_is_followed_and_any_document_overrides_it() -> (
    None
):
    async def story(scene: Watch) -> None:
        scene.view.presume(PRESUMED)
        assert scene.view.task(task_arn(1)) is None
        await scene.view.follow(CLUSTER)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert (known.live, known.version, known.intent) == (True, 0, INTENT)
        assert scene.touched[0].hosts == {host_arn(1)}
        scene.event(task_event(1, time=scene.clock.wall(), version=1, lastStatus="STOPPED"))
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert not known.live

    watch(story, follow=False)


def test_a_task_that_is_known_is_not_presumed() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        scene.view.answer(task(1, last_status="STOPPED"), scene.now)
        scene.view.presume(PRESUMED)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert not known.live

    watch(story)


# --- What only watching tells ---------------------------------------------------------------------


def test_disconnected_and_draining_since_this_process_first_saw_it() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1))
        await asyncio.sleep(1)
        await asyncio.sleep(99)
        for version in (6, 7):
            scene.event(
                host_event(
                    1,
                    time=scene.clock.wall(),
                    version=version,
                    agentConnected=False,
                    status="DRAINING",
                )
            )
            await asyncio.sleep(10)
        seen = scene.view.host(host_arn(1))
        assert seen is not None
        assert (seen.disconnected_since, seen.draining_since) == (100.0, 100.0)
        scene.event(host_event(1, time=scene.clock.wall(), version=8))
        seen = scene.view.host(host_arn(1))
        assert seen is not None
        assert (seen.disconnected_since, seen.draining_since) == (None, None)

    watch(story)


def test_when_a_machine_registers_anew_both_records_are_touched() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1, agent_connected=False))
        await asyncio.sleep(1)
        scene.touched.clear()
        same = host(1).ec2_instance_id
        scene.event(host_event(2, time=scene.clock.wall(), ec2InstanceId=same))
        assert scene.touched[0].hosts == {host_arn(1), host_arn(2)}
        assert [seen.superseded_by for seen in scene.view.hosts(CLUSTER)] == [host_arn(2), None]

    watch(story)


# --- Following ------------------------------------------------------------------------------------


def test_following_returns_at_once_and_sweeps_at_once() -> None:
    async def story(scene: Watch) -> None:
        before = scene.now
        await scene.view.follow(CLUSTER)
        await scene.view.follow(CLUSTER)
        assert scene.now == before
        assert not scene.seen.primed
        await asyncio.sleep(1)
        assert scene.seen.primed
        assert len(scene.ecs.asked("ListContainerInstances")) == 1

    watch(story, follow=False)


def test_a_cluster_named_by_its_name_is_found_however_long_it_takes() -> None:
    async def story(scene: Watch) -> None:
        del scene.ecs.clusters[CLUSTER]
        await scene.view.follow("demo")
        await asyncio.sleep(10)
        assert scene.view.cluster(CLUSTER) is None
        assert scene.view.problems() == ("Cluster demo is not there.",)
        scene.ecs.failing["DescribeClusters"] = [silent("DescribeClusters")]
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        await asyncio.sleep(100)
        assert scene.view.clusters == (CLUSTER,)
        assert scene.view.problems() == ()
        assert scene.seen.primed

    watch(story, follow=False)


def test_what_is_not_followed_any_more_is_forgotten_and_not_read() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(1)
        looking = asyncio.create_task(scene.view.look(CLUSTER))
        await asyncio.sleep(0)
        scene.view.unfollow(CLUSTER)
        assert scene.touched[-1] == Touched(cluster_arn=CLUSTER, cluster=True)
        assert scene.view.cluster(CLUSTER) is None
        assert scene.view.host(host_arn(1)) is None
        assert list(scene.view.hosts(CLUSTER)) == []
        await looking
        calls = len(scene.ecs.calls)
        await asyncio.sleep(100)
        assert len(scene.ecs.calls) == calls

    watch(story)


def test_clusters_named_on_the_command_line_stay() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        view = View(
            scene.ecs,
            LoopClock(),
            assumptions=Assumptions(),
            settings=ViewSettings(),
            clusters=["demo", OTHER_CLUSTER],
        )
        running = asyncio.create_task(view.run())
        await asyncio.sleep(1)
        assert view.clusters == (CLUSTER, OTHER_CLUSTER)
        view.unfollow(CLUSTER)
        view.unfollow(OTHER_CLUSTER)
        assert view.clusters == (CLUSTER, OTHER_CLUSTER)
        running.cancel()
        await view.close()

    watch(story, follow=False)


def test_arns_of_the_old_format_are_found_in_any_cluster() -> None:
    async def story(scene: Watch) -> None:
        old = f"{PREFIX}:task/0123456789abcdef0123456789abcdef"
        await asyncio.sleep(1)
        scene.view.answer(
            task(1, task_arn=old, container_instance_arn=f"{PREFIX}:container-instance/7"),
            scene.now,
        )
        assert scene.view.task(old) is not None
        assert len(scene.view.tasks_on(f"{PREFIX}:container-instance/7")) == 1

    watch(story)
