"""Task definitions: register, deregister, describe, list.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

import re
from typing import Final

from blox.simulator.model import DefinitionRecord, Fault, Json
from blox.simulator.parameters import Parameters, client_error, size, tag_list, tags, whole
from blox.simulator.state import State
from blox.simulator.visibility import page

_FAMILY: Final = re.compile(r"[a-zA-Z0-9\-_]{1,255}\Z")
_MODES: Final = ("bridge", "host", "awsvpc", "none", "default")
_DOCKER: Final = "com.amazonaws.ecs.capability.docker-remote-api.1.18"
_KEPT: Final = (
    "containerDefinitions",
    "volumes",
    "networkMode",
    "taskRoleArn",
    "executionRoleArn",
    "placementConstraints",
    "requiresCompatibilities",
    "runtimePlatform",
    "cpu",
    "memory",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
)


def register_task_definition(state: State, parameters: Parameters) -> Json:
    """The next revision of a family."""
    family = parameters.text("family") or ""
    if _FAMILY.match(family) is None:
        raise client_error("Family contains invalid characters.")
    containers = parameters.objects("containerDefinitions")
    _check_containers(containers)
    parameters.choice("networkMode", _MODES)
    found = tags(parameters)
    revision = len(state.families.setdefault(family, [])) + 1
    arn = state.arn("task-definition", f"{family}:{revision}")
    document: Json = {
        name: parameters.members[name] for name in _KEPT if name in parameters.members
    }
    document.setdefault("placementConstraints", [])
    document.setdefault("volumes", [])
    document |= {
        "taskDefinitionArn": arn,
        "family": family,
        "revision": revision,
        "status": "ACTIVE",
        "requiresAttributes": [{"name": name} for name in _required(parameters)],
        "compatibilities": _compatibilities(parameters),
        "registeredAt": state.now,
    }
    record = _record(parameters, arn, family, revision, document, containers)
    record.tags = found
    state.definitions[arn] = record
    state.families[family].append(arn)
    return {"taskDefinition": document, "tags": tag_list(found)}


def _check_containers(containers: list[Json]) -> None:
    if not containers:
        raise client_error("Container list cannot be empty.")
    names = [Parameters(item).text("name") or "" for item in containers]
    for item, name in zip(containers, names, strict=True):
        if _FAMILY.match(name) is None:
            raise client_error("Container.name contains invalid characters.")
        if not Parameters(item).text("image"):
            raise client_error("Container.image should not be null or empty.")
    if len(set(names)) < len(names):
        raise client_error("Container names must be unique.")
    if len(names) > 10:
        raise client_error("A task definition can have at most 10 containers.")


def _required(parameters: Parameters) -> list[str]:
    found = [_DOCKER]
    if parameters.text("networkMode") == "awsvpc":
        found.append("ecs.capability.task-eni")
    if parameters.text("taskRoleArn"):
        found.append("com.amazonaws.ecs.capability.task-iam-role")
    if parameters.text("executionRoleArn"):
        found.append("ecs.capability.execution-role-ecr-pull")
    return found


def _compatibilities(parameters: Parameters) -> list[str]:
    if parameters.text("networkMode") == "awsvpc":
        return ["EC2", "FARGATE"]
    return ["EXTERNAL", "EC2"]


def _record(
    parameters: Parameters,
    arn: str,
    family: str,
    revision: int,
    document: Json,
    containers: list[Json],
) -> DefinitionRecord:
    tcp, udp = _ports(parameters.text("networkMode") or "bridge", containers)
    timeouts = [whole(item.get("stopTimeout")) or 30 for item in containers]
    return DefinitionRecord(
        arn=arn,
        family=family,
        revision=revision,
        document=document,
        cpu=size(parameters, "cpu") or sum(whole(item.get("cpu")) for item in containers),
        memory=size(parameters, "memory")
        or sum(
            whole(item.get("memoryReservation")) or whole(item.get("memory")) for item in containers
        ),
        ports_tcp=tcp,
        ports_udp=udp,
        requires=tuple(_required(parameters)),
        constraints=tuple(
            str(item.get("expression", ""))
            for item in parameters.objects("placementConstraints")
            if item.get("type") == "memberOf"
        ),
        stop_timeout=float(max(timeouts)),
        health_check=any(
            "healthCheck" in item and item.get("essential", True) for item in containers
        ),
        roles=tuple(
            role
            for role in (parameters.text("taskRoleArn"), parameters.text("executionRoleArn"))
            if role
        ),
    )


def _ports(mode: str, containers: list[Json]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The static (TCP, UDP) ports that a task takes on its host."""
    tcp: list[int] = []
    udp: list[int] = []
    if mode not in ("awsvpc", "none"):
        for container in containers:
            for item in Parameters(container).objects("portMappings"):
                static = whole(item.get("hostPort"))
                port = whole(item.get("containerPort")) if mode == "host" else static
                if port:
                    (udp if item.get("protocol") == "udp" else tcp).append(port)
    return tuple(tcp), tuple(udp)


def deregister_task_definition(state: State, parameters: Parameters) -> Json:
    """The revision goes INACTIVE: described as before, started no more."""
    reference = parameters.text("taskDefinition") or ""
    if ":" not in reference.rsplit("/", 1)[-1]:
        raise client_error("Revision is missing.")
    record = state.definition(reference)
    record.active = False
    record.document |= {"status": "INACTIVE", "deregisteredAt": state.now}
    return {"taskDefinition": dict(record.document)}


def describe_task_definition(state: State, parameters: Parameters) -> Json:
    """One revision; a family alone means its latest ACTIVE one."""
    record = state.definition(parameters.text("taskDefinition") or "")
    answer: Json = {"taskDefinition": dict(record.document)}
    if "TAGS" in parameters.texts("include"):
        answer["tags"] = tag_list(record.tags)
    return answer


def list_task_definitions(state: State, parameters: Parameters) -> Json:
    """ARNs of revisions, by family and number."""
    family = parameters.text("familyPrefix")
    status = parameters.choice("status", ("ACTIVE", "INACTIVE")) or "ACTIVE"
    descending = parameters.choice("sort", ("ASC", "DESC")) == "DESC"
    arns = {
        f"{record.family}:{record.revision:010d}": record.arn
        for record in state.definitions.values()
        if family in (None, record.family) and record.active == (status == "ACTIVE")
    }
    found, token = page(
        parameters,
        sorted(arns),
        scope="ListTaskDefinitions",
        random=state.sight,
        faults=state.faults,
        descending=descending,
    )
    return _with_token({"taskDefinitionArns": [arns[key] for key in found]}, token)


def list_task_definition_families(state: State, parameters: Parameters) -> Json:
    """Names of families; ACTIVE ones have an ACTIVE revision."""
    prefix = parameters.text("familyPrefix") or ""
    status = parameters.choice("status", ("ACTIVE", "INACTIVE", "ALL")) or "ACTIVE"
    names = []
    for family in sorted(state.families):
        active = any(state.definitions[arn].active for arn in state.families[family])
        if family.startswith(prefix) and status in ("ALL", "ACTIVE" if active else "INACTIVE"):
            names.append(family)
    found, token = page(
        parameters,
        names,
        scope="ListTaskDefinitionFamilies",
        random=state.sight,
        faults=state.faults,
    )
    return _with_token({"families": found}, token)


def startable(state: State, reference: str) -> DefinitionRecord:
    """The revision to start. Raises Fault when it is unknown or INACTIVE."""
    record = state.definition(reference)
    if not record.active:
        raise Fault(state.switches.inactive_definition_code, "TaskDefinition is inactive")
    return record


def _with_token(answer: Json, token: str | None) -> Json:
    if token is not None:
        answer["nextToken"] = token
    return answer
