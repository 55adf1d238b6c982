"""Clusters, container instances, attributes, tags and settings.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
"""

from blox.simulator import documents
from blox.simulator.expressions import Facts, facts_of, matches
from blox.simulator.lifecycle import deregister, stop_services
from blox.simulator.model import ClusterRecord, Fault, HostRecord, Json
from blox.simulator.parameters import (
    Parameters,
    attribute,
    check_cluster_name,
    client_error,
    invalid,
    tag_list,
    tags,
)
from blox.simulator.state import State
from blox.simulator.visibility import page


def _missing(arn: str) -> Json:
    return {"arn": arn, "reason": "MISSING"}


def _listed(
    state: State, parameters: Parameters, member: str, keys: list[str], *, scope: str
) -> Json:
    """One page of `keys`, which are sorted."""
    found, token = page(parameters, keys, scope=scope, random=state.sight, faults=state.faults)
    answer: Json = {member: found}
    if token is not None:
        answer["nextToken"] = token
    return answer


# --- Clusters -------------------------------------------------------------------------------------


def revive_cluster(state: State, name: str) -> ClusterRecord:
    """The cluster of this name, made or made ACTIVE again."""
    check_cluster_name(name)
    found = state.clusters.get(name)
    if found is None:
        found = ClusterRecord(name=name, arn=state.arn("cluster", name), created_at=state.now)
        state.clusters[name] = found
    found.status = "ACTIVE"
    return found


def create_cluster(state: State, parameters: Parameters) -> Json:
    """Create it; one that is ACTIVE already is answered as it is."""
    found = tags(parameters)
    cluster = revive_cluster(state, parameters.text("clusterName") or "default")
    cluster.tags |= found
    return {"cluster": cluster_shown(state, cluster)}


def delete_cluster(state: State, parameters: Parameters) -> Json:
    """It goes INACTIVE; refused while hosts, tasks or services are there."""
    cluster = state.cluster(parameters.needed("cluster", "Cluster can not be blank."))
    document = cluster_shown(state, cluster)
    if document["registeredContainerInstancesCount"]:
        raise Fault(
            "ClusterContainsContainerInstancesException",
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        )
    if document["activeServicesCount"]:
        raise Fault(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        )
    cluster.status = "INACTIVE"
    return {"cluster": cluster_shown(state, cluster)}


def describe_clusters(state: State, parameters: Parameters) -> Json:
    """Up to 100 clusters, INACTIVE ones included."""
    found: list[Json] = []
    failures: list[Json] = []
    for reference in parameters.texts("clusters", most=100) or ["default"]:
        name = reference.rsplit("/", 1)[-1]
        check_cluster_name(name)
        cluster = state.clusters.get(name)
        if cluster is None or reference not in (name, cluster.arn):
            failures.append(_missing(state.arn("cluster", name)))
        else:
            found.append(cluster_shown(state, cluster))
    return {"clusters": found, "failures": failures}


def cluster_shown(state: State, cluster: ClusterRecord) -> Json:
    """The cluster as DescribeClusters shows it."""
    hosts = [state.hosts[arn] for arn in state.hosts_in.get(cluster.name, [])]
    hosts = [host for host in hosts if not host.inactive]
    usages = [state.usage(host.arn) for host in hosts]
    services = [item for item in state.services.values() if item.cluster == cluster.name]
    return documents.cluster_document(
        cluster,
        hosts=len(hosts),
        running=sum(usage.running for usage in usages),
        pending=sum(usage.pending for usage in usages),
        services=sum(service.status == "ACTIVE" for service in services),
    )


def list_clusters(state: State, parameters: Parameters) -> Json:
    """ARNs of the ACTIVE clusters."""
    arns = sorted(item.arn for item in state.clusters.values() if item.status == "ACTIVE")
    return _listed(state, parameters, "clusterArns", arns, scope="ListClusters")


# --- Container instances --------------------------------------------------------------------------


def list_container_instances(state: State, parameters: Parameters) -> Json:
    """ARNs by status; without one, every status except INACTIVE."""
    cluster = state.cluster(parameters.text("cluster"))
    options = ("ACTIVE", "DRAINING", "REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED")
    status = parameters.choice("status", options)
    expression = parameters.text("filter")
    arns = state.hosts_in.get(cluster.name, [])

    def shown(arn: str) -> bool:
        host = state.hosts[arn]
        if host.inactive or status not in (None, host.status):
            return False
        if expression and not matches(expression, _facts(state, host)):
            return False
        return state.host_shown(host, listing=True)

    found, token = page(
        parameters,
        arns,
        scope=f"ListContainerInstances {cluster.name} {status} {expression}",
        random=state.sight,
        faults=state.faults,
        shown=shown,
    )
    answer: Json = {"containerInstanceArns": found}
    if token is not None:
        answer["nextToken"] = token
    return answer


def _facts(state: State, host: HostRecord) -> Facts:
    groups = list(dict.fromkeys(task.group for task in state.live_tasks(host.arn)))
    return facts_of(host, running=state.usage(host.arn).running, groups=groups)


def describe_container_instances(state: State, parameters: Parameters) -> Json:
    """Up to 100 hosts; INACTIVE ones for an hour, then MISSING."""
    cluster = state.cluster(parameters.text("cluster"))
    references = parameters.texts("containerInstances", most=100)
    if not references:
        raise invalid("Container instances cannot be empty.")
    include = parameters.texts("include")
    found: list[Json] = []
    failures: list[Json] = []
    for reference in dict.fromkeys(references):
        arn, host = state.host(reference, cluster.name)
        if host is None or not state.host_shown(host, listing=False):
            failures.append(_missing(arn))
            continue
        found.append(
            state.host_document(
                host,
                with_tags="TAGS" in include,
                with_health="CONTAINER_INSTANCE_HEALTH" in include,
            )
        )
    return {"containerInstances": found, "failures": failures}


def deregister_container_instance(state: State, parameters: Parameters) -> Json:
    """The host goes INACTIVE; with running tasks only by `force`."""
    cluster = state.cluster(parameters.text("cluster"))
    reference = parameters.needed("containerInstance", "Container instance can not be blank.")
    _, host = state.host(reference, cluster.name)
    if host is None or host.inactive:
        raise client_error("The referenced container instance was not found.")
    if state.live_tasks(host.arn) and not parameters.flag("force"):
        raise invalid("Found running tasks on the instance.")
    deregister(state, host, reason="Container instance was deregistered (forced).")
    return {"containerInstance": state.host_document(host)}


def update_container_instances_state(state: State, parameters: Parameters) -> Json:
    """ACTIVE ↔ DRAINING, up to ten hosts."""
    cluster = state.cluster(parameters.text("cluster"))
    status = parameters.choice("status", ("ACTIVE", "DRAINING"))
    references = parameters.texts("containerInstances", most=10)
    if status is None or not references:
        raise invalid("Container instances and status must be given.")
    found: list[Json] = []
    failures: list[Json] = []
    for reference in dict.fromkeys(references):
        arn, host = state.host(reference, cluster.name)
        if host is None or host.status not in ("ACTIVE", "DRAINING"):
            failures.append({"arn": arn, "reason": "MISSING" if host is None else "INACTIVE"})
        else:
            set_status(state, host, status)
            found.append(state.host_document(host))
    return {"containerInstances": found, "failures": failures}


def set_status(state: State, host: HostRecord, status: str) -> None:
    """A host's status changes; nothing happens when it is so already or the host is INACTIVE."""
    if host.status == status or host.inactive:
        return
    quiet = status in ("ACTIVE", "DRAINING") and not state.switches.draining_bumps_version
    host.status = status
    if quiet:
        state.stirred(host)
    else:
        state.host_changed(host)
    stop_services(state, host)


# --- Attributes -----------------------------------------------------------------------------------


def put_attributes(state: State, parameters: Parameters) -> Json:
    """Set up to ten attributes; a host has at most ten that are not its agent's."""
    cluster = state.cluster(parameters.text("cluster"))
    items = _attributes(parameters)
    targets = [(_target(state, cluster, item), *attribute(item)) for item in items]
    for host in {target.arn: target for target, _, _ in targets}.values():
        names = [name for target, name, _ in targets if target is host]
        if len(dict.fromkeys([*host.custom, *names])) > 10:
            raise Fault(
                "AttributeLimitExceededException",
                "You can apply up to 10 custom attributes for each resource.",
            )
    for host, name, value in targets:
        host.attributes[name] = value
        host.custom[name] = None
    _attributes_changed(state, [host for host, _, _ in targets])
    return {"attributes": items}


def delete_attributes(state: State, parameters: Parameters) -> Json:
    """Remove up to ten attributes that a user gave; those of the agent stay."""
    cluster = state.cluster(parameters.text("cluster"))
    items = _attributes(parameters)
    if any("value" in item for item in items):
        raise invalid("Attributes are deleted by name and target, without a value.")
    targets = [(_target(state, cluster, item), attribute(item)[0]) for item in items]
    gone: list[HostRecord] = []
    for host, name in targets:
        if name in host.custom:
            del host.custom[name]
            del host.attributes[name]
            gone.append(host)
    _attributes_changed(state, gone)
    return {"attributes": items}


def _attributes(parameters: Parameters) -> list[Json]:
    items = parameters.objects("attributes")
    if not 1 <= len(items) <= 10:
        raise invalid("Attributes must have 1 to 10 items.")
    return items


def _target(state: State, cluster: ClusterRecord, item: Json) -> HostRecord:
    parameters = Parameters(item)
    reference = parameters.needed("targetId", "Attribute targetId cannot be empty.")
    kind = parameters.choice("targetType", ("container-instance",))
    if kind is None and not reference.startswith("arn:"):
        raise invalid("The short id needs targetType container-instance.")
    arn, host = state.host(reference, cluster.name)
    if host is None or host.inactive:
        raise Fault("TargetNotFoundException", f"The target {arn} was not found.")
    return host


def _attributes_changed(state: State, hosts: list[HostRecord]) -> None:
    for host in {host.arn: host for host in hosts}.values():
        if state.switches.attributes_bump_version:
            state.host_changed(host)
        else:
            state.stirred(host)


def list_attributes(state: State, parameters: Parameters) -> Json:
    """Attributes of the cluster's hosts, by name and value."""
    cluster = state.cluster(parameters.text("cluster"))
    if parameters.choice("targetType", ("container-instance",)) is None:
        raise invalid("targetType must be container-instance.")
    name, value = parameters.text("attributeName"), parameters.text("attributeValue")
    items: dict[str, Json] = {}
    for arn in state.hosts_in.get(cluster.name, []):
        host = state.hosts[arn]
        for key in sorted(host.attributes) if not host.inactive else []:
            has = host.attributes[key]
            if name in (None, key) and value in (None, has):
                item: Json = {
                    "name": key,
                    "targetType": "container-instance",
                    "targetId": arn,
                }
                items[f"{arn} {key}"] = item if has is None else item | {"value": has}
    answer = _listed(
        state,
        parameters,
        "attributes",
        sorted(items),
        scope=f"ListAttributes {cluster.name} {name} {value}",
    )
    keys = answer["attributes"]
    answer["attributes"] = [items[key] for key in (keys if isinstance(keys, list) else [])]
    return answer


# --- Tags, settings -------------------------------------------------------------------------------


def _tags_of(state: State, parameters: Parameters) -> dict[str, str]:
    arn = parameters.needed("resourceArn", "resourceArn can not be blank.")
    kind, _, rest = arn.split(":", 5)[-1].partition("/")
    if kind in ("task", "container-instance", "service") and "/" not in rest:
        raise invalid("Long arn format must be used for tagging operations")
    found = (
        state.tasks.get(arn)
        or state.hosts.get(arn)
        or state.definitions.get(arn)
        or state.services.get(arn)
        or next((item for item in state.providers.values() if item.arn == arn), None)
        or next((item for item in state.clusters.values() if item.arn == arn), None)
    )
    if found is None:
        raise Fault("ResourceNotFoundException", "The specified resource could not be found.")
    return found.tags


def tag_resource(state: State, parameters: Parameters) -> Json:
    """Add or replace tags."""
    current, new = _tags_of(state, parameters), tags(parameters)
    if len(current | new) > 50:
        raise invalid("A resource can have at most 50 tags.")
    current |= new
    return {}


def untag_resource(state: State, parameters: Parameters) -> Json:
    """Remove tags by key."""
    current = _tags_of(state, parameters)
    for key in parameters.texts("tagKeys"):
        current.pop(key, None)
    return {}


def list_tags_for_resource(state: State, parameters: Parameters) -> Json:
    """A resource's tags."""
    return {"tags": tag_list(_tags_of(state, parameters))}


def list_account_settings(state: State, parameters: Parameters) -> Json:
    """The settings that decide on ARN formats and tags."""
    value = "disabled" if state.switches.short_arns else "enabled"
    names = ("containerInstanceLongArnFormat", "serviceLongArnFormat", "taskLongArnFormat")
    wanted = parameters.text("name")
    principal = f"arn:{state.partition}:iam::{state.account}:root"
    return {
        "settings": [
            {"name": name, "value": value, "principalArn": principal, "type": "user"}
            for name in names
            if wanted in (None, name)
        ]
    }
