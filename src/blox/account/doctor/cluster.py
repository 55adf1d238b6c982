"""Judging one cluster: its hosts, what is allowed there, its capacity providers."""

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from blox.account.doctor.facts import ClusterFacts, Facts, How, Permission, Verdict
from blox.account.doctor.findings import Finding, counted, named, note, ok, problem, tally
from blox.account.doctor.load import sweep_calls
from blox.account.permissions import GRANTS, Part, Where, grant_of, statements
from blox.account.surveyed import Survey
from blox.base.ids import parse_arn, short_id
from blox.ecs.model import CapacityProviderDocument, Host
from blox.scheduler.eligibility import HostCondition

_SPOKEN: Final = {
    HostCondition.READY: "ready",
    HostCondition.DRAINING: "draining",
    HostCondition.DISCONNECTED: "agent disconnected",
    HostCondition.NOT_READY: "not ready",
    HostCondition.LEAVING: "leaving",
}
"""In the order in which they are told."""
HEALTH_SINCE: Final = (1, 57, 0)
"""The first agent that reports its host's health.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-health.html"""
_ENABLED: Final = "ENABLED"
_MANAGED: Final = ("FARGATE", "FARGATE_SPOT")


def judge_cluster(facts: Facts, cluster: ClusterFacts) -> list[Finding]:
    """Everything about one cluster, in the order of the screen."""
    if cluster.survey is None:
        trouble = cluster.trouble
        return [
            problem(
                "cluster",
                "cluster-unreadable",
                f"{cluster.name} could not be read: "
                f"{trouble.sentence if trouble is not None else 'nothing was answered'}",
                "correct the name, the region (AWS_REGION) or the profile (AWS_PROFILE)",
                cluster=cluster.name,
            )
        ]
    survey = cluster.survey
    if facts.state_service:
        return [*_hosts(cluster, survey), *_reads(facts, cluster, survey)]
    return [
        *_hosts(cluster, survey),
        *_reads(facts, cluster, survey),
        *_writes(facts, cluster),
        *_migration(cluster),
        *_providers(cluster, survey),
    ]


# --- Hosts ----------------------------------------------------------------------------------------


def _hosts(cluster: ClusterFacts, survey: Survey) -> list[Finding]:
    name = cluster.name
    if any(survey.not_read(f"{verb}ContainerInstances") for verb in ("List", "Describe")):
        return [note("cluster", "hosts-not-known", f"{name}   hosts not known", cluster=name)]
    current = [host for host in survey.hosts if host.arn not in survey.superseded]
    states = {host.arn: survey.condition(host) for host in current}
    parts = []
    for state, spoken in _SPOKEN.items():
        number = sum(1 for found in states.values() if found is state)
        if number:
            parts.append(f"{number:,} {spoken}")
    sentence = f"{name}   {counted(len(current), 'host')}"
    if parts:
        sentence += f" = {' + '.join(parts)}"
    if current:
        sentence += f"   {_platforms(current)}"
    if not current:
        return [note("cluster", "no-hosts", sentence, "", cluster=name)]
    return [
        ok("cluster", "hosts", sentence, cluster=name),
        *_silent(name, [h for h in current if states[h.arn] is HostCondition.DISCONNECTED]),
        *_unready(name, [h for h in current if states[h.arn] is HostCondition.NOT_READY]),
        *_records(name, survey),
        *_agents(name, current),
    ]


def _platforms(hosts: Sequence[Host]) -> str:
    architectures = tally(
        host.attributes.get("ecs.cpu-architecture") or "architecture unknown" for host in hosts
    )
    systems = tally(host.attributes.get("ecs.os-type") or "OS unknown" for host in hosts)
    external = sum(1 for host in hosts if host.external)
    outside = f"   external {external}" if external else ""
    return f"{architectures}   {systems}{outside}"


def _machine(host: Host) -> str:
    return host.instance_id or short_id(host.arn)


def _silent(cluster: str, hosts: Sequence[Host]) -> list[Finding]:
    """ECS does not tell since when. Agents flap for seconds all day long, and a record whose
    machine has died without its agent stays.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterContainerInstance.html
    """
    if not hosts:
        return []
    return [
        note(
            "hosts",
            "agent-disconnected",
            f"the agent of {counted(len(hosts), 'host')} is disconnected, ECS does not tell since "
            f"when: {named([_machine(host) for host in hosts])}. Nothing can be started there",
            "look again in a minute; where the machine is gone: aws ecs "
            f"deregister-container-instance --cluster {cluster} --container-instance "
            f"{short_id(hosts[0].arn)} --force",
            cluster=cluster,
        )
    ]


def _unready(cluster: str, hosts: Sequence[Host]) -> list[Finding]:
    if not hosts:
        return []
    return [
        note(
            "hosts",
            "not-ready",
            f"{counted(len(hosts), 'host')} in another state than ACTIVE: "
            f"{tally(host.status for host in hosts)} ({named([_machine(h) for h in hosts])})",
            f"aws ecs describe-container-instances --cluster {cluster} --container-instances "
            f"{short_id(hosts[0].arn)} tells the reason",
            cluster=cluster,
        )
    ]


def _records(cluster: str, survey: Survey) -> list[Finding]:
    """Old agents register anew after a stop and start.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-versions.html"""
    older = sorted(survey.superseded)
    if not older:
        return []
    by_arn = {host.arn: host for host in survey.hosts}
    machines = sorted({_machine(by_arn[arn]) for arn in older if arn in by_arn})
    return [
        note(
            "records",
            "superseded-records",
            f"beside the hosts above: {counted(len(older), 'older record')} of "
            f"{counted(len(machines), 'machine')} that registered again: {named(machines)}. blox "
            "counts a machine once",
            f"aws ecs deregister-container-instance --cluster {cluster} --container-instance "
            f"{short_id(older[0])}",
            cluster=cluster,
        )
    ]


def _agents(cluster: str, hosts: Sequence[Host]) -> list[Finding]:
    old = [host for host in hosts if _version(host.agent_version, HEALTH_SINCE) < HEALTH_SINCE]
    if not old:
        return []
    return [
        note(
            "agents",
            "old-agents",
            f"{counted(len(old), 'host')} with an agent before 1.57.0 "
            f"({tally(host.agent_version for host in old)}), which does not report the host's "
            f"health: {named([_machine(host) for host in old])}",
            f"aws ecs update-container-agent --cluster {cluster} --container-instance "
            f"{short_id(old[0].arn)}",
            cluster=cluster,
        )
    ]


def _version(text: str, unknown: tuple[int, int, int]) -> tuple[int, int, int]:
    """1.57.0 as numbers; `unknown` for what is none."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return unknown
    return int(parts[0]), int(parts[1]), int(parts[2])


# --- What is allowed ------------------------------------------------------------------------------


def _of(cluster: ClusterFacts, *actions: str) -> list[Permission]:
    return [p for p in cluster.permissions if p.action in actions]


def _needed(part: Part, *, but: tuple[Part, ...] = ()) -> tuple[str, ...]:
    """ECS's reads of a part that the others do not need."""
    return tuple(
        grant.action
        for grant in GRANTS
        if part in grant.parts and not any(other in grant.parts for other in but)
    )


def missing(cluster: ClusterFacts, actions: Sequence[str]) -> tuple[dict[str, object], ...]:
    """The statements that would allow these in this cluster."""
    arn = parse_arn(cluster.arn)
    if arn is None or not actions:
        return ()
    roles = sorted({r for p in _of(cluster, "iam:PassRole") for r in p.denied_on})
    where = Where(
        partition=arn.partition,
        region=arn.region,
        account=arn.account,
        clusters=(cluster.name,),
        families=_families(cluster),
        roles=tuple(roles),
    )
    return statements([grant_of(action) for action in actions], where)


def _families(cluster: ClusterFacts) -> tuple[str, ...]:
    """Those that IAM named as denied; empty: all."""
    denied = [arn for p in _of(cluster, "ecs:StartTask") for arn in p.denied_on]
    names = {short_id(arn).split(":", 1)[0] for arn in denied if ":task-definition/" in arn}
    return tuple(sorted(names - {"blox-doctor"}))


def _part(facts: Facts) -> Part:
    """What is to be allowed at least."""
    return Part.STATE if facts.state_service else Part.OBSERVE


def _reads(facts: Facts, cluster: ClusterFacts, survey: Survey) -> list[Finding]:
    found: list[Finding] = []
    needed = _needed(_part(facts))
    denied = [p.action for p in _of(cluster, *needed) if p.verdict is Verdict.DENIED]
    name = cluster.name
    if denied:
        found.append(
            problem(
                "reads",
                "reads-denied",
                f"{'IAM denies' if facts.principal_given else 'denied'}: {', '.join(denied)}. blox "
                "decides nothing about a cluster that it cannot read completely",
                "add the statement below",
                cluster=name,
                statements=missing(cluster, denied),
            )
        )
    for unread in survey.unread:
        if not unread.denied:
            of = f" ({unread.items:,} not known therefore)" if unread.items else ""
            found.append(
                problem(
                    "reads", "reads-failed", f"{unread.sentence}{of}", "run it again", cluster=name
                )
            )
    if not found:
        found.append(_reads_well(facts, cluster, survey))
    extra = _needed(Part.AUDIT, but=(Part.OBSERVE,))
    lacking = [p.action for p in _of(cluster, *extra) if p.verdict is Verdict.DENIED]
    if lacking and not facts.state_service:
        found.append(
            note(
                "reads",
                "audit-denied",
                f"denied: {', '.join(lacking)}, which blox audit and blox migrate need and the "
                "scheduler does not",
                "add the statement below if they are to be used",
                cluster=name,
                statements=missing(cluster, lacking),
            )
        )
    return found


def _reads_well(facts: Facts, cluster: ClusterFacts, survey: Survey) -> Finding:
    calls = sweep_calls(survey)
    sweep = f"; a sweep of this cluster is {counted(calls, 'call')}" if calls else ""
    needed = _of(cluster, *_needed(_part(facts)))
    unknown = [p.action for p in needed if p.verdict is Verdict.UNKNOWN]
    open_ = f"; not tried, as there was nothing to read: {', '.join(unknown)}" if unknown else ""
    if facts.principal_given and facts.iam is not None:
        return note(
            "reads",
            "reads-not-known",
            f"whether {facts.principal or 'that principal'} may read is not known: "
            f"{facts.iam.sentence}{sweep}",
            "run blox doctor with its credentials",
            cluster=cluster.name,
        )
    used = counted(survey.total_calls, "call")
    how = f"IAM allows them to {short_id(facts.principal)}" if facts.principal_given else "allowed"
    return ok("reads", "reads", f"{how}; {used} made{sweep}{open_}", cluster=cluster.name)


def _writes(facts: Facts, cluster: ClusterFacts) -> list[Finding]:
    acts = _of(cluster, "ecs:StartTask", "ecs:StopTask", "iam:PassRole")
    name = cluster.name
    if not acts:
        return []
    allowed = [p for p in acts if p.verdict is Verdict.ALLOWED]
    refused = [p for p in acts if p.verdict in (Verdict.DENIED, Verdict.PARTLY)]
    unknown = [p for p in acts if p.verdict is Verdict.UNKNOWN]
    if not refused and not unknown:
        return [ok("writes", "writes", f"allowed: {_told(acts)}", cluster=name)]
    if not refused:
        untold = [structs.replace(p, detail="") if _said(facts, p) else p for p in unknown]
        sentence = f"not known: {_told(untold)}. It would be learned from the first call"
        if allowed:
            sentence = f"allowed: {_told(allowed)}; {sentence}"
        return [note("writes", "writes-not-known", sentence, _way_to_know(facts), cluster=name)]
    lacking = missing(cluster, [p.action for p in refused])
    can_start = any(p.action == "ecs:StartTask" and p.verdict is not Verdict.DENIED for p in acts)
    can_stop = any(p.action == "ecs:StopTask" and p.verdict is Verdict.ALLOWED for p in acts)
    if not can_start and not can_stop and not facts.principal_given:
        return [
            note(
                "writes",
                "observe-only",
                f"not allowed: {_told(refused)}. Observe only",
                "daemon-scheduler --observe works as it is; to act, add the statements below, or "
                "blox setup --print iam",
                cluster=name,
                statements=lacking,
            )
        ]
    half = "" if facts.principal_given else "; it could do the one and not the other"
    return [
        problem(
            "writes",
            "writes-denied",
            f"not allowed: {_told(refused)}"
            + (f"; allowed: {_told(allowed)}" if allowed else "")
            + (half if allowed else ""),
            "add the statement below, or blox setup --print iam for the whole policy",
            cluster=name,
            statements=lacking,
        )
    ]


def _said(facts: Facts, permission: Permission) -> bool:
    """Whether a line of its own tells why IAM said nothing of it."""
    return facts.iam is not None and permission.detail == facts.iam.sentence


_METHODS: Final = {
    How.IAM: "asked of IAM",
    How.NOWHERE: "tried on nothing",
    How.TRIED: "tried",
}


def _told(permissions: Sequence[Permission]) -> str:
    """Actions with what is known of them: ecs:StartTask (no statement allows it: falcon)."""
    parts = []
    for permission in permissions:
        about = [permission.detail] if permission.detail else []
        if permission.verdict is Verdict.ALLOWED and not about:
            about = [_METHODS.get(permission.how, "")]
        if permission.verdict is Verdict.PARTLY:
            about.append(named([short_id(arn) for arn in permission.denied_on]))
        text = ", for ".join(part for part in about if part)
        parts.append(f"{permission.action} ({text})" if text else permission.action)
    return ", ".join(parts)


def _way_to_know(facts: Facts) -> str:
    if facts.principal_given:
        return "run blox doctor with its credentials"
    if facts.tried_writes:
        return "run it again"
    return "blox doctor --try-writes asks ECS itself, about a task and a host that cannot be"


def _migration(cluster: ClusterFacts) -> list[Finding]:
    acts = _of(cluster, "ecs:PutAttributes", "ecs:DeleteAttributes")
    writes = _of(cluster, "ecs:StartTask", "ecs:StopTask")
    denied = [p.action for p in acts if p.verdict is Verdict.DENIED]
    if not denied or all(p.verdict is Verdict.DENIED for p in writes):
        return []
    return [
        note(
            "migrate",
            "migrate-denied",
            f"not allowed: {', '.join(denied)}, which only blox migrate needs",
            "add the statement below for as long as you migrate",
            cluster=cluster.name,
            statements=missing(cluster, denied),
        )
    ]


# --- Capacity providers ---------------------------------------------------------------------------


def _providers(cluster: ClusterFacts, survey: Survey) -> list[Finding]:
    hosts = [host for host in survey.hosts if host.arn not in survey.superseded]
    found: list[Finding] = []
    for provider in survey.providers:
        own = sum(1 for host in hosts if host.capacity_provider == provider.name)
        of = f"{own:,} of {counted(len(hosts), 'host')}"
        found += _provider(cluster.name, provider, of)
    unread = survey.not_read("DescribeCapacityProviders")
    named_ones = survey.cluster.capacity_providers or ()
    if unread is not None and named_ones:
        found.append(
            note(
                "scale-in",
                "providers-not-known",
                f"whether {named(list(named_ones))} scale in is not known: {unread.sentence}",
                "allow ecs:DescribeCapacityProviders",
                cluster=cluster.name,
                statements=missing(cluster, ["ecs:DescribeCapacityProviders"]),
            )
        )
    return found


def _provider(cluster: str, provider: CapacityProviderDocument, of: str) -> list[Finding]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html
    and managed-instance-draining.html beside it."""
    group = provider.auto_scaling_group_provider
    name = provider.name
    if group is None:
        if name in _MANAGED:
            return []
        return [
            note(
                "provider",
                "not-auto-scaling",
                f"capacity provider {name} has no Auto Scaling group; if it is ECS Managed "
                "Instances, nobody has seen yet whether StartTask works there",
                "blox verify-aws, question 2b",
                cluster=cluster,
            )
        ]
    found = []
    if provider.scales_in:
        found.append(
            problem(
                "scale-in",
                "managed-scaling",
                f"capacity provider {name} has managed scaling ON. Tasks started by blox keep its "
                f"hosts from scaling in: {of}",
                "one of: whenIdle (blox stops its tasks on hosts where nothing else runs); leave "
                "these hosts to the DAEMON service; accept it (--accept-no-scale-in)",
                cluster=cluster,
            )
        )
    if group.managed_termination_protection == _ENABLED:
        found.append(
            problem(
                "protected",
                "termination-protection",
                f"capacity provider {name} has managed termination protection ON: Auto Scaling may "
                "terminate no host on which a task runs that is not of a DAEMON service, and every "
                f"task of blox is such a task: {of}",
                "whenIdle lets idle hosts go; else switch it off, or drain hosts before they are to"
                " leave",
                cluster=cluster,
            )
        )
    if group.managed_draining == _ENABLED:
        found.append(
            ok(
                "draining",
                "managed-draining",
                f"capacity provider {name} has managed draining on: blox stops its daemons on "
                "a draining host last, so that ECS can let the host go",
                cluster=cluster,
            )
        )
    return found
