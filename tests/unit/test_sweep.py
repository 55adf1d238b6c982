"""Sweeps, looks and Describes: when they are complete, what they prove, and how they fail."""

import asyncio

from blox.ecs.model import TaskDocument
from blox.ecs.seen import Presumed
from support.documents import CLUSTER, OTHER_CLUSTER, foreign, host, host_arn, task, task_arn
from support.scriptedecs import refused, silent
from support.watching import V, Watch, watch


def presumed(number: int) -> Presumed:
    return Presumed(
        arn=task_arn(number),
        cluster_arn=CLUSTER,
        host_arn=host_arn(1),
        definition_arn="d",
        started_by="s",
        group="blox:agent",
        intent="i",
    )


# --- A sweep --------------------------------------------------------------------------------------


def test_a_sweep_reads_every_page_and_describes_all_that_lives() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(*(host(n) for n in range(1, 251)))
        scene.ecs.put(*(task(n, container_instance_arn=host_arn(n)) for n in range(1, 151)))
        scene.ecs.put(*(foreign(n, desired_status="STOPPED") for n in range(151, 260)))
        assert not scene.seen.primed
        await asyncio.sleep(5)
        assert scene.seen.primed
        assert scene.seen.sweeps == 1
        assert (scene.seen.swept_at, scene.seen.read_error) == (0.0, None)
        assert len(list(scene.view.hosts(CLUSTER))) == 250
        assert [t.arn for t in scene.view.tasks_on(host_arn(7))] == [task_arn(7)]
        assert len(scene.view.tasks_on(host_arn(1))) == 110

    scene = watch(story)
    assert len(scene.ecs.asked("ListContainerInstances")) == 3
    assert [status for status, _ in scene.ecs.asked("ListTasks")] == ["RUNNING"] * 2 + [
        "STOPPED"
    ] * 2
    assert [len(items) for items in scene.ecs.asked("DescribeTasks")] == [100, 100, 59]
    assert [len(items) for items in scene.ecs.asked("DescribeContainerInstances")] == [100, 100, 50]


def test_a_task_that_begins_to_stop_between_the_two_listings_is_in_the_second() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1))
        await asyncio.sleep(0.035)  # the first listing has been answered, the second is under way
        assert len(scene.ecs.asked("ListTasks")) == 2
        assert scene.view.task(task_arn(1)) is None
        scene.ecs.put(task(1, version=4, desired_status="STOPPED"))
        await asyncio.sleep(1)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert known.desired_status == "STOPPED"

    watch(story)


def test_a_page_that_fails_is_asked_again() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1))
        scene.ecs.failing = {
            "ListTasks": [silent("ListTasks"), silent("ListTasks")],
            "DescribeTasks": [refused("DescribeTasks", "ThrottlingException")],
        }
        await asyncio.sleep(6)
        assert scene.seen.primed
        assert scene.view.task(task_arn(1)) is not None
        assert scene.view.counters.reads_retried == 3

    watch(story)


def test_a_sweep_in_which_something_stays_unanswered_is_not_complete() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        scene.ecs.broken["DescribeTasks"] = silent("DescribeTasks")
        await asyncio.sleep(8)
        assert not scene.seen.primed
        assert (scene.seen.sweeps, scene.seen.absence_horizon) == (0, None)
        assert scene.seen.read_error is not None
        assert "DescribeTasks got no answer" in scene.seen.read_error
        del scene.ecs.broken["DescribeTasks"]
        await asyncio.sleep(8)
        assert scene.seen.primed
        assert scene.seen.read_error is None

    scene = watch(story)
    assert scene.view.counters.sweeps_failed >= 1


def test_an_answer_that_leaves_an_arn_out_is_not_complete() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1))
        scene.ecs._missing = lambda asked, shown: ()  # type: ignore[method-assign]
        scene.ecs.hidden = {task_arn(2)}
        scene.view.presume(presumed(2))
        await asyncio.sleep(8)
        assert not scene.seen.primed
        assert "says nothing of 1 of 2" in str(scene.seen.read_error)

    watch(story)


def test_a_denied_read_is_not_repeated_at_once_and_backs_off() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.broken["ListTasks"] = refused("ListTasks")
        await asyncio.sleep(600)
        assert "AccessDeniedException" in str(scene.seen.read_error)

    scene = watch(story)
    assert 10 <= len(scene.ecs.asked("ListTasks")) <= 16


def test_one_cluster_that_cannot_be_read_holds_up_no_other() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.clusters[OTHER_CLUSTER] = "ACTIVE"
        real = scene.ecs.list_hosts

        async def hang(cluster: str, *, next_token: str | None = None) -> object:
            if cluster == CLUSTER:
                await asyncio.sleep(1e6)
            return await real(cluster, next_token=next_token)

        scene.ecs.list_hosts = hang  # type: ignore[method-assign, assignment]
        await scene.view.follow(OTHER_CLUSTER)
        await asyncio.sleep(10)
        other = scene.view.cluster(OTHER_CLUSTER)
        assert other is not None
        assert other.primed
        assert not scene.seen.primed

    watch(story)


def test_hosts_new_to_the_view_enter_it_after_the_tasks_on_them() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        scene.ecs.put(host(1), task(1))
        order: list[bool] = []
        scene.view.subscribe(
            lambda touched: (
                order.append(bool(scene.view.tasks_on(host_arn(1))))
                if scene.view.host(host_arn(1)) is not None
                else None
            )
        )
        await asyncio.sleep(30)
        assert order
        assert all(order)

    watch(story)


def test_what_is_known_to_have_ended_is_not_described_again() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1, last_status="STOPPED", desired_status="STOPPED"))
        await asyncio.sleep(65)

    assert watch(story).ecs.asked("DescribeTasks") == [(task_arn(1),)]


def test_the_interval_depends_on_the_queue_and_on_what_a_sweep_takes() -> None:
    def sweeps(scene: Watch) -> int:
        return len(scene.ecs.asked("DescribeClusters"))

    async def without(scene: Watch) -> None:
        await asyncio.sleep(119)

    assert sweeps(watch(without)) == 6

    async def with_queue(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(119)

    assert sweeps(watch(with_queue, queue=True)) == 2

    async def broken_queue(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(30)
        scene.view.queue_flows(flowing=False)
        await asyncio.sleep(1)
        assert sweeps(scene) == 2

    watch(broken_queue, queue=True)

    async def slow(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(239)

    assert sweeps(watch(slow, latency=10.0)) == 2  # a sweep takes 60 s: one every 120 s


# --- Absence --------------------------------------------------------------------------------------


def test_missing_counts_only_more_than_v_after_the_newest_evidence() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(1)
        shown = scene.now
        scene.view.answer(task(1), shown)
        scene.ecs.tasks.clear()
        while scene.now < shown + V - 1:
            await asyncio.sleep(10)
            assert scene.view.task(task_arn(1)) is not None
        await asyncio.sleep(shown + V - scene.now)
        await scene.view.describe(CLUSTER, [task_arn(1)])  # begun exactly V after: proves nothing
        assert scene.view.task(task_arn(1)) is not None
        read = await scene.view.describe(CLUSTER, [task_arn(1)])
        assert read is not None
        assert read.begun > shown + V
        assert scene.view.task(task_arn(1)) is None

    scene = watch(story)
    assert scene.view.counters.tasks_absent == 1
    assert any(task_arn(1) in t.tasks and host_arn(1) in t.hosts for t in scene.touched)


def test_a_presumed_task_that_is_missing_stays_live_for_v() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(V)
        assert scene.view.task(task_arn(5)) is not None
        assert scene.seen.primed
        await asyncio.sleep(30)
        assert scene.view.task(task_arn(5)) is None

    async def early(scene: Watch) -> None:
        scene.view.presume(presumed(5))
        await scene.view.follow(CLUSTER)
        await story(scene)

    watch(early, follow=False)


def test_a_task_that_is_listed_is_not_gone_although_describe_says_missing() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1))
        await asyncio.sleep(1)
        real = scene.ecs.describe_tasks

        async def hide(cluster: str, tasks: list[str]) -> object:
            scene.ecs.hidden = {task_arn(1)}
            try:
                return await real(cluster, tasks)
            finally:
                scene.ecs.hidden = set()

        scene.ecs.describe_tasks = hide  # type: ignore[method-assign, assignment]
        await asyncio.sleep(3 * V)
        assert scene.seen.sweeps > 10
        assert scene.view.task(task_arn(1)) is not None

    watch(story)


def test_a_missing_host_leaves_but_its_tasks_stay() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(1)
        scene.ecs.hosts.clear()
        await asyncio.sleep(V - 10)
        assert scene.view.host(host_arn(1)) is not None
        await asyncio.sleep(60)
        assert scene.view.host(host_arn(1)) is None
        assert [t.arn for t in scene.view.tasks_on(host_arn(1))] == [task_arn(1)]

    watch(story)


def test_tasks_leave_v_after_their_host_was_seen_inactive() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(1)
        scene.ecs.put(host(1, version=6, status="INACTIVE"))
        await asyncio.sleep(30)
        assert scene.view.host(host_arn(1)) is None
        assert list(scene.view.hosts(CLUSTER)) == []
        await asyncio.sleep(V - 30)
        assert scene.view.tasks_on(host_arn(1))
        await asyncio.sleep(60)
        assert scene.view.tasks_on(host_arn(1)) == ()
        scene.touched.clear()
        await asyncio.sleep(60)  # ECS goes on listing it: it does not come back
        assert len(scene.ecs.asked("DescribeTasks")) > 15
        assert all(not touched.tasks for touched in scene.touched)

    watch(story)


def test_stopped_tasks_are_kept_for_an_hour() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(task(1))
        await asyncio.sleep(1)
        scene.view.answer(task(1, version=4, last_status="STOPPED", desired_status="STOPPED"), 1.0)
        scene.ecs.tasks.clear()
        await asyncio.sleep(3590)
        assert scene.view.task(task_arn(1)) is not None
        await asyncio.sleep(60)
        assert scene.view.task(task_arn(1)) is None

    watch(story)


# --- Looks ----------------------------------------------------------------------------------------


def test_a_look_describes_only_what_is_new_or_in_doubt() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(*(task(n) for n in range(1, 50)))
        await asyncio.sleep(1)
        before = scene.now
        scene.ecs.put(task(60))  # new
        scene.ecs.put(task(7, version=4, desired_status="STOPPED"))  # to be stopped since
        del scene.ecs.tasks[task_arn(9)]  # not listed any more
        assert await scene.view.look(CLUSTER)
        assert scene.ecs.asked("DescribeTasks")[-1] == (task_arn(7), task_arn(9), task_arn(60))
        assert scene.seen.absence_horizon == before
        assert scene.view.task(task_arn(60)) is not None

    watch(story)


def test_callers_during_a_look_share_the_next_one() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        before = len(scene.ecs.asked("ListTasks"))
        first = asyncio.create_task(scene.view.look(CLUSTER))
        await asyncio.sleep(0.005)
        asked = scene.now
        later = [asyncio.create_task(scene.view.look(CLUSTER)) for _ in range(5)]
        assert await first
        assert scene.seen.absence_horizon is not None
        assert scene.seen.absence_horizon < asked
        assert await asyncio.gather(*later) == [True] * 5
        assert scene.seen.absence_horizon >= asked
        assert len(scene.ecs.asked("ListTasks")) == before + 4

    watch(story)


def test_a_caller_that_gives_up_does_not_end_a_look_that_others_wait_for() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        one = asyncio.create_task(scene.view.look(CLUSTER))
        two = asyncio.create_task(scene.view.look(CLUSTER))
        await asyncio.sleep(0.005)
        one.cancel()
        assert await two

    watch(story)


def test_a_look_that_fails_moves_no_horizon() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        horizon = scene.seen.absence_horizon
        scene.ecs.broken["ListTasks"] = silent("ListTasks")
        assert not await scene.view.look(CLUSTER)
        assert scene.seen.absence_horizon == horizon
        assert scene.seen.read_error is not None
        # Another Describe that is answered does not hide that listing fails.
        assert await scene.view.describe(CLUSTER, [task_arn(1)]) is not None
        assert scene.seen.read_error is not None
        del scene.ecs.broken["ListTasks"]
        assert await scene.view.look(CLUSTER)
        assert scene.seen.read_error is None

    watch(story)


def test_describe_applies_what_it_shows_and_says_when_it_began() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(1)
        scene.ecs.put(*(task(n) for n in range(1, 131)))
        arns = [task_arn(n) for n in range(1, 131)]
        before = scene.now
        read = await scene.view.describe(CLUSTER, arns)
        assert read is not None
        assert read.begun == before
        assert [document.task_arn for document in read.items] == arns
        assert all(scene.view.task(arn) is not None for arn in arns)
        scene.ecs.broken["DescribeTasks"] = refused("DescribeTasks")
        assert await scene.view.describe(CLUSTER, arns) is None
        assert await scene.view.describe(OTHER_CLUSTER, arns) is None
        assert not await scene.view.look(OTHER_CLUSTER)

    watch(story)


# --- What is half known ---------------------------------------------------------------------------


def test_an_unhealthy_task_is_described_again_after_ten_seconds() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        scene.ecs.put(task(1, health_status="HEALTHY"))
        await asyncio.sleep(1)
        scene.ecs.put(task(1, health_status="UNHEALTHY"))
        begun = scene.now
        await scene.view.describe(CLUSTER, [task_arn(1)])
        await asyncio.sleep(begun + 9.9 - scene.now)
        assert scene.view.task(task_arn(1)).health == "HEALTHY"  # type: ignore[union-attr]
        await asyncio.sleep(0.3)
        assert scene.view.task(task_arn(1)).health == "UNHEALTHY"  # type: ignore[union-attr]

    watch(story)


def test_a_task_without_overrides_is_described_within_five_seconds_and_again_until_shown() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        bare = TaskDocument(
            task_arn=task_arn(1),
            container_instance_arn=host_arn(1),
            version=1,
            last_status="PENDING",
            desired_status="RUNNING",
        )
        scene.view.answer(bare, scene.now)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert known.intent is None
        await asyncio.sleep(4.5)
        assert len(scene.ecs.asked("DescribeTasks")) == 2  # after 1 and 3 s: MISSING, it is young
        assert scene.view.task(task_arn(1)) is not None
        scene.ecs.put(task(1))
        await asyncio.sleep(5)
        known = scene.view.task(task_arn(1))
        assert known is not None
        assert known.intent
        asked = len(scene.ecs.asked("DescribeTasks"))
        await asyncio.sleep(30)
        assert len(scene.ecs.asked("DescribeTasks")) == asked

    watch(story, queue=True)


def test_a_task_that_was_listed_and_not_described_is_asked_for_within_five_seconds() -> None:
    async def story(scene: Watch) -> None:
        scene.view.queue_flows(flowing=True)
        await asyncio.sleep(1)
        real = scene.ecs.describe_tasks
        young = True

        async def hide(cluster: str, tasks: list[str]) -> object:
            scene.ecs.hidden = {task_arn(1)} if young else set()
            answer = await real(cluster, tasks)
            scene.ecs.hidden = set()
            return answer

        scene.ecs.describe_tasks = hide  # type: ignore[method-assign, assignment]
        scene.ecs.put(task(1))
        assert await scene.view.look(CLUSTER)  # MISSING is an answer
        assert scene.view.task(task_arn(1)) is None
        young = False
        await asyncio.sleep(5)
        assert scene.view.task(task_arn(1)) is not None

        young = True
        scene.ecs.put(task(2))
        scene.ecs.hidden = set()
        real_hidden = {task_arn(2)}

        async def never(cluster: str, tasks: list[str]) -> object:
            scene.ecs.hidden = real_hidden
            answer = await real(cluster, tasks)
            scene.ecs.hidden = set()
            return answer

        scene.ecs.describe_tasks = never  # type: ignore[method-assign, assignment]
        assert await scene.view.look(CLUSTER)
        before = len(scene.ecs.asked("DescribeTasks"))
        await asyncio.sleep(25)
        assert len(scene.ecs.asked("DescribeTasks")) - before == 4  # after 1, 3, 7 and 15 s

    watch(story, queue=True)


# --- A cluster that goes and comes back -----------------------------------------------------------


def test_an_inactive_cluster_is_emptied_and_swept_anew_when_it_is_back() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1, last_status="STOPPED", desired_status="STOPPED"))
        await asyncio.sleep(1)
        scene.ecs.clusters[CLUSTER] = "INACTIVE"
        await asyncio.sleep(30)
        assert (scene.seen.status, scene.seen.primed) == ("INACTIVE", False)
        assert (scene.seen.sweeps, scene.seen.absence_horizon) == (0, None)
        assert list(scene.view.hosts(CLUSTER)) == []
        assert scene.view.task(task_arn(1)) is None
        assert not await scene.view.look(CLUSTER)
        scene.ecs.clusters[CLUSTER] = "ACTIVE"
        scene.ecs.hosts.clear()
        scene.ecs.put(host(2))
        await asyncio.sleep(15)
        assert (scene.seen.status, scene.seen.primed, scene.seen.sweeps) == ("ACTIVE", True, 1)
        assert [seen.host.arn for seen in scene.view.hosts(CLUSTER)] == [host_arn(2)]

    watch(story)


def test_a_cluster_that_was_not_found_while_tasks_ran_is_primed_v_after_their_last_sign() -> None:
    async def story(scene: Watch) -> None:
        scene.ecs.put(host(1), task(1))
        await asyncio.sleep(1)
        shown = scene.now
        scene.view.answer(task(1), shown)
        scene.ecs.failing["ListTasks"] = [refused("ListTasks", "ClusterNotFoundException")]
        assert not await scene.view.look(CLUSTER)
        assert scene.seen.status == "INACTIVE"
        scene.ecs.tasks.clear()  # young: reads do not show it yet
        await asyncio.sleep(shown + V - scene.now - 1)
        assert (scene.seen.status, scene.seen.primed) == ("ACTIVE", False)
        await asyncio.sleep(30)
        assert scene.seen.primed

    watch(story)


def test_a_sweep_across_the_end_of_its_cluster_is_not_complete() -> None:
    async def story(scene: Watch) -> None:
        await asyncio.sleep(21)  # the second sweep is under way: it has listed the hosts
        assert scene.seen.primed
        scene.ecs.failing["ListTasks"] = [refused("ListTasks", "ClusterNotFoundException")]
        assert not await scene.view.look(CLUSTER)
        await asyncio.sleep(4.5)
        assert len(scene.ecs.asked("ListTasks")) == 5
        assert (scene.seen.status, scene.seen.primed) == ("INACTIVE", False)
        assert scene.seen.absence_horizon is None

    watch(story, latency=0.9)


def test_a_cluster_that_is_not_there_is_inactive() -> None:
    async def story(scene: Watch) -> None:
        del scene.ecs.clusters[CLUSTER]
        await asyncio.sleep(1)
        assert (scene.seen.status, scene.seen.primed) == ("INACTIVE", False)

    watch(story)
