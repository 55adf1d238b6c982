"""The JSON of `blox audit --json`. Times are seconds since 1970-01-01 UTC by ECS's clock."""

from collections.abc import Mapping

from blox.account.audit.findings import Audit, DaemonFinding, Group
from blox.account.audit.images import MixedImage
from blox.account.audit.lacking import Lacking
from blox.account.shared_traits import Trait, traits_of
from blox.cli.audit_words import host_name, next_step
from blox.ecs.model import Host

Json = dict[str, object]


def audit_json(audit: Audit) -> Json:
    """All that was found. For each daemon, and in `totals`:
    ready = running + missing + excused."""
    survey = audit.survey
    hosts = {host.arn: host for host in survey.hosts}
    return {
        "cluster": survey.cluster_arn,
        "at": survey.at,
        "hosts": {state.value: number for state, number in audit.hosts.items()},
        "daemons": [_daemon(daemon, hosts, survey.at) for daemon in audit.daemons],
        "images": [_image(image, hosts) for image in audit.images],
        "notRead": [
            {
                "operation": item.operation,
                "code": item.code,
                "denied": item.denied,
                "items": item.items,
                "sentence": item.sentence,
            }
            for item in survey.unread
        ],
        "totals": {
            "readyHosts": audit.ready,
            "daemons": len(audit.daemons),
            "pairs": audit.ready * len(audit.daemons),
            "running": audit.running,
            "missing": audit.missing,
            "excused": audit.excused,
            "hostsMissingAny": audit.without_any,
        },
        "calls": {**survey.calls, "total": survey.total_calls},
        "tookSeconds": round(survey.took, 3),
        "next": next_step(audit),
    }


def _daemon(daemon: DaemonFinding, hosts: Mapping[str, Host], at: float) -> Json:
    return {
        "family": daemon.family,
        "service": daemon.service or None,
        "taskDefinition": daemon.definition_arn or None,
        "runBy": [
            {"kind": runner.kind.value, "name": runner.name or None, "tasks": runner.tasks}
            for runner in daemon.runners
        ],
        "ready": daemon.ready,
        "running": daemon.running,
        "missing": daemon.missing_count,
        "excused": daemon.excused_count,
        "missingWhere": [_group(group, hosts, at) for group in daemon.missing],
        "excusedWhere": [_group(group, hosts, at) for group in daemon.excused],
        "notReady": [_lacking(item, hosts, at) for item in daemon.not_ready],
        "twice": [
            {
                "host": double.host_arn,
                "instanceId": host_name(double.host_arn, hosts),
                "tasks": list(double.tasks),
            }
            for double in daemon.doubles
        ],
    }


def _group(group: Group, hosts: Mapping[str, Host], at: float) -> Json:
    return {
        "cause": group.cause.value,
        "detail": group.detail,
        "count": len(group.hosts),
        "shared": [_trait(trait) for trait in group.shared],
        "hosts": [_lacking(item, hosts, at) for item in group.hosts],
    }


def _lacking(item: Lacking, hosts: Mapping[str, Host], at: float) -> Json:
    lack = item.lack
    return {
        "host": item.host_arn,
        "instanceId": host_name(item.host_arn, hosts),
        "traits": traits_of(hosts[item.host_arn]),
        "cause": item.cause.value,
        "detail": item.detail,
        "since": item.since,
        "forSeconds": None if item.since is None else round(max(0.0, at - item.since), 3),
        "sinceBasis": None if item.basis is None else item.basis.value,
        "stopsShown": item.stops,
        "room": None
        if lack is None
        else {"resource": lack.resource, "asked": lack.asked, "free": lack.free},
    }


def _trait(trait: Trait) -> Json:
    return {
        "name": trait.name,
        "value": trait.value,
        "hosts": trait.hosts,
        "of": trait.of,
        "others": trait.others,
        "ofOthers": trait.of_others,
    }


def _image(image: MixedImage, hosts: Mapping[str, Host]) -> Json:
    return {
        "image": image.image,
        "families": list(image.families),
        "digests": [
            {
                "digest": digest.digest,
                "tasks": digest.tasks,
                "hosts": [
                    {"host": arn, "instanceId": host_name(arn, hosts)} for arn in digest.hosts
                ],
            }
            for digest in image.digests
        ],
        "shared": [_trait(trait) for trait in image.shared],
    }
