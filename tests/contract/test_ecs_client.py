"""What every ECS must do with our calls: the simulated cloud in process, the same over HTTP with
every signature checked, and moto as a second opinion on the calls' shapes."""

from collections.abc import Callable, Iterator

import pytest

from blox.ecs.errors import EcsRefused, Meaning
from blox.ecs.model import MARKER, TaskDocument
from blox.ecs.port import Marked, NotDone, Started, Stopping
from support.ecsclients import (
    INTENT,
    STARTED_BY,
    Scenario,
    Stage,
    allowed,
    in_process,
    moto,
    over_http,
    over_moto,
)

Runner = Callable[[Scenario], None]


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(params=["in process", "over HTTP", "moto"])
def label(request: pytest.FixtureRequest) -> str:
    """Which ECS it is."""
    name: str = request.param
    return name


@pytest.fixture
def run(label: str, request: pytest.FixtureRequest) -> Runner:
    if label == "in process":
        return in_process
    if label == "over HTTP":
        return over_http
    url: str = request.getfixturevalue("moto_url")
    return lambda scenario: over_moto(url, scenario)


def test_a_cluster_is_described(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        read = await stage.client.describe_clusters([stage.cluster])
        assert [cluster.cluster_arn for cluster in read.items] == [stage.cluster_arn]
        assert read.items[0].status == "ACTIVE"
        assert read.request_id

    run(scenario)


def test_a_cluster_that_is_not_there_is_missing(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        read = await stage.client.describe_clusters(["nowhere"])
        assert read.items == ()
        assert [failure.reason for failure in read.failures] == ["MISSING"]

    run(scenario)


def test_hosts_are_listed_and_described(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        listed = await stage.client.list_hosts(stage.cluster)
        assert sorted(listed.items) == sorted(stage.hosts)
        assert listed.next_token is None
        read = await stage.client.describe_hosts(stage.cluster, listed.items)
        assert sorted(host.container_instance_arn for host in read.items) == sorted(stage.hosts)
        for host in read.items:
            assert host.status == "ACTIVE"
            assert host.agent_connected is True
            assert str(host.ec2_instance_id).startswith("i-")

    run(scenario)


def test_a_definition_is_described_by_family_and_by_arn(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        for name in ("agent", "agent:1", stage.definition):
            read = await stage.client.describe_task_definition(name)
            found = read.items[0]
            assert found.task_definition_arn == stage.definition
            assert (found.family, found.revision, found.status) == ("agent", 1, "ACTIVE")
            assert found.container_definitions[0].name == stage.container

    run(scenario)


def test_a_definition_that_is_not_there_is_refused(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        with pytest.raises(EcsRefused) as caught:
            await stage.client.describe_task_definition("nobody:9")
        assert caught.value.code == "ClientException"
        assert caught.value.request_id

    run(scenario)


def test_a_service_that_is_not_there_is_missing(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        read = await stage.client.describe_services(stage.cluster, ["web"])
        assert read.items == ()
        assert [failure.reason for failure in read.failures] == ["MISSING"]

    run(scenario)


def test_services_are_listed_and_described_by_arn_and_by_name(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        strategies = {"logs": "DAEMON", "web": "REPLICA"}
        arns = [stage.add_service(name, strategy) for name, strategy in strategies.items()]
        listed = await stage.client.list_services(stage.cluster)
        assert sorted(listed.items) == sorted(arns)
        assert listed.next_token is None
        for names in (listed.items, ("logs", "web")):
            read = await stage.client.describe_services(stage.cluster, names)
            found = {service.service_name: service for service in read.items}
            assert {name: s.scheduling_strategy for name, s in found.items()} == strategies
            assert [found[name].service_arn for name in strategies] == arns
            assert {service.status for service in read.items} == {"ACTIVE"}
            assert read.failures == ()

    run(scenario)


def test_services_of_a_cluster_that_is_not_there_are_refused(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        with pytest.raises(EcsRefused) as caught:
            await stage.client.list_services("nowhere")
        assert caught.value.code == "ClusterNotFoundException"

    run(scenario)


def test_capacity_providers_tell_whether_they_scale_in(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        stage.add_provider("fixed", "DISABLED")
        stage.add_provider("moving", "ENABLED")
        read = await stage.client.describe_capacity_providers(["fixed", "moving", "nowhere"])
        assert {found.name: found.scales_in for found in read.items} == {
            "fixed": False,
            "moving": True,
        }
        assert {found.status for found in read.items} == {"ACTIVE"}
        assert [failure.reason for failure in read.failures] == ["MISSING"]
        assert read.next_token is None
        (cluster,) = (await stage.client.describe_clusters([stage.cluster])).items
        assert sorted(cluster.capacity_providers or ()) == ["fixed", "moving"]

    run(scenario)


def test_ten_capacity_providers_are_one_page(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        names = [f"p{n}" for n in range(10)]
        for name in names:
            stage.add_provider(name, "ENABLED")
        read = await stage.client.describe_capacity_providers(names)
        assert sorted(found.name for found in read.items) == names
        assert read.next_token is None

    run(scenario)


async def start(stage: Stage, *hosts: str) -> tuple[TaskDocument, ...]:
    """Start on these hosts after a first read; the tasks by host."""
    await stage.client.describe_clusters([stage.cluster])
    outcome = await stage.client.start_task(stage.start(*hosts), allowed)
    assert isinstance(outcome, Started)
    assert outcome.failures == ()
    assert outcome.request_id
    assert abs(outcome.date - stage.client.now()) < 30
    return tuple(sorted(outcome.tasks, key=lambda task: str(task.container_instance_arn)))


def test_a_start_makes_one_task_on_each_host_with_all_that_identifies_it(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        tasks = await start(stage, *stage.hosts)
        assert [task.container_instance_arn for task in tasks] == sorted(stage.hosts)
        for task in tasks:
            assert task.cluster_arn == stage.cluster_arn
            assert task.task_definition_arn == stage.definition
            assert task.started_by == STARTED_BY
            assert task.group == "blox:agent"
            assert task.desired_status == "RUNNING"
            carried = [
                pair.value
                for override in task.overrides.container_overrides or ()  # type: ignore[union-attr]
                for pair in override.environment or ()
                if pair.name == MARKER
            ]
            assert carried == [INTENT]

    run(scenario)


def test_a_stop_answers_with_the_task_on_its_way_out(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        client = stage.client
        (task,) = await start(stage, stage.hosts[0])
        outcome = await client.stop_task(
            stage.cluster, task.task_arn, reason="blox agent: surplus", permit=allowed
        )
        assert isinstance(outcome, Stopping)
        assert outcome.task is not None
        assert outcome.task.task_arn == task.task_arn
        assert outcome.task.desired_status == "STOPPED"
        assert outcome.request_id

    run(scenario)


def test_a_task_shows_in_listings_and_descriptions(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        (task,) = await start(stage, stage.hosts[0])
        listed = await stage.client.list_tasks(stage.cluster, desired_status="RUNNING")
        assert task.task_arn in listed.items
        read = await stage.client.describe_tasks(stage.cluster, [task.task_arn])
        assert [found.task_arn for found in read.items] == [task.task_arn]
        assert read.items[0].started_by == STARTED_BY

    run(scenario)


def test_a_start_without_permit_starts_nothing(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        outcome = await stage.client.start_task(
            stage.start(*stage.hosts), lambda: "ownership was lost"
        )
        assert isinstance(outcome, NotDone)
        assert outcome.meaning is Meaning.DID_NOT_HAPPEN
        assert (outcome.code, outcome.message) == ("permit", "ownership was lost")
        listed = await stage.client.list_tasks(stage.cluster, desired_status="RUNNING")
        assert listed.items == ()

    run(scenario)


def test_a_start_in_a_cluster_that_is_not_there_is_the_clusters_condition(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        outcome = await stage.client.start_task(
            stage.start(stage.hosts[0], cluster="nowhere"), allowed
        )
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (Meaning.CLUSTER, "ClusterNotFoundException")

    run(scenario)


def test_a_start_of_a_definition_that_is_not_there_is_refused(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        outcome = await stage.client.start_task(
            stage.start(stage.hosts[0], definition="nobody:9"), allowed
        )
        assert isinstance(outcome, NotDone)
        assert outcome.code == "ClientException"
        assert outcome.request_id

    run(scenario)


# --- Attributes of hosts --------------------------------------------------------------------------


async def carried(stage: Stage, name: str) -> list[str | None]:
    """The attribute's value on each host that has it, in the hosts' order."""
    read = await stage.client.describe_hosts(stage.cluster, stage.hosts)
    by_arn = {host.container_instance_arn: host.attributes for host in read.items}
    return [pair.value for arn in stage.hosts for pair in by_arn[arn] or () if pair.name == name]


def test_an_attribute_is_put_on_hosts_and_replaced(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        for value in ("one", "one", "two"):
            outcome = await stage.client.put_attribute(
                stage.cluster, stage.hosts, name="wave", value=value, permit=allowed
            )
            assert isinstance(outcome, Marked)
            assert outcome.request_id
            assert await carried(stage, "wave") == [value, value]

    run(scenario)


def test_an_attribute_is_taken_from_the_hosts_named_only(run: Runner, label: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        await stage.client.put_attribute(
            stage.cluster, stage.hosts, name="wave", value="one", permit=allowed
        )
        for _ in range(2):
            outcome = await stage.client.delete_attribute(
                stage.cluster, stage.hosts[:1], name="wave", permit=allowed
            )
            assert isinstance(outcome, Marked)
            assert outcome.request_id
            # moto accepts the call, but deletes only what it is told the value of.
            left = 2 if label == "moto" else 1
            assert await carried(stage, "wave") == ["one"] * left

    run(scenario)


def test_a_host_that_is_gone_is_refused_and_no_host_is_marked(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        gone = f"{stage.hosts[0][:-32]}{'0' * 32}"
        hosts = [gone, stage.hosts[0]]
        for outcome in (
            await stage.client.put_attribute(
                stage.cluster, hosts, name="wave", value="one", permit=allowed
            ),
            await stage.client.delete_attribute(stage.cluster, hosts, name="wave", permit=allowed),
        ):
            assert isinstance(outcome, NotDone)
            assert (outcome.meaning, outcome.code) == (Meaning.BISECT, "TargetNotFoundException")
            assert outcome.request_id
        assert await carried(stage, "wave") == []

    run(scenario)


def test_without_permit_no_host_is_marked(run: Runner) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.client.describe_clusters([stage.cluster])
        outcome = await stage.client.put_attribute(
            stage.cluster, stage.hosts, name="wave", value="one", permit=lambda: "frozen"
        )
        assert isinstance(outcome, NotDone)
        assert (outcome.code, outcome.message) == ("permit", "frozen")
        assert await carried(stage, "wave") == []

    run(scenario)
