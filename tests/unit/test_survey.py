"""Reading one cluster completely, once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from blox.account.survey import survey
from blox.account.surveyed import RunImage, Survey
from blox.base.clock import LoopClock
from blox.base.errors import BloxError, InvalidInput, NotFound
from blox.ecs.errors import EcsRefused, EcsSilent
from blox.ecs.model import ContainerDocument
from blox.scheduler.eligibility import HostCondition
from blox.simulator import loop
from support.documents import CLUSTER, host, host_arn, task, task_arn
from support.ecsclients import SimStage, simulated
from support.scriptedecs import ScriptedEcs, refused, silent

Script = Callable[[ScriptedEcs], None]


def surveyed(prepare: Script, *, page: int = 100, cluster: str = "demo", **options: Any) -> Survey:
    """A survey of what `prepare` makes the scripted ECS show."""

    async def main() -> Survey:
        clock = LoopClock()
        ecs = ScriptedEcs(clock, page=page)
        prepare(ecs)
        return await survey(ecs, cluster, clock=clock, **options)

    return loop.run(main())


def three_hosts(ecs: ScriptedEcs) -> None:
    """Three hosts with a task each, and a service."""
    ecs.put(*(host(number) for number in (1, 2, 3)))
    ecs.put(
        *(
            task(n, container_instance_arn=host_arn(n), group="service:logs", overrides=None)
            for n in (1, 2, 3)
        )
    )
    ecs.services["logs"] = "DAEMON"


def and_broken(operation: str, error: BloxError) -> Script:
    def prepare(ecs: ScriptedEcs) -> None:
        three_hosts(ecs)
        assert isinstance(error, EcsRefused | EcsSilent)
        ecs.broken[operation] = error

    return prepare


# --- What is read ---------------------------------------------------------------------------------


def test_hosts_tasks_services_and_definitions_of_a_cluster_are_read() -> None:
    found = surveyed(three_hosts)
    assert found.cluster_arn == CLUSTER
    assert [item.arn for item in found.hosts] == [host_arn(1), host_arn(2), host_arn(3)]
    assert [item.task.arn for item in found.tasks] == [task_arn(1), task_arn(2), task_arn(3)]
    assert [(s.service_name, s.scheduling_strategy) for s in found.services] == [("logs", "DAEMON")]
    assert found.unread == ()
    assert found.calls == {
        "DescribeClusters": 1,
        "DescribeContainerInstances": 1,
        "DescribeServices": 1,
        "DescribeTaskDefinition": 1,
        "DescribeTasks": 1,
        "ListContainerInstances": 1,
        "ListServices": 1,
        "ListTasks": 2,
    }
    assert found.total_calls == 9
    assert found.took > 0


def test_lists_of_many_pages_are_read_to_their_end_and_described_by_hundreds() -> None:
    def many(ecs: ScriptedEcs) -> None:
        ecs.put(*(host(number) for number in range(1, 251)))
        ecs.put(*(task(n, container_instance_arn=host_arn(n)) for n in range(1, 251)))

    told: list[tuple[str, int, int | None]] = []
    found = surveyed(many, page=40, progress=lambda *said: told.append(said))
    assert (len(found.hosts), len(found.tasks)) == (250, 250)
    assert found.calls["ListContainerInstances"] == 7
    assert found.calls["DescribeContainerInstances"] == 3
    assert found.calls["DescribeTasks"] == 3
    assert ("reading hosts", 250, 250) in told
    assert ("reading tasks", 250, 250) in told
    assert ("listing tasks", 40, None) in told


def test_stopped_tasks_are_read_with_their_end() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        three_hosts(ecs)
        container = ContainerDocument(
            name="agent", reason="OutOfMemoryError: killed", exit_code=137
        )
        ecs.put(
            task(
                1,
                last_status="STOPPED",
                desired_status="STOPPED",
                stopped_at=5.0,
                stopped_reason="Essential container in task exited",
                containers=(container,),
            )
        )

    found = surveyed(prepare).tasks[0].task
    assert (found.live, found.stopped_at, found.exit_code) == (False, 5.0, 137)
    assert found.stopped_reason == "OutOfMemoryError: killed"


def test_images_are_read_with_their_digests() -> None:
    containers = (
        ContainerDocument(name="a", image="repo/a:1", image_digest="sha256:1"),
        ContainerDocument(name="b", image="repo/b:1"),
        ContainerDocument(name="c"),
    )
    found = surveyed(lambda ecs: ecs.put(task(1, containers=containers)))
    assert found.tasks[0].images == (RunImage("repo/a:1", "sha256:1"), RunImage("repo/b:1", ""))


def test_what_is_gone_since_it_was_listed_is_left_out_and_no_problem() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        three_hosts(ecs)
        ecs.hidden |= {host_arn(2), task_arn(2)}

    found = surveyed(prepare)
    assert [item.arn for item in found.hosts] == [host_arn(1), host_arn(3)]
    assert [item.task.arn for item in found.tasks] == [task_arn(1), task_arn(3)]
    assert found.unread == ()


def test_capacity_providers_of_hosts_are_read_unless_nobody_wants_them() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        ecs.put(host(1, capacity_provider_name="cp"))
        ecs.providers["cp"] = "ENABLED"

    (found,) = surveyed(prepare).providers
    assert (found.name, found.scales_in) == ("cp", True)
    without = surveyed(prepare, providers=False, definitions=False)
    assert without.providers == ()
    assert "DescribeCapacityProviders" not in without.calls
    assert "DescribeTaskDefinition" not in without.calls


def test_older_records_of_a_machine_and_states_are_told() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        ecs.put(
            host(1, ec2_instance_id="i-1", registered_at=1.0, agent_connected=False),
            host(2, ec2_instance_id="i-1", registered_at=2.0),
            host(3, status="DRAINING"),
            host(4, agent_connected=False),
        )

    found = surveyed(prepare)
    assert found.superseded == {host_arn(1): host_arn(2)}
    assert [found.condition(item) for item in found.hosts] == [
        HostCondition.SUPERSEDED,
        HostCondition.READY,
        HostCondition.DRAINING,
        HostCondition.DISCONNECTED,
    ]


# --- What cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation", ["ListServices", "DescribeServices", "DescribeTaskDefinition"]
)
def test_what_is_denied_is_noted_and_the_rest_is_read(operation: str) -> None:
    found = surveyed(and_broken(operation, refused(operation)))
    (unread,) = found.unread
    assert (unread.operation, unread.code, unread.denied) == (
        operation,
        "AccessDeniedException",
        True,
    )
    assert "not today" in unread.sentence
    assert len(found.hosts) == len(found.tasks) == 3
    assert found.calls[operation] == 1


def test_services_that_cannot_be_listed_are_described_by_the_names_that_tasks_carry() -> None:
    found = surveyed(and_broken("ListServices", refused("ListServices")))
    assert [item.service_name for item in found.services] == ["logs"]


def test_a_denied_list_of_tasks_is_tried_once_and_said_once() -> None:
    found = surveyed(and_broken("ListTasks", refused("ListTasks")))
    assert found.tasks == ()
    assert [item.operation for item in found.unread] == ["ListTasks"]
    assert found.calls["ListTasks"] == 1


def test_a_denied_describe_is_not_repeated_for_every_batch() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        ecs.put(*(host(number) for number in range(1, 3001)))
        ecs.broken["DescribeContainerInstances"] = refused("DescribeContainerInstances")

    found = surveyed(prepare)
    (unread,) = found.unread
    assert (unread.operation, unread.items) == ("DescribeContainerInstances", 3000)
    assert found.calls["DescribeContainerInstances"] <= 8


def test_a_read_that_fails_now_and_then_is_asked_again() -> None:
    def prepare(ecs: ScriptedEcs) -> None:
        three_hosts(ecs)
        ecs.failing["DescribeTasks"] = [
            silent("DescribeTasks"),
            refused("DescribeTasks", "ThrottlingException"),
        ]

    found = surveyed(prepare)
    assert found.unread == ()
    assert len(found.tasks) == 3
    assert found.calls["DescribeTasks"] == 3


def test_a_read_that_never_answers_is_given_up_and_says_how_much_is_lost() -> None:
    found = surveyed(and_broken("DescribeTasks", silent("DescribeTasks")))
    (unread,) = found.unread
    assert (unread.code, unread.denied, unread.items) == ("", False, 3)
    assert found.calls["DescribeTasks"] == 4


def test_a_cluster_that_may_not_be_described_is_read_all_the_same() -> None:
    found = surveyed(and_broken("DescribeClusters", refused("DescribeClusters")), cluster=CLUSTER)
    assert (found.cluster_arn, found.cluster.cluster_name, found.cluster.status) == (
        CLUSTER,
        "demo",
        "",
    )
    assert len(found.hosts) == 3
    assert [item.operation for item in found.unread] == ["DescribeClusters"]


def test_a_cluster_that_is_not_there_or_deleted_is_an_error() -> None:
    with pytest.raises(NotFound, match="There is no cluster nowhere"):
        surveyed(three_hosts, cluster="nowhere")
    with pytest.raises(NotFound, match="INACTIVE"):
        surveyed(lambda ecs: ecs.clusters.update({CLUSTER: "INACTIVE"}))
    with pytest.raises(InvalidInput, match="neither a cluster's name"):
        surveyed(three_hosts, cluster="a b")


def test_credentials_that_are_refused_end_it_at_once() -> None:
    error = refused("DescribeClusters", "ExpiredTokenException")
    with pytest.raises(EcsRefused, match="ExpiredTokenException"):
        surveyed(and_broken("DescribeClusters", error))


# --- Against the simulated cloud ------------------------------------------------------------------


def test_the_real_client_reads_the_simulated_cloud_with_reads_alone() -> None:
    seen: list[Survey] = []

    async def scenario(stage: SimStage) -> None:
        stage.add_service("logs", "DAEMON")
        stage.cloud.start_foreign("demo", stage.hosts[0], "agent", now=stage.live.now())
        await asyncio.sleep(400)
        seen.append(await survey(stage.client, "demo", clock=stage.clock))
        acting = {"StartTask", "StopTask", "PutAttributes", "DeleteAttributes"}
        assert not acting & {sent.operation for sent in stage.tap.sent}
        assert stage.cloud.log == []

    def run(scene: Callable[[SimStage], Coroutine[object, object, None]]) -> Survey:
        simulated(scene)
        return seen[0]

    found = run(scenario)
    assert len(found.hosts) == 2
    assert [item.family for item in found.tasks] == ["agent"]
    assert [item.service_name for item in found.services] == ["logs"]
    assert found.unread == ()
    assert found.hosts[0].attributes["ecs.os-type"] == "linux"
