"""Every request that blox sends to ECS has the form that AWS's own model of the API gives it."""

import json

import botocore.session
import pytest
from botocore.validate import ParamValidator

from blox.ecs import wire
from blox.ecs.pacing import CATEGORY_OF
from blox.ecs.port import StartRequest

HOSTS = [f"arn:aws:ecs:us-east-1:111122223333:container-instance/demo/{n}" for n in range(2)]
START = StartRequest(
    cluster="demo",
    definition="agent:1",
    hosts=tuple(HOSTS),
    started_by="d1",
    group="blox:agent",
    intent="01JZ0000000000000000000000",
    first_container="main",
    options={
        "enableECSManagedTags": True,
        "enableExecuteCommand": True,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "overrides": {"containerOverrides": [{"name": "side", "cpu": 64}]},
        "propagateTags": "TASK_DEFINITION",
        "tags": [{"key": "team", "value": "logs"}],
    },
)
REQUESTS = [
    wire.describe_clusters(["demo"]),
    wire.list_clusters("token"),
    wire.list_hosts("demo", "token"),
    wire.describe_hosts("demo", ["h"], ["TAGS", "CONTAINER_INSTANCE_HEALTH"]),
    wire.describe_tasks("demo", ["t"], ["TAGS"]),
    wire.describe_hosts("demo", HOSTS),
    wire.list_tasks("demo", "RUNNING", "token"),
    wire.describe_tasks("demo", ["t"]),
    wire.describe_task_definition("agent"),
    wire.describe_services("demo", ["logs"]),
    wire.list_services("demo", "token"),
    wire.describe_capacity_providers(["asg"]),
    wire.start_task(START),
    wire.stop_task("demo", "t", "surplus"),
    wire.put_attributes("demo", HOSTS, "wave", "one"),
    wire.delete_attributes("demo", HOSTS, "wave"),
]
MODEL = botocore.session.get_session().get_service_model("ecs")


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.operation)
def test_the_request_is_one_that_aws_describes(request_: wire.Request) -> None:
    shape = MODEL.operation_model(request_.operation).input_shape
    assert ParamValidator().validate(json.loads(request_.body), shape).generate_report() == ""


def test_no_request_is_forgotten() -> None:
    assert sorted({request.operation for request in REQUESTS}) == sorted(CATEGORY_OF)
