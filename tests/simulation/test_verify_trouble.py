"""`blox verify-aws` when things go wrong: whatever happens, nothing is left that it made."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from blox.account.verify.definitions import DRAIN_MARK, FAMILY, IMAGE, MARK, Variant
from blox.account.verify.lab import Patience
from blox.account.verify.report import Report
from blox.base.clock import LoopClock
from blox.base.errors import InvalidInput
from blox.simulator.client import SimTransport
from blox.simulator.faults import Faults
from support.verifying import Bench, Stage, Verified, swept, verified

STARTING = ("group-prefix", "read-lag", "same-host-twice", "stop-reason", "run-task-token")


def clean(run: Verified) -> Verified:
    """The run, of which nothing is left and nobody else was hurt."""
    assert run.bench.ours == []
    assert run.bench.others_are_well
    return run


def interrupted_when(holds: Callable[[Bench], bool], *, again: float | None = None) -> Callable[
    [Stage], Awaitable[Report]
]:  # fmt: skip
    """Run until that holds of the cloud, then interrupt; once more `again` seconds later."""

    async def run(stage: Stage) -> Report:
        running = asyncio.create_task(stage.verification.run())
        while not holds(stage.bench):
            assert not running.done(), "it was over before it could be interrupted"
            await asyncio.sleep(0.01)
        running.cancel()
        if again is not None:
            await asyncio.sleep(again)
            assert not running.done()
            running.cancel()
        return await running

    return run


def live_tasks(bench: Bench) -> int:
    """How many tasks of ours run."""
    return sum(
        task.live and task.started_by.startswith("blox-verify/")
        for task in bench.cloud.tasks.values()
    )


def drained(bench: Bench) -> bool:
    return any(host.status == "DRAINING" for host in bench.cloud.hosts.values())


def marked(bench: Bench) -> bool:
    return any(MARK in host.custom for host in bench.cloud.hosts.values())


# --- Interruption ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "holds"),
    [
        ("group-prefix", lambda bench: live_tasks(bench) == 1),
        ("read-lag", lambda bench: live_tasks(bench) == 3),
        ("run-task-token", lambda bench: live_tasks(bench) == 1),
        ("list-tokens", lambda bench: live_tasks(bench) == 2),
        ("start-on-draining", drained),
        ("start-on-draining", lambda bench: drained(bench) and live_tasks(bench) == 1),
        ("attributes-version", marked),
        (
            "inactive-definition",
            lambda bench: any(d.family == FAMILY for d in bench.cloud.definitions.values()),
        ),
    ],
)
def test_an_interruption_leaves_nothing(only: str, holds: Callable[[Bench], bool]) -> None:
    run = clean(verified(only, drain=True, attributes=True, run=interrupted_when(holds)))
    assert run.report.ended == "interrupted"
    assert run.report.clean_up is not None
    assert run.report.clean_up.left == ()


def test_a_second_interruption_ends_the_cleaning_and_the_report_says_so() -> None:
    run = verified(
        "read-lag", run=interrupted_when(lambda bench: live_tasks(bench) == 3, again=0.05)
    )
    assert run.report.ended == "interrupted"
    assert run.report.clean_up is not None
    assert run.report.clean_up.problems == ("cleaning up was interrupted: use --clean-up",)
    assert run.bench.ours != []
    assert run.stage.saved[-1] == run.report


# --- Lost answers and refusals --------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        Faults(drop_answer=0.3),
        Faults(error_after=0.3),
        Faults(garble=0.3),
        Faults(drop_request=0.3),
        Faults(error_before=0.3, throttle=0.3),
        Faults(slow_execution=0.3, late_answer=0.2),
        Faults(omit_host=0.5, double_host=0.3),
    ],
    ids=lambda faults: " ".join(name for name, rate in _rates(faults)),
)
def test_nothing_is_left_after_lost_answers_and_errors(faults: Faults) -> None:
    async def run(stage: Stage) -> Report:
        report = await stage.verification.run()
        await asyncio.sleep(300.0)  # what was on its way arrives
        assert stage.live is not None
        stage.bench.cloud.faults = Faults.none()
        clock = LoopClock()
        transport = SimTransport(stage.live, clock=clock, random=Random(9))
        left, done = await swept(stage.bench, transport, clock)
        swept_now = report.clean_up
        assert swept_now is not None
        assert done.done
        assert left.nothing or not swept_now.done, "what it left, it said"
        return report

    run_ = clean(verified(*STARTING, faults=faults, run=run, drain=True))
    assert run_.report.ended == "complete"
    assert len(run_.report.answers) == len(STARTING)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_what_is_left_was_said_and_is_found(seed: int) -> None:
    """Faults by the seed; every second run is interrupted, every fourth one twice."""
    random = Random(seed)
    faults = replace(Faults.draw(random), event_ancient=0.0, pause=0.0)
    swept_twice = []

    async def run(stage: Stage) -> Report:
        running = asyncio.create_task(stage.verification.run())
        if seed % 2:
            await asyncio.sleep(random.uniform(0.1, 60.0))
            running.cancel()
        if seed % 4 == 3:
            await asyncio.sleep(random.uniform(0.1, 1.0))
            running.cancel()
        report = await running
        await asyncio.sleep(800.0)  # what was on its way has arrived, and every read shows it
        assert report.clean_up is not None
        assert stage.bench.ours == [] or not report.clean_up.done, "what it left, it said"
        stage.bench.cloud.faults = Faults.none()
        assert stage.live is not None
        clock = LoopClock()
        transport = SimTransport(stage.live, clock=clock, random=Random(9))
        swept_twice.append(await swept(stage.bench, transport, clock))
        return report

    found = clean(
        verified(
            faults=faults,
            run=run,
            seed=seed,
            drain=True,
            attributes=True,
            queue=True,
            external=True,
            hosts=3,
        )
    )
    assert not found.report.ended.startswith("failed")
    assert not [a for a in found.report.answers if "mistake" in a.finding.observed]
    ((left, done),) = swept_twice
    assert done.done, (left.lines, done.problems)


def _rates(faults: Faults) -> list[tuple[str, float]]:
    return [
        (name, getattr(faults, name))
        for name in Faults.__dataclass_fields__
        if getattr(faults, name)
    ]


def test_a_lost_answer_is_cleared_up_by_the_tasks_own_name() -> None:
    async def run(stage: Stage) -> Report:
        async def mend() -> None:
            while not live_tasks(stage.bench):
                await asyncio.sleep(0.01)
            stage.bench.cloud.faults = Faults.none()

        await stage.lab.definition(Variant.PLAIN)
        stage.bench.cloud.faults = Faults(drop_answer=1.0)
        mending = asyncio.create_task(mend())
        report = await stage.verification.run()
        await mending
        return report

    found = clean(verified("group-prefix", run=run))
    assert found.outcome("group-prefix") == "could not be asked"
    assert "got no answer" in found.observed("group-prefix")
    assert found.report.clean_up is not None
    assert found.report.clean_up.done
    assert found.report.clean_up.tasks_stopped == 1


def test_where_nothing_may_be_started_each_question_says_so() -> None:
    run = clean(
        verified(*STARTING, meanwhile=lambda bench: bench.cloud.deny("RegisterTaskDefinition"))
    )
    for name in STARTING:
        assert run.outcome(name) == "could not be asked"
        assert "RegisterTaskDefinition was refused: AccessDenied" in run.observed(name)
    assert run.report.clean_up is not None
    assert run.report.clean_up.done


def test_a_denied_stop_is_not_kept_quiet() -> None:
    run = verified("group-prefix", meanwhile=lambda bench: bench.cloud.deny("StopTask"))
    assert run.report.clean_up is not None
    assert not run.report.clean_up.done
    assert any("AccessDenied" in problem for problem in run.report.clean_up.problems)
    assert any(line.startswith("task ") for line in run.report.clean_up.left)


def test_no_host_is_drained_that_could_not_be_found_again() -> None:
    run = clean(
        verified(
            "start-on-draining",
            drain=True,
            meanwhile=lambda bench: bench.cloud.deny("PutAttributes"),
        )
    )
    assert run.outcome("start-on-draining") == "could not be asked"
    assert "by which --clean-up finds it again" in run.observed("start-on-draining")
    calls = [logged.operation for logged in run.bench.cloud.log]
    assert "UpdateContainerInstancesState" not in calls


def test_a_host_that_cannot_be_put_back_is_named() -> None:
    async def run(stage: Stage) -> Report:
        async def deny() -> None:
            while not drained(stage.bench):
                await asyncio.sleep(0.01)
            stage.bench.cloud.deny("UpdateContainerInstancesState")

        denying = asyncio.create_task(deny())
        report = await stage.verification.run()
        await denying
        return report

    found = verified("start-on-draining", drain=True, run=run)
    assert found.report.clean_up is not None
    assert any(line.startswith("host i-") for line in found.report.clean_up.left)
    assert any(DRAIN_MARK in host.custom for host in found.bench.cloud.hosts.values())


# --- What it never does ---------------------------------------------------------------------------


def test_it_acts_on_two_hosts_at_most_and_on_no_task_of_others() -> None:
    run = clean(verified(hosts=5, drain=True, attributes=True, queue=True, external=True))
    cloud = run.bench.cloud
    ours = [task for task in cloud.tasks.values() if task.started_by.startswith("blox-verify/")]
    assert len(ours) > 15
    assert len({task.host for task in ours}) == 2
    assert {task.arn for task in cloud.tasks.values()} - {task.arn for task in ours} == set(
        run.bench.foreign
    )
    stopped = {logged.stopped for logged in cloud.log if logged.operation == "StopTask"}
    assert stopped - {""} <= {task.arn for task in ours}
    touched = {
        str(arn)
        for logged in cloud.log
        if logged.operation == "UpdateContainerInstancesState"
        for arn in _list(logged.params["containerInstances"])
    }
    assert len(touched) == 1


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def test_hosts_are_changed_only_when_that_was_allowed() -> None:
    run = clean(verified())
    changed = {"UpdateContainerInstancesState", "PutAttributes", "DeleteAttributes"}
    assert not changed & {logged.operation for logged in run.bench.cloud.log}
    for name in ("start-on-draining", "draining-version", "attributes-version"):
        assert "--allow-" in run.observed(name)


def test_with_a_definition_of_the_users_nothing_is_registered() -> None:
    made: list[str] = []

    def meanwhile(bench: Bench) -> None:
        made.append(bench.cloud.add_definition("mine", now=bench.cloud.now, cpu=16, memory=16))
        container = bench.cloud.definitions[made[0]].document["containerDefinitions"]
        assert isinstance(container, list)
        made.append(str(container[0]["name"]))

    async def run(stage: Stage) -> Report:
        stage.lab.orders = replace(stage.lab.orders, definition=made[0], container=made[1])
        return await stage.verification.run()

    found = clean(verified(meanwhile=meanwhile, run=run))
    calls = {logged.operation for logged in found.bench.cloud.log}
    assert not calls & {"RegisterTaskDefinition", "DeregisterTaskDefinition"}
    assert found.outcome("group-prefix") == "as assumed"
    assert "needs a task definition of its own" in found.observed("ports-token")
    assert found.bench.cloud.definitions[made[0]].active


def test_the_task_is_tiny_public_and_ends_by_itself() -> None:
    run = clean(verified("group-prefix"))
    (definition,) = [d for d in run.bench.cloud.definitions.values() if d.family == FAMILY]
    containers = definition.document["containerDefinitions"]
    assert isinstance(containers, list)
    (container,) = containers
    assert (definition.cpu, definition.memory) == (16, 16)
    assert container["image"] == IMAGE == "public.ecr.aws/docker/library/busybox:stable"
    assert container["command"] == ["sleep", "900"]


def test_a_cluster_without_hosts_that_can_be_used_is_refused_before_anything_is_done() -> None:
    def meanwhile(bench: Bench) -> None:
        for arn in bench.hosts:
            bench.cloud.drain_host(arn, now=bench.cloud.now)

    with pytest.raises(InvalidInput, match="No host of the cluster can be used"):
        verified("group-prefix", meanwhile=meanwhile)


def test_what_takes_long_is_announced() -> None:
    run = verified("list-tokens", "start-on-draining", patience=Patience(token=1.0))
    assert run.stage.notes[0] == "list-tokens: this takes about 55 s"
    assert not any("draining" in note for note in run.stage.notes)
