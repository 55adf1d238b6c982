"""Services by API: create, update, delete, list, describe.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
What services of strategy DAEMON then do: `blox.simulator.daemon_services`. Services of strategy
REPLICA are data: nothing places their tasks.
"""

import json
import re
from typing import Final

from blox.simulator import documents
from blox.simulator.daemon_services import settle_deleted, stir_everywhere, tasks_of, wants
from blox.simulator.definitions import startable
from blox.simulator.expressions import check
from blox.simulator.model import Fault, Json, ServiceRecord
from blox.simulator.parameters import Parameters, invalid, tag_list, tags
from blox.simulator.starting import check_roles
from blox.simulator.state import State
from blox.simulator.visibility import page

_NAME: Final = re.compile(r"[a-zA-Z0-9\-_]{1,255}\Z")
_MOST_CONSTRAINTS: Final = 10
_LONGEST_EXPRESSION: Final = 2000


def create_service(state: State, parameters: Parameters) -> Json:
    """A new service. The same request again answers the same service."""
    cluster = state.cluster(parameters.text("cluster"))
    name = parameters.needed("serviceName", "Service name can not be blank.")
    if _NAME.match(name) is None:
        raise invalid("Service name contains invalid characters.")
    arn, former = state.service(name, cluster.name)
    request = json.dumps(parameters.members, sort_keys=True)
    if former is not None and former.status == "DRAINING":
        raise invalid("Unable to Start a service that is still Draining.")
    if former is not None and former.status == "ACTIVE":
        if former.request != request:
            raise invalid("Creation of service was not idempotent.")
        return {"service": _document(state, former)}
    service = ServiceRecord(
        arn=arn,
        name=name,
        cluster=cluster.name,
        strategy=parameters.choice("schedulingStrategy", ("REPLICA", "DAEMON")) or "REPLICA",
        launch_type=parameters.choice("launchType", ("EC2", "FARGATE", "EXTERNAL")) or "EC2",
        constraints=_constraints(parameters),
        tags=tags(parameters),
        created_at=state.now,
        request=request,
    )
    service.desired = _desired(parameters, service)
    service.definition = _definition(state, parameters, "TaskDefinition can not be blank.")
    _deploy(state, service)
    state.services[arn] = service
    if service.acts:
        stir_everywhere(state, service)
    return {"service": _document(state, service)}


def _desired(parameters: Parameters, service: ServiceRecord) -> int:
    given = "desiredCount" in parameters.members
    if service.strategy == "DAEMON":
        if service.launch_type == "FARGATE":
            raise invalid("The daemon scheduling strategy is not supported on Fargate.")
        if given:
            raise invalid(
                "The daemon scheduling strategy does not support a desired count for services. "
                "Remove the desired count value and try again."
            )
        return 0
    if not given:
        raise invalid("desiredCount must be given for the REPLICA scheduling strategy.")
    return parameters.number("desiredCount", 0, least=0, most=5_000)


def _definition(state: State, parameters: Parameters, blank: str) -> str:
    definition = startable(state, parameters.needed("taskDefinition", blank))
    check_roles(state, definition)
    return definition.arn


def _constraints(parameters: Parameters) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for item in parameters.objects("placementConstraints"):
        one = Parameters(item)
        kind = one.choice("type", ("memberOf", "distinctInstance"))
        expression = one.text("expression") or ""
        if kind is None or (kind == "memberOf") != bool(expression):
            raise invalid("A memberOf constraint has an expression, a distinctInstance has none.")
        if len(expression) > _LONGEST_EXPRESSION:
            raise invalid("Placement constraint expression longer than 2000.")
        if expression:
            check(expression)
        found.append((kind, expression))
    if len(found) > _MOST_CONSTRAINTS:
        raise invalid("There can be at most 10 placement constraints.")
    return tuple(found)


def _deploy(state: State, service: ServiceRecord) -> None:
    """A new deployment: tasks of former ones are replaced."""
    service.deployment = f"ecs-svc/{state.ids.getrandbits(60):019d}"
    service.deployed_at = state.now


def update_service(state: State, parameters: Parameters) -> Json:
    """Change what is given. Another task definition, or `forceNewDeployment`, makes a new
    deployment; placement constraints do not, they are met by starting and stopping alone
    (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html)."""
    service = _existing(state, parameters)
    if service.status != "ACTIVE":
        raise Fault("ServiceNotActiveException", "Service was not ACTIVE.")
    constraints = service.constraints
    if "placementConstraints" in parameters.members:
        constraints = _constraints(parameters)
    definition = service.definition
    if parameters.text("taskDefinition"):
        definition = _definition(state, parameters, "")
    desired = service.desired
    if "desiredCount" in parameters.members:
        desired = _desired(parameters, service)
    renewed = parameters.flag("forceNewDeployment") or definition != service.definition
    service.constraints, service.definition, service.desired = constraints, definition, desired
    if renewed:
        _deploy(state, service)
    if service.acts:
        stir_everywhere(state, service)
    return {"service": _document(state, service)}


def delete_service(state: State, parameters: Parameters) -> Json:
    """The service ends, and its tasks with it. REPLICA services that want tasks need `force`
    (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html)."""
    service = _existing(state, parameters)
    if service.status == "INACTIVE":
        raise Fault("ServiceNotFoundException", "Service not found.")
    if service.strategy == "REPLICA" and service.desired and not parameters.flag("force"):
        raise invalid("The service cannot be stopped while it is scaled above 0.")
    if service.status == "ACTIVE":
        service.status = "DRAINING"
        service.desired = 0
        settle_deleted(state, service)
        if service.status == "DRAINING":
            stir_everywhere(state, service)
    return {"service": _document(state, service)}


def _existing(state: State, parameters: Parameters) -> ServiceRecord:
    cluster = state.cluster(parameters.text("cluster"))
    reference = parameters.needed("service", "Service can not be blank.")
    _, service = state.service(reference, cluster.name)
    if service is None:
        raise Fault("ServiceNotFoundException", "Service not found.")
    return service


def list_services(state: State, parameters: Parameters) -> Json:
    """ARNs of the cluster's ACTIVE services, ten a page unless more are asked for."""
    cluster = state.cluster(parameters.text("cluster"))
    strategy = parameters.choice("schedulingStrategy", ("REPLICA", "DAEMON"))
    launch_type = parameters.choice("launchType", ("EC2", "FARGATE", "EXTERNAL"))
    arns = sorted(
        item.arn
        for item in state.services.values()
        if item.cluster == cluster.name
        and item.status == "ACTIVE"
        and strategy in (None, item.strategy)
        and launch_type in (None, item.launch_type)
    )
    found, token = page(
        Parameters({"maxResults": 10} | parameters.members),
        arns,
        scope=f"ListServices {cluster.name} {strategy} {launch_type}",
        random=state.sight,
        faults=state.faults,
    )
    answer: Json = {"serviceArns": found}
    if token is not None:
        answer["nextToken"] = token
    return answer


def describe_services(state: State, parameters: Parameters) -> Json:
    """Up to ten services, deleted ones too; unknown ones are MISSING."""
    cluster = state.cluster(parameters.text("cluster"))
    references = parameters.texts("services", most=10)
    if not references:
        raise invalid("Services cannot be empty.")
    with_tags = "TAGS" in parameters.texts("include")
    found: list[Json] = []
    failures: list[Json] = []
    for reference in dict.fromkeys(references):
        arn, service = state.service(reference, cluster.name)
        if service is None:
            failures.append({"arn": arn, "reason": "MISSING"})
        else:
            document = _document(state, service)
            found.append(document | {"tags": tag_list(service.tags)} if with_tags else document)
    return {"services": found, "failures": failures}


def _document(state: State, service: ServiceRecord) -> Json:
    hosts = [state.hosts[arn] for arn in state.hosts_in.get(service.cluster, [])]
    desired = service.desired
    if service.acts and service.status == "ACTIVE":
        desired = sum(wants(state, service, host) for host in hosts)
    return documents.service_document(
        service,
        [task for task in tasks_of(state, service) if task.desired_status == "RUNNING"],
        cluster_arn=state.clusters[service.cluster].arn,
        desired=desired,
    )
