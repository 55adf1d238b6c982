"""What the simulated ECS's reads show, and when."""

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blox.settings import Assumptions
from blox.simulator.faults import Faults
from blox.simulator.model import Switches
from support.worlds import CLUSTER, World, world


def every(w: World, operation: str, member: str, **params: object) -> tuple[list[str], int]:
    """All items over all pages, and how many pages there were."""
    found: list[str] = []
    token: str | None = None
    for pages in range(1, 10_000):
        extra = {} if token is None else {"nextToken": token}
        answer = w.call(operation, **params, **extra)
        found += answer[member]
        token = answer.get("nextToken")
        if token is None:
            return found, pages
    raise AssertionError("the listing never ends")


# --- Listing and describing -----------------------------------------------------------------------


def test_lists_come_in_pages_of_at_most_a_hundred() -> None:
    w = world(hosts=250)
    found, pages = every(w, "ListContainerInstances", "containerInstanceArns")
    assert (sorted(found), pages) == (sorted(w.hosts), 3)
    found, pages = every(w, "ListContainerInstances", "containerInstanceArns", maxResults=60)
    assert (sorted(found), pages) == (sorted(w.hosts), 5)
    assert w.refused("ListContainerInstances", maxResults=101).code == "InvalidParameterException"


def test_pages_may_be_short_and_only_the_token_says_whether_there_is_more() -> None:
    w = world(hosts=50, faults=Faults(short_page=1.0))
    found, pages = every(w, "ListContainerInstances", "containerInstanceArns", maxResults=10)
    assert sorted(found) == sorted(w.hosts)
    assert pages > 5


def test_a_token_serves_only_the_listing_that_it_came_from() -> None:
    w = world(hosts=3)
    token = w.call("ListContainerInstances", maxResults=1)["nextToken"]
    for params in ({"nextToken": "nonsense"}, {"nextToken": token, "status": "DRAINING"}):
        assert w.refused("ListContainerInstances", **params).code == "InvalidParameterException"
    assert w.refused("ListTasks", nextToken=token).code == "InvalidParameterException"


def test_hosts_are_listed_by_status_and_filter() -> None:
    w = world(hosts=3)
    w.cloud.drain_host(w.hosts[0], now=w.now)
    w.cloud.terminate_host(w.hosts[1], now=w.now)
    w.call("PutAttributes", attributes=[{"name": "stack", "value": "x", "targetId": w.hosts[2]}])

    def listed(**params: object) -> list[str]:
        return every(w, "ListContainerInstances", "containerInstanceArns", **params)[0]

    assert sorted(listed()) == sorted([w.hosts[0], w.hosts[2]])
    assert listed(status="DRAINING") == [w.hosts[0]]
    assert listed(filter="attribute:stack exists") == [w.hosts[2]]
    assert listed(filter="not (attribute:stack == x) and agentConnected == true") == [w.hosts[0]]
    assert listed(filter="attribute:stack in [y, x] or runningTasksCount > 0") == [w.hosts[2]]
    assert w.refused("ListContainerInstances", filter="attribute:stack ==").code == (
        "InvalidParameterException"
    )
    assert w.refused("ListContainerInstances", status="INACTIVE").code == (
        "InvalidParameterException"
    )


def test_tasks_are_listed_by_desired_status_which_is_running_unless_said() -> None:
    w = world(faults=Faults(slow_stop=1.0))
    kept, stopping, stopped = (w.started() for _ in range(3))
    w.later(30.0)
    w.cloud.kill_task(stopped.arn, now=w.now)
    w.call("StopTask", task=stopping.arn)
    assert stopping.last_status == "RUNNING"
    assert w.call("ListTasks")["taskArns"] == [kept.arn]
    assert w.call("ListTasks", desiredStatus="STOPPED")["taskArns"] == sorted(
        [stopping.arn, stopped.arn]
    )
    assert w.call("ListTasks", desiredStatus="PENDING")["taskArns"] == []


def test_tasks_are_listed_by_host_family_service_and_starter() -> None:
    w = world(hosts=2)
    ours = w.started(startedBy="me")
    other = w.cloud.start_foreign(CLUSTER, w.hosts[1], "agent", service="web", now=w.now)

    def listed(**params: object) -> list[str]:
        return list(w.call("ListTasks", **params)["taskArns"])

    assert listed(startedBy="me") == [ours.arn]
    assert listed(startedBy="me", desiredStatus="RUNNING") == [ours.arn]
    assert listed(containerInstance=w.hosts[1]) == [other]
    assert listed(serviceName="web") == [other]
    assert listed(family="agent") == sorted([ours.arn, other])
    assert listed(family="else") == [] == listed(launchType="EXTERNAL")


def test_started_by_is_the_only_filter() -> None:
    w = world()
    for extra in ({"family": "agent"}, {"containerInstance": w.hosts[0]}, {"launchType": "EC2"}):
        fault = w.refused("ListTasks", startedBy="me", **extra)
        assert fault.message == "cannot specify startedBy with other arguments"
    assert w.refused("ListTasks", startedBy="me", desiredStatus="STOPPED").status == 400
    w.cloud.switches = Switches(started_by_alone=False)
    assert w.call("ListTasks", startedBy="me", desiredStatus="STOPPED")["taskArns"] == []


def test_describe_takes_a_hundred_and_names_what_is_missing() -> None:
    w = world()
    task = w.started()
    ids = [f"{number:032x}" for number in range(101)]
    for operation, member in (
        ("DescribeTasks", "tasks"),
        ("DescribeContainerInstances", "containerInstances"),
    ):
        assert w.refused(operation, **{member: ids}).code == "InvalidParameterException"
        assert w.refused(operation, **{member: []}).code == "InvalidParameterException"
        answer = w.call(operation, **{member: ids[:100]})
        assert len(answer["failures"]) == 100
        assert answer[member] == []
        assert {failure["reason"] for failure in answer["failures"]} == {"MISSING"}
    short = task.arn.rsplit("/", 1)[-1]
    assert w.call("DescribeTasks", tasks=[short])["tasks"][0]["taskArn"] == task.arn


def test_described_hosts_show_what_tasks_take() -> None:
    w = world(cpu=100, memory=200, host_ports=[8126])
    w.started()
    (host,) = w.call(
        "DescribeContainerInstances",
        containerInstances=w.hosts,
        include=["TAGS", "CONTAINER_INSTANCE_HEALTH"],
    )["containerInstances"]
    remaining = {item["name"]: item for item in host["remainingResources"]}
    assert remaining["CPU"]["integerValue"] == 4096 - 100
    assert remaining["MEMORY"]["integerValue"] == 8192 - 200
    assert "8126" in remaining["PORTS"]["stringSetValue"]
    registered = {item["name"]: item for item in host["registeredResources"]}
    assert "8126" not in registered["PORTS"]["stringSetValue"]
    assert (host["runningTasksCount"], host["pendingTasksCount"]) == (1, 1)
    assert host["tags"] == []
    assert host["healthStatus"]["overallStatus"] == "OK"


# --- Eventual consistency -------------------------------------------------------------------------

V = 300.0


def visible(w: World, arn: str) -> tuple[bool, bool]:
    """Whether the task is (listed, described) by one read each."""
    listed = arn in w.call("ListTasks")["taskArns"]
    return listed, bool(w.call("DescribeTasks", tasks=[arn])["tasks"])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(), lag=st.floats(0, 1), flicker=st.floats(0, 1), age=st.floats(0, 1000))
def test_v_after_creation_every_read_shows_a_task(
    seed: int, lag: float, flicker: float, age: float
) -> None:
    w = world(seed=seed, faults=Faults(lag=lag, flicker=flicker))
    task = w.started()
    w.later(V + age)
    assert visible(w, task.arn) == (True, True)


def test_the_bound_is_reached_in_listing_and_describing_apart() -> None:
    hidden = {(False, False): 0, (True, False): 0, (False, True): 0, (True, True): 0}
    for seed in range(80):
        w = world(seed=seed, faults=Faults(lag=1.0))
        task = w.started()
        w.later(V - 0.001)
        hidden[visible(w, task.arn)] += 1
        w.later(0.001)
        assert visible(w, task.arn) == (True, True)
    assert min(hidden.values()) > 0


def test_reads_are_not_monotonic_before_the_bound() -> None:
    w = world(faults=Faults(flicker=0.5))
    task = w.started()
    seen = []
    for _ in range(40):
        w.later(1.0)
        seen.append(visible(w, task.arn))
    listed = [one for one, _ in seen]
    assert any(a and not b for a, b in itertools.pairwise(listed))
    assert {(True, False), (False, True)} <= set(seen)


def test_young_hosts_lag_like_tasks() -> None:
    missing = 0
    for seed in range(20):
        w = world(seed=seed, faults=Faults(lag=1.0))
        host = w.cloud.add_host(CLUSTER, now=w.now)
        w.later(1.0)
        answer = w.call("DescribeContainerInstances", containerInstances=[host])
        missing += len(answer["failures"])
        w.later(V)
        assert host in every(w, "ListContainerInstances", "containerInstanceArns")[0]
    assert missing > 0


def test_only_a_switch_carries_a_lag_beyond_v() -> None:
    late = 0
    for seed in range(20):
        w = world(seed=seed, faults=Faults(lag=1.0), switches=Switches(read_overrun=100.0))
        task = w.started()
        w.later(V + 1.0)
        late += visible(w, task.arn) != (True, True)
        w.later(100.0)
        assert visible(w, task.arn) == (True, True)
    assert late > 0


def test_the_bound_follows_the_assumption() -> None:
    for seed in range(20):
        w = world(seed=seed, faults=Faults(lag=1.0), assumptions=Assumptions(read_lag=2.0))
        task = w.started()
        w.later(2.0)
        assert visible(w, task.arn) == (True, True)


def test_a_swarm_draws_faults_off_and_extreme() -> None:
    drawn = [Faults.draw(Random(seed)) for seed in range(100)]
    rates = [faults.lag for faults in drawn]
    assert 0.0 in rates
    assert max(rates) > 0.3
    assert len({faults.drop_answer == 0.0 for faults in drawn}) == 2
    assert Faults.draw(Random(1)) == Faults.draw(Random(1)) != Faults.none()


# --- Clusters, definitions, attributes, tags, services --------------------------------------------


def test_clusters_are_created_described_listed_and_deleted() -> None:
    w = world()
    arn = w.cloud.call("CreateCluster", {"clusterName": "123"}, now=w.now)["cluster"]
    assert isinstance(arn, dict)
    assert arn["clusterArn"].endswith(":cluster/123")
    assert len(w.cloud.call("ListClusters", {}, now=w.now)["clusterArns"]) == 2  # type: ignore[arg-type]
    answer = w.call("DescribeClusters", clusters=[CLUSTER, "nope"])
    assert answer["clusters"][0]["registeredContainerInstancesCount"] == 1
    assert answer["failures"][0]["reason"] == "MISSING"
    assert w.refused("DeleteCluster").code == "ClusterContainsContainerInstancesException"
    assert w.call("DeleteCluster", cluster="123")["cluster"]["status"] == "INACTIVE"
    assert w.refused("ListTasks", cluster="123").message == "The referenced cluster was inactive."


def test_definitions_are_numbered_and_the_family_means_the_latest_active_one() -> None:
    w = world()
    second = w.cloud.add_definition("agent", now=w.now, memory=256)

    def latest() -> str:
        answer = w.call("DescribeTaskDefinition", taskDefinition="agent")
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    assert latest() == second
    assert second.endswith("task-definition/agent:2")
    w.cloud.call("DeregisterTaskDefinition", {"taskDefinition": second}, now=w.now)
    assert latest() == w.definition
    shown = w.call("DescribeTaskDefinition", taskDefinition=second)["taskDefinition"]
    assert (shown["status"], shown["compatibilities"]) == ("INACTIVE", ["EXTERNAL", "EC2"])
    for number in range(9):
        w.cloud.add_definition("agent", now=w.now, cpu=number + 1)
    down, _ = every(w, "ListTaskDefinitions", "taskDefinitionArns", sort="DESC", maxResults=3)
    assert [arn.rsplit(":", 1)[-1] for arn in down] == [
        "11", "10", "9", "8", "7", "6", "5", "4", "3", "1",
    ]  # fmt: skip
    assert every(w, "ListTaskDefinitionFamilies", "families")[0] == ["agent"]


def test_a_definition_without_containers_is_refused() -> None:
    w = world()
    for containers in ([], [{"name": "a"}], [{"image": "i"}]):
        fault = w.refused("RegisterTaskDefinition", family="x", containerDefinitions=containers)
        assert fault.code == "ClientException"


def test_attributes_have_limits_and_can_be_listed_and_deleted() -> None:
    w = world()
    target = {"targetId": w.hosts[0]}

    def put(*names: str) -> None:
        w.call(
            "PutAttributes", attributes=[{"name": name, "value": "v"} | target for name in names]
        )

    put(*(f"a{number}" for number in range(10)))
    put("a0")
    with pytest.raises(Exception, match="AttributeLimitExceededException"):
        put("a10")
    listed, _ = every(
        w,
        "ListAttributes",
        "attributes",
        targetType="container-instance",
        attributeValue="v",
        maxResults=4,
    )
    assert len(listed) == 10
    w.call("DeleteAttributes", attributes=[{"name": "a0"} | target])
    put("a10")
    gone = [{"name": "a", "targetId": "0" * 32, "targetType": "container-instance"}]
    assert w.refused("PutAttributes", attributes=gone).code == "TargetNotFoundException"
    bad = [{"name": "sp ace", "value": "v"} | target]
    assert w.refused("PutAttributes", attributes=bad).code == "InvalidParameterException"


def test_ten_attributes_go_in_one_call_and_all_or_none_are_put() -> None:
    w = world(hosts=11)

    def put(items: list[dict[str, str]]) -> Any:
        return w.call("PutAttributes", attributes=items)

    every_host = [{"name": "blox", "value": "a", "targetId": host} for host in w.hosts]
    assert w.refused("PutAttributes", attributes=every_host).code == "InvalidParameterException"
    put(every_host[:10])
    before = [w.cloud.hosts[host].attributes.get("blox") for host in w.hosts]
    assert before == ["a"] * 10 + [None]
    gone = {"name": "blox", "value": "b", "targetId": "0" * 32, "targetType": "container-instance"}
    fault = w.refused("PutAttributes", attributes=[{**every_host[0], "value": "b"}, gone])
    assert fault.code == "TargetNotFoundException"
    assert [w.cloud.hosts[host].attributes.get("blox") for host in w.hosts] == before


def test_a_short_target_needs_its_type() -> None:
    w = world()
    short = {"name": "blox", "value": "a", "targetId": w.hosts[0].rsplit("/", 1)[-1]}
    assert "targetType" in w.refused("PutAttributes", attributes=[short]).message
    w.call("PutAttributes", attributes=[{**short, "targetType": "container-instance"}])
    assert w.cloud.hosts[w.hosts[0]].attributes["blox"] == "a"
    w.call("PutAttributes", attributes=[{"name": "blox", "targetId": w.hosts[0]}])
    assert w.cloud.hosts[w.hosts[0]].attributes["blox"] is None


def test_attributes_are_deleted_by_name_alone_and_those_of_the_agent_stay() -> None:
    w = world()
    given = {"pool": "a", "ecs.ami-id": "ami-1"}
    host = w.cloud.add_host(CLUSTER, now=w.now, attributes=given)
    target = {"targetId": host}
    with_value = [{"name": "pool", "value": "a"} | target]
    assert "without a value" in w.refused("DeleteAttributes", attributes=with_value).message
    names = ("pool", "ecs.ami-id", "never-was")
    w.call("DeleteAttributes", attributes=[{"name": name} | target for name in names])
    assert "pool" not in w.cloud.hosts[host].attributes
    assert w.cloud.hosts[host].attributes["ecs.ami-id"] == "ami-1"


def test_attributes_bump_the_version_by_switch() -> None:
    for bumps in (True, False):
        w = world(switches=Switches(attributes_bump_version=bumps))
        w.call("PutAttributes", attributes=[{"name": "a", "targetId": w.hosts[0]}])
        assert (w.cloud.hosts[w.hosts[0]].version > 1) == bumps == bool(w.cloud.take_events())


def test_state_changes_and_deregistration_by_api() -> None:
    w = world(hosts=2)
    task = w.started()
    answer = w.call("UpdateContainerInstancesState", containerInstances=w.hosts, status="DRAINING")
    assert {host["status"] for host in answer["containerInstances"]} == {"DRAINING"}
    assert w.refused("DeregisterContainerInstance", containerInstance=w.hosts[0]).status == 400
    gone = w.call("DeregisterContainerInstance", containerInstance=w.hosts[0], force=True)
    assert gone["containerInstance"]["status"] == "INACTIVE"
    assert not task.live


def test_tags_services_and_settings() -> None:
    w = world()
    arn = w.hosts[0]
    w.call("TagResource", resourceArn=arn, tags=[{"key": "a", "value": "1"}])
    w.call("TagResource", resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    w.call("UntagResource", resourceArn=arn, tagKeys=["a"])
    assert w.call("ListTagsForResource", resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]
    w.cloud.add_service(CLUSTER, "mesh", "DAEMON", now=w.now)
    answer = w.call("DescribeServices", services=["mesh", "nope"])
    assert answer["services"][0]["schedulingStrategy"] == "DAEMON"
    assert answer["failures"][0]["reason"] == "MISSING"
    assert len(w.call("ListServices")["serviceArns"]) == 1
    assert {item["value"] for item in w.call("ListAccountSettings")["settings"]} == {"enabled"}


def test_short_arns_by_switch() -> None:
    w = world(switches=Switches(short_arns=True))
    assert w.hosts[0].count("/") == 1
    assert w.started().host == w.hosts[0]
    assert len(w.call("ListTasks", containerInstance=w.hosts[0])["taskArns"]) == 1
