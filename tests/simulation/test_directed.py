"""Worlds played by hand: one thing goes wrong, and what follows is told to the second."""

import asyncio

import pytest

from blox.scheduler import reconciler
from blox.scheduler.model import DeploymentStatus, SlotClass
from blox.simulator.faults import Faults
from support.directed import FAMILY, Stage, play

RUNNING, COMPLETED, FAILED = (
    DeploymentStatus.RUNNING,
    DeploymentStatus.COMPLETED,
    DeploymentStatus.FAILED,
)


def test_without_a_store_nothing_is_started() -> None:
    """R13: a start that nobody remembers could be made a second time."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.running.trouble.failing = True
        began = stage.now
        stage.lose(stage.hosts[0])
        await asyncio.sleep(120.0)
        assert stage.calls("StartTask", since=began) == []
        stage.running.trouble.failing = False
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=30.0)

    play(act)


def test_without_a_store_nothing_is_stopped_that_would_have_to_be_started_again() -> None:
    async def act(stage: Stage) -> None:
        await stage.create(max_unavailable="1")
        await stage.update()
        stage.running.trouble.failing = True
        await asyncio.sleep(300.0)
        assert len(stage.daemons()) >= 2
        stage.running.trouble.failing = False
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=300.0)

    play(act)


def test_a_storm_of_lost_answers_leaves_most_hosts_out_of_it() -> None:
    """R14: two calls of ten hosts open the breaker; then it is one host at a time."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.cloud.faults = Faults(drop_request=1.0)
        for host in stage.hosts:
            stage.lose(host)
        await asyncio.sleep(60.0)
        open_starts = stage.count(SlotClass.IN_DOUBT) + stage.count(SlotClass.STARTING)
        stage.cloud.faults = Faults.none()
        assert 2 <= open_starts <= 30
        assert stage.most == 0
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 60, within=900.0)
        assert stage.most == 1

    play(act, hosts=60)


@pytest.mark.parametrize("word", [True, False], ids=["told", "not told"])
def test_a_deployment_is_not_completed_by_verdicts_about_the_one_before(word: bool) -> None:
    """A pass may come between the storing of a deployment and the word of it."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await stage.revise()
        tracking = stage.running.scheduler.reconciler
        if not word:
            tracking.track = lambda environment_id: None  # type: ignore[method-assign]
        await stage.running.service.deploy(stage.environment_id)
        tracking.touch(stage.environment_id)
        await asyncio.sleep(1.0)
        assert stage.deployment.status is RUNNING
        assert stage.count(SlotClass.CURRENT) == 0
        await stage.until(lambda: stage.deployment.status is COMPLETED)
        assert {task.definition for task in stage.daemons()} == {stage.definition}

    play(act)


def test_a_deployment_that_comes_in_the_middle_of_a_pass_is_not_completed_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pass over many hosts lets other work in."""
    monkeypatch.setattr(reconciler, "HOSTS_BETWEEN_YIELDS", 1)

    async def act(stage: Stage) -> None:
        await stage.create()
        for waits in range(12):
            await stage.revise()
            deploying = asyncio.ensure_future(stage.running.service.deploy(stage.environment_id))
            for _ in range(waits):
                await asyncio.sleep(0)
            stage.tracked.all_dirty = True
            stage.running.scheduler.reconciler.touch(stage.environment_id)
            await deploying
            await asyncio.sleep(0.1)
            assert stage.deployment.status is not COMPLETED
            await stage.until(lambda: stage.deployment.status is COMPLETED)
            assert {task.definition for task in stage.daemons()} == {stage.definition}

    play(act, hosts=8)


def test_a_revision_that_crashes_again_and_again_fails_at_its_deadline() -> None:
    """Its daemons come to run for a moment each time; that is no progress."""

    async def act(stage: Stage) -> None:
        await stage.create(max_unavailable="1")
        began = stage.now
        stage.cloud.crash_loop(FAMILY, 3.0)
        await stage.update()
        await stage.until(lambda: not stage.deployment.in_progress, within=2000.0)
        assert stage.deployment.status is FAILED
        assert stage.now - began < 700.0
        (cause,) = [c for c in stage.deployment.causes if c.code in ("backoff", "settling")]
        assert cause.count == 1

    play(act)


def test_a_second_daemon_of_ours_is_removed_and_the_older_one_stays() -> None:
    """R8: whoever made it."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        (first,) = stage.daemons(stage.hosts[0])
        stage.double(stage.hosts[0])
        assert stage.most == 2
        await stage.until(lambda: stage.most == 1, within=120.0)
        await asyncio.sleep(60.0)
        assert stage.daemons(stage.hosts[0]) == [first]

    play(act)


def test_a_daemon_is_not_relied_on_that_the_look_did_not_show() -> None:
    """R8: the other is stopped only once a look has shown the one that stays."""

    async def act(stage: Stage) -> None:
        await stage.create()
        (first,) = stage.daemons(stage.hosts[0])
        first.describe_lag = first.list_lag = 300.0
        stage.double(stage.hosts[0])
        await asyncio.sleep(240.0)
        assert stage.calls("StopTask", since=stage.live.epoch) == []
        await stage.until(lambda: stage.most == 1, within=240.0)
        assert stage.daemons(stage.hosts[0]) == [first]

    play(act)


def test_what_somebody_else_started_is_left_alone_even_in_our_name() -> None:
    """R10: it carries our deployment's id and our group, and no marker."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.double(stage.hosts[0], overrides={}, group="blox:agent")
        await asyncio.sleep(600.0)
        assert len(stage.daemons(stage.hosts[0])) == 2
        assert stage.calls("StopTask", since=stage.live.epoch) == []

    play(act)


def test_where_somebody_else_runs_the_daemon_nothing_is_started() -> None:
    """R26, and the deployment says so at its deadline."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        host = stage.hosts[0]
        (ours,) = stage.daemons(host)
        stage.cloud.start_foreign(stage.cluster, host, FAMILY, now=stage.now, service="other")
        stage.live.settle()
        await asyncio.sleep(30.0)
        stage.cloud.kill_task(ours.arn, now=stage.now)
        stage.live.settle()
        await asyncio.sleep(300.0)
        assert len(stage.daemons(host)) == 1
        assert stage.count(SlotClass.OCCUPIED) == 1

    play(act)


def test_an_error_after_the_first_byte_is_no_refusal() -> None:
    """R2: ECS did what was asked and answers 500."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.cloud.faults = Faults(error_after=1.0)
        stage.lose(stage.hosts[0])
        for _ in range(600):
            await asyncio.sleep(0.1)
            assert stage.most <= 1
        stage.cloud.faults = Faults.none()
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3)

    play(act)


def test_the_daemon_leaves_a_draining_host_last() -> None:
    """R17."""

    async def act(stage: Stage) -> None:
        await stage.create()
        host = stage.hosts[0]
        stage.cloud.add_definition("web", now=stage.now)
        other = stage.cloud.start_foreign(stage.cluster, host, "web", now=stage.now)
        stage.live.settle()
        await asyncio.sleep(60.0)
        stage.cloud.drain_host(host, now=stage.now)
        stage.live.settle()
        await asyncio.sleep(300.0)
        assert len(stage.daemons(host)) == 1
        stage.cloud.kill_task(other, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: stage.daemons(host) == [], within=60.0)

    play(act)


def test_a_machine_that_registers_again_has_one_daemon() -> None:
    """R16: on its new record; the one on the old record is stopped once."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        old = stage.hosts[0]
        new = stage.cloud.duplicate_host(old, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: stage.count(SlotClass.SUPERSEDED) == 1, within=120.0)
        await stage.until(lambda: len(stage.daemons(new)) == 1, within=60.0)
        await asyncio.sleep(120.0)
        assert [call.params["task"] for call in stage.calls("StopTask", since=0.0)] == [
            task.arn for task in stage.cloud.tasks.values() if task.host == old
        ]

    play(act)


def test_a_new_deployment_asks_hosts_again_that_refused_the_last_one() -> None:
    """Their wait may be a quarter of an hour: longer than the new one's deadline."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.cloud.poison_host(stage.hosts[0])
        stage.lose(stage.hosts[0])
        await stage.until(lambda: stage.count(SlotClass.BLOCKED) == 1)
        await asyncio.sleep(600.0)
        stage.cloud.poison_host(stage.hosts[0], on=False)
        await stage.running.service.deploy(stage.environment_id)
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=30.0)

    play(act)


def test_when_a_denial_ends_every_host_goes_on_at_once() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        stage.cloud.deny("StartTask")
        for host in stage.hosts:
            stage.lose(host)
        await stage.until(lambda: stage.count(SlotClass.BLOCKED) == 5)
        stage.cloud.deny("StartTask", on=False)
        await stage.until(lambda: len(stage.daemons()) > 0, within=90.0)
        await stage.until(lambda: len(stage.daemons()) == 5, within=2.0)

    play(act, hosts=5)


def test_a_denial_that_nobody_probes_does_not_hold_up_the_next_update_for_ever() -> None:
    """The only host that waited for it has left."""

    async def act(stage: Stage) -> None:
        await stage.create(max_unavailable="1")
        await stage.update()
        stage.cloud.deny("StartTask")
        await stage.until(lambda: stage.tracked.trouble is not None)
        waiting = next(host for host in stage.hosts if not stage.daemons(host))
        stage.cloud.deny("StartTask", on=False)
        stage.cloud.terminate_host(waiting, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: not stage.deployment.in_progress, within=900.0)
        assert stage.deployment.status is COMPLETED

    play(act)
