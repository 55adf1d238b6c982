"""The cluster-state-service's OpenAPI document is true of every answer, and its /v1 is 0.3's."""

from collections.abc import Iterator
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from blox.simulator.cloud import Cloud
from support.statestore import Bench, on_a_state_service

_EXAMPLES: Final = 40
Operation = APIOperation[Any, Any, Any, Any]

REQUIRED: Final = {
    "Metadata": {"entityVersion"},
    "ContainerInstanceDetail": {
        "agentConnected",
        "clusterARN",
        "containerInstanceARN",
        "registeredResources",
        "remainingResources",
        "status",
        "versionInfo",
    },
    "ContainerInstances": {"items"},
    "ContainerInstanceAttribute": {"name", "value"},
    "ContainerInstanceResource": {"name", "type", "value"},
    "ContainerInstanceVersionInfo": set(),
    "TaskDetail": {
        "clusterARN",
        "containerInstanceARN",
        "containers",
        "createdAt",
        "desiredStatus",
        "lastStatus",
        "overrides",
        "taskARN",
        "taskDefinitionARN",
    },
    "Tasks": {"items"},
    "TaskContainer": {"containerARN", "lastStatus", "name"},
    "TaskNetworkBinding": {"bindIP", "containerPort", "hostPort"},
    "TaskOverride": {"containerOverrides"},
    "TaskContainerOverride": {"name"},
    "TaskEnvironment": {"name", "value"},
}
OPTIONAL: Final = {
    "ContainerInstanceDetail": {"agentUpdateStatus", "attributes", "EC2InstanceID"},
    "ContainerInstanceVersionInfo": {"agentHash", "agentVersion", "dockerVersion"},
    "TaskDetail": {"startedAt", "startedBy", "stoppedAt", "stoppedReason"},
    "TaskContainer": {"exitCode", "networkBindings", "reason"},
    "TaskNetworkBinding": {"protocol"},
    "TaskOverride": {"taskRoleArn"},
    "TaskContainerOverride": {"command", "environment"},
}


def furnish(cloud: Cloud, now: float) -> None:
    for arn in list(cloud.hosts):
        cloud.start_foreign("demo", arn, "agent", now=now, service="web")


def that_end(bench: Bench) -> Iterator[Operation]:
    """Every operation, but the streams."""
    schema = schemathesis.openapi.from_url(f"{bench.url}/openapi.json")
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if "/stream" not in operation.path:
            yield operation


def check(operation: Operation) -> None:
    """Ask whatever the document allows, and some that it does not; every answer must be one that
    it describes. That a text fits the document does not make it a status, a cluster's name or an
    expression, so it may be refused."""

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def every(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    every()


def test_every_answer_is_one_that_the_document_describes() -> None:
    def work(bench: Bench) -> None:
        operations = list(that_end(bench))
        assert len(operations) > 14
        for operation in operations:
            check(operation)

    on_a_state_service(work, furnish=furnish)


def test_what_is_there_is_shown_as_the_document_describes() -> None:
    def work(bench: Bench) -> None:
        (task,) = bench.get("/v2/tasks")["items"]
        (instance,) = bench.get("/v2/instances")["items"]
        shown = 0
        for operation in that_end(bench):
            item = task if "/tasks" in operation.path else instance
            case = operation.Case(
                path_parameters={"cluster": "demo", "arn": item["arn"], "id": item["arn"]}
            )
            answer = case.call_and_validate()
            assert answer.status_code in (200, 202), operation.label
            shown += 1
        assert shown > 14

    on_a_state_service(work, hosts=1, furnish=furnish)


def test_v1_is_documented_as_the_contract_has_it() -> None:
    def work(bench: Bench) -> None:
        document = bench.get("/openapi.json")
        assert document["openapi"].startswith("3.1")
        schemas = document["components"]["schemas"]
        for name, required in REQUIRED.items():
            schema = schemas[name]
            assert set(schema.get("required", ())) == required, name
            assert set(schema["properties"]) == required | OPTIONAL.get(name, set()), name
        for kind, body in (("instances", "ContainerInstance"), ("tasks", "Task")):
            one = document["paths"][f"/v1/{kind}/{{cluster}}/{{arn}}"]["get"]
            assert [p["name"] for p in one["parameters"]] == ["cluster", "arn"]
            assert "slashes" in one["parameters"][1]["description"]
            assert one["operationId"] == f"Get{'Instance' if kind == 'instances' else 'Task'}"
            answer = one["responses"]["200"]["content"]["application/json"]
            assert answer["schema"]["$ref"].endswith(f"/{body}")

    on_a_state_service(work, hosts=0)
