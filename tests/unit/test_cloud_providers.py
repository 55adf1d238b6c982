"""Capacity providers of the simulated ECS, which hosts could scale in, and what an image's tag
means."""

from typing import Any

import pytest

from support.worlds import CLUSTER, World, statuses, world

GROUP = "arn:aws:autoscaling:us-east-1:111122223333:autoScalingGroup:0:autoScalingGroupName/asg"
ON, OFF = {"status": "ENABLED"}, {"status": "DISABLED"}


def create(w: World, name: str = "asg", **group: object) -> Any:
    settings = {"autoScalingGroupArn": GROUP, **group}
    return w.call("CreateCapacityProvider", name=name, autoScalingGroupProvider=settings)[
        "capacityProvider"
    ]


def attach(w: World, *names: str) -> Any:
    return w.call(
        "PutClusterCapacityProviders",
        capacityProviders=list(names),
        defaultCapacityProviderStrategy=[],
    )["cluster"]


def test_a_provider_is_created_described_and_given_to_a_cluster() -> None:
    w = world()
    made = create(w, managedScaling=ON, managedTerminationProtection="ENABLED")
    group = made["autoScalingGroupProvider"]
    assert (made["name"], made["status"]) == ("asg", "ACTIVE")
    assert made["capacityProviderArn"].endswith(":capacity-provider/asg")
    assert group["autoScalingGroupArn"] == GROUP
    assert group["managedScaling"]["status"] == "ENABLED"
    assert (group["managedTerminationProtection"], group["managedDraining"]) == (
        "ENABLED",
        "ENABLED",
    )
    attach(w, "asg", "FARGATE")
    shown = w.call("DescribeClusters", clusters=[CLUSTER])["clusters"][0]
    assert shown["capacityProviders"] == ["asg", "FARGATE"]


def test_providers_are_described_by_name_by_arn_or_all_in_pages() -> None:
    w = world()
    arn = create(w)["capacityProviderArn"]
    answer = w.call("DescribeCapacityProviders", capacityProviders=[arn, "nope", "FARGATE"])
    assert [one["name"] for one in answer["capacityProviders"]] == ["asg", "FARGATE"]
    assert [one["reason"] for one in answer["failures"]] == ["MISSING"]
    for number in range(10):
        create(w, f"g{number}")
    first = w.call("DescribeCapacityProviders")
    rest = w.call("DescribeCapacityProviders", nextToken=first["nextToken"])
    assert [len(page["capacityProviders"]) for page in (first, rest)] == [10, 3]
    assert w.refused("DescribeCapacityProviders", maxResults=11).code == (
        "InvalidParameterException"
    )


def test_settings_are_updated_and_must_fit_together() -> None:
    w = world()
    create(w, managedScaling=ON, managedTerminationProtection="ENABLED")
    fault = w.refused(
        "UpdateCapacityProvider", name="asg", autoScalingGroupProvider={"managedScaling": OFF}
    )
    assert "managed termination protection" in fault.message
    both = {"managedScaling": OFF, "managedTerminationProtection": "DISABLED"}
    w.call("UpdateCapacityProvider", name="asg", autoScalingGroupProvider=both)
    record = w.cloud.providers["asg"]
    assert (record.managed_scaling, record.termination_protection) == ("DISABLED", "DISABLED")


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("CreateCapacityProvider", {"name": "ecs-mine"}, "InvalidParameterException"),
        ("CreateCapacityProvider", {"name": "a b"}, "InvalidParameterException"),
        ("CreateCapacityProvider", {"name": "mine"}, "InvalidParameterException"),
        (
            "CreateCapacityProvider",
            {"name": "asg", "autoScalingGroupProvider": {"autoScalingGroupArn": GROUP}},
            "ClientException",
        ),
        ("UpdateCapacityProvider", {"name": "nope"}, "InvalidParameterException"),
        ("DeleteCapacityProvider", {"capacityProvider": "nope"}, "InvalidParameterException"),
        ("PutClusterCapacityProviders", {"capacityProviders": []}, "InvalidParameterException"),
        (
            "PutClusterCapacityProviders",
            {"capacityProviders": ["nope"], "defaultCapacityProviderStrategy": []},
            "InvalidParameterException",
        ),
    ],
)
def test_what_cannot_be_is_refused(operation: str, members: dict[str, object], code: str) -> None:
    w = world()
    create(w)
    assert w.refused(operation, **members).code == code


def test_a_provider_in_use_stays() -> None:
    w = world()
    create(w)
    attach(w, "asg")
    host = w.cloud.add_host(CLUSTER, now=w.now, provider="asg")
    assert (
        f"cluster: {CLUSTER}" in w.refused("DeleteCapacityProvider", capacityProvider="asg").message
    )
    task = w.started(host)
    members: dict[str, object] = {"capacityProviders": [], "defaultCapacityProviderStrategy": []}
    assert w.refused("PutClusterCapacityProviders", **members).code == "ResourceInUseException"
    w.call("StopTask", task=task.arn)
    w.later(60.0)
    attach(w)
    gone = w.call("DeleteCapacityProvider", capacityProvider="asg")["capacityProvider"]
    assert gone["status"] == "INACTIVE"
    assert w.cloud.providers == {}


def test_hosts_say_their_provider_but_their_events_do_not() -> None:
    w = world()
    w.cloud.add_provider("asg", now=w.now, cluster=CLUSTER)
    host = w.cloud.add_host(CLUSTER, now=w.now, provider="asg")
    w.later(1.0)
    first, second = w.call("DescribeContainerInstances", containerInstances=[w.hosts[0], host])[
        "containerInstances"
    ]
    assert "capacityProviderName" not in first
    assert second["capacityProviderName"] == "asg"
    events = w.cloud.take_events()
    assert statuses(events, host) == ["ACTIVE"]
    assert "capacityProviderName" not in str(events)
    with pytest.raises(ValueError, match="nope"):
        w.cloud.add_host(CLUSTER, now=w.now, provider="nope")


def test_only_hosts_without_other_tasks_could_scale_in_and_only_where_it_is_managed() -> None:
    w = world()
    w.cloud.add_provider("asg", now=w.now, cluster=CLUSTER)
    w.cloud.add_provider("fixed", now=w.now, cluster=CLUSTER, managed_scaling=False)
    empty, meshed, busy = (w.cloud.add_host(CLUSTER, now=w.now, provider="asg") for _ in range(3))
    w.cloud.add_host(CLUSTER, now=w.now, provider="fixed")
    w.cloud.add_service(CLUSTER, "mesh", "DAEMON", now=w.now)
    w.cloud.add_service(CLUSTER, "web", "REPLICA", now=w.now)
    w.cloud.start_foreign(CLUSTER, meshed, "agent", service="mesh", now=w.now)
    w.cloud.start_foreign(CLUSTER, busy, "agent", service="mesh", now=w.now)
    other = w.cloud.start_foreign(CLUSTER, busy, "agent", service="web", now=w.now)
    w.later(60.0)
    assert sorted(w.cloud.could_scale_in(CLUSTER)) == sorted([empty, meshed])
    ours = w.started(empty)
    assert w.cloud.could_scale_in(CLUSTER) == [meshed]
    w.call("StopTask", task=ours.arn)
    w.cloud.stop_foreign(other, now=w.now)
    w.later(60.0)
    assert sorted(w.cloud.could_scale_in(CLUSTER)) == sorted([empty, meshed, busy])
    scaling = {"managedScaling": OFF}
    w.call("UpdateCapacityProvider", name="asg", autoScalingGroupProvider=scaling)
    assert w.cloud.could_scale_in(CLUSTER) == []


# --- Images ---------------------------------------------------------------------------------------


def digests(w: World, *tasks: str) -> list[str]:
    found = w.call("DescribeTasks", tasks=list(tasks))["tasks"]
    assert {container["image"] for one in found for container in one["containers"]} == {
        "public.ecr.aws/simulated/agent:1"
    }
    return [one["containers"][0].get("imageDigest", "") for one in found]


def test_two_digests_can_stand_under_one_tag() -> None:
    w = world(hosts=2)
    first = w.started(w.hosts[0])
    assert digests(w, first.arn) == [""]
    w.later(30.0)
    moved = w.cloud.set_digest("agent", now=w.now)
    second = w.started(w.hosts[1])
    w.later(30.0)
    old, new = digests(w, first.arn, second.arn)
    assert (old.startswith("sha256:"), len(old), new) == (True, 71, moved)
    assert old != new
    assert w.cloud.set_digest("agent", "sha256:" + "0" * 64, now=w.now) == "sha256:" + "0" * 64
    assert digests(w, first.arn, second.arn) == [old, new]


def test_a_tag_is_resolved_when_the_image_is_pulled_and_shows_in_events() -> None:
    w = world()
    w.cloud.stall_pending("agent", now=w.now)
    task = w.started()
    w.later(30.0)
    moved = w.cloud.set_digest("agent", now=w.now)
    w.cloud.stall_pending("agent", on=False, now=w.now)
    w.later(30.0)
    assert digests(w, task.arn) == [moved]
    details: list[Any] = [event["detail"] for event in w.cloud.take_events()]
    shown = [one["containers"][0].get("imageDigest") for one in details if "containers" in one]
    assert shown[0] is None
    assert shown[-1] == moved
