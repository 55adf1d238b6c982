"""What `blox doctor` makes of what it found out."""

from typing import Any

import pytest

from blox.account.doctor import load as doctor_load
from blox.account.doctor.facts import (
    Caller,
    ClusterFacts,
    Facts,
    How,
    Permission,
    QueueFacts,
    RuleFacts,
    Signatures,
    TargetFacts,
    Trouble,
    Verdict,
)
from blox.account.doctor.findings import Finding, Level, Report, note, ok, problem
from blox.account.doctor.judge import judge
from blox.account.doctor.load import idle_requests, load_of, price_of, sweep_calls
from blox.account.permissions import Part, grants_for
from blox.account.surveyed import Survey, SurveyedTask, Unread
from blox.clusterstate import ingest, sqs, sweep
from blox.ecs.model import (
    AutoScalingGroupProvider,
    CapacityProviderDocument,
    ClusterDocument,
    Host,
    ManagedScaling,
    Task,
)
from blox.ecs.pacing import PUBLISHED, Category
from blox.settings import PacingSettings, Settings, ViewSettings
from support.documents import CLUSTER, PREFIX, host_arn, task_arn

ACCOUNT = "111122223333"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:events"
RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/blox"
POLICY = (
    '{"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, '
    f'"Action": "sqs:SendMessage", "Resource": "{QUEUE}"}}}}'
)


def machine(number: int, **more: Any) -> Host:
    given: dict[str, Any] = {
        "arn": host_arn(number),
        "cluster_arn": CLUSTER,
        "instance_id": f"i-{number}",
        "agent_version": "1.90.0",
        "attributes": {"ecs.cpu-architecture": "x86_64", "ecs.os-type": "linux"},
    }
    return Host(**{**given, **more})


def surveyed(**more: Any) -> Survey:
    given: dict[str, Any] = {
        "cluster": ClusterDocument(cluster_arn=CLUSTER, cluster_name="demo"),
        "hosts": (machine(1), machine(2)),
        "calls": {"DescribeClusters": 1, "ListTasks": 2},
    }
    return Survey(**{**given, **more})


def said(verdict: Verdict, *actions: str, **more: Any) -> tuple[Permission, ...]:
    how = How.NOT if verdict is Verdict.UNKNOWN else How.IAM
    return tuple(Permission(action=a, verdict=verdict, how=how, **more) for a in actions)


READS = tuple(g.action for g in grants_for(Part.OBSERVE))
ACTS = ("ecs:StartTask", "ecs:StopTask")
ALLOWED = said(Verdict.ALLOWED, *READS, *ACTS)


def cluster(survey: Survey | None = None, *permissions: Permission, **more: Any) -> ClusterFacts:
    return ClusterFacts(
        name="demo",
        arn=CLUSTER,
        survey=survey or surveyed(),
        permissions=permissions or ALLOWED,
        **more,
    )


def facts(*clusters: ClusterFacts, **more: Any) -> Facts:
    given: dict[str, Any] = {
        "region": "us-east-1",
        "partition": "aws",
        "caller": Caller(account=ACCOUNT, arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/x"),
        "clock_behind": 0.4,
        "signatures": Signatures(stands=True, sentence="ECS refuses signatures older than 300 s."),
        "clusters": clusters or (cluster(),),
        "assumptions": 20,
        "settings": Settings(),
    }
    return Facts(**{**given, **more})


def found(report: Report, code: str) -> Finding:
    matching = [finding for finding in report.findings if finding.code == code]
    assert len(matching) == 1, [finding.code for finding in report.findings]
    return matching[0]


def codes(report: Report, level: Level) -> list[str]:
    return [finding.code for finding in report.findings if finding.level is level]


# --- The whole ------------------------------------------------------------------------------------


def test_a_good_account_has_no_problem() -> None:
    report = judge(facts(queue_asked="events", queue=queue()))
    assert codes(report, Level.PROBLEM) == []
    assert codes(report, Level.NOTE) == ["assumptions"]
    assert report.exit_code == 0
    assert found(report, "account").sentence == f"{ACCOUNT}   region us-east-1   as role/app"
    assert found(report, "assumptions").sentence.startswith("0 of 20 assumptions seen")


def test_the_exit_code_is_the_number_of_problems_and_never_above_100() -> None:
    three = Report(
        findings=(*(problem("x", "x", "x", "x"),) * 3, ok("x", "x", "x"), note("", "", ""))
    )
    assert (three.problems, three.notes, three.exit_code) == (3, 1, 3)
    assert Report(findings=(problem("x", "x", "x", "x"),) * 300).exit_code == 100


def test_an_ecs_that_tells_nothing_is_one_problem() -> None:
    trouble = Trouble(action="ecs:DescribeClusters", sentence="no AWS credentials were found")
    report = judge(facts(unreachable=trouble, clock_behind=None, caller=None))
    assert codes(report, Level.PROBLEM) == ["ecs-unreachable"]
    assert "no AWS credentials were found" in found(report, "ecs-unreachable").sentence
    late = judge(facts(unreachable=trouble, clock_behind=400.0))
    assert "clock is 400 s behind ECS's" in found(late, "ecs-unreachable").sentence


@pytest.mark.parametrize(
    ("behind", "code", "level"),
    [
        (-4.0, "clock", Level.OK),
        (20.0, "clock-off", Level.NOTE),
        (-30.0, "clock-off", Level.NOTE),
        (61.0, "clock-wrong", Level.PROBLEM),
        (-900.0, "clock-wrong", Level.PROBLEM),
    ],
)
def test_a_clock_that_is_off_is_told(behind: float, code: str, level: Level) -> None:
    assert found(judge(facts(clock_behind=behind)), code).level is level


def test_iam_that_may_not_be_asked_is_told_with_the_statement() -> None:
    trouble = Trouble(action="iam:SimulatePrincipalPolicy", sentence="denied", denied=True)
    finding = found(judge(facts(iam=trouble)), "iam-not-asked")
    assert finding.level is Level.NOTE
    assert "--try-writes" in finding.next_step
    assert finding.statements[0]["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/app"
    tried = found(judge(facts(iam=trouble, tried_writes=True)), "iam-not-asked")
    assert "--try-writes" not in tried.next_step


def test_clusters_that_cannot_be_listed_are_a_problem_and_none_is_a_note() -> None:
    trouble = Trouble(action="ecs:ListClusters", sentence="denied", denied=True)
    report = judge(Facts(**{**shallow(facts()), "clusters": (), "listing": trouble}))
    assert found(report, "clusters-not-listed").statements[0]["Action"] == "ecs:ListClusters"
    empty = judge(Facts(**{**shallow(facts()), "clusters": ()}))
    assert found(empty, "no-clusters").level is Level.NOTE


def shallow(value: Facts) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


# --- Hosts ----------------------------------------------------------------------------------------


def test_hosts_by_state_add_up_and_older_records_stand_beside() -> None:
    hosts = (
        machine(1),
        machine(2, status="DRAINING"),
        machine(3, agent_connected=False),
        machine(4, status="REGISTRATION_FAILED"),
        machine(5, attributes={"ecs.cpu-architecture": "arm64"}),
        machine(6, instance_id="i-1", agent_connected=False),
    )
    survey = surveyed(hosts=hosts, superseded={host_arn(6): host_arn(1)})
    report = judge(facts(cluster(survey)))
    assert found(report, "hosts").sentence == (
        "demo   5 hosts = 2 ready + 1 draining + 1 agent disconnected + 1 not ready   "
        "x86_64 4 · arm64 1   linux 4 · OS unknown 1"
    )
    assert "1 host is disconnected" in found(report, "agent-disconnected").sentence
    assert "i-3" in found(report, "agent-disconnected").sentence
    assert "REGISTRATION_FAILED 1" in found(report, "not-ready").sentence
    assert "1 older record of 1 machine" in found(report, "superseded-records").sentence
    assert "--force" not in found(report, "superseded-records").next_step


def test_agents_before_the_first_that_tells_health_are_noted() -> None:
    hosts = (
        machine(1, agent_version="1.56.9"),
        machine(2, agent_version="1.57.0"),
        machine(3, agent_version="1.100.0"),
        machine(4, agent_version=""),
    )
    finding = found(judge(facts(cluster(surveyed(hosts=hosts)))), "old-agents")
    assert finding.level is Level.NOTE
    assert "1 host with" in finding.sentence
    assert "i-1" in finding.sentence


def test_a_cluster_that_cannot_be_read_is_a_problem() -> None:
    trouble = Trouble(action="ecs:DescribeClusters", sentence="There is no cluster nix")
    report = judge(facts(ClusterFacts(name="nix", trouble=trouble)))
    assert "There is no cluster nix" in found(report, "cluster-unreadable").sentence
    assert report.exit_code == 1


# --- Permissions ----------------------------------------------------------------------------------


def test_a_denied_read_is_a_problem_with_the_statement_that_is_missing() -> None:
    permissions = (
        *said(Verdict.ALLOWED, *(a for a in READS if a != "ecs:DescribeTasks"), *ACTS),
        Permission(action="ecs:DescribeTasks", verdict=Verdict.DENIED, how=How.TRIED),
    )
    unread = Unread(operation="DescribeTasks", sentence="denied", denied=True)
    report = judge(facts(cluster(surveyed(unread=(unread,)), *permissions)))
    assert codes(report, Level.PROBLEM) == ["reads-denied"]
    assert found(report, "reads-denied").statements == (
        {
            "Sid": "Tasks",
            "Effect": "Allow",
            "Action": "ecs:DescribeTasks",
            "Resource": f"{PREFIX}:task/demo/*",
            "Condition": {"ArnEquals": {"ecs:cluster": CLUSTER}},
        },
    )


def test_a_read_that_failed_otherwise_is_a_problem_of_its_own() -> None:
    unread = Unread(operation="DescribeTasks", sentence="DescribeTasks got no answer", items=7)
    report = judge(facts(cluster(surveyed(unread=(unread,)))))
    assert "(7 not known therefore)" in found(report, "reads-failed").sentence


def test_what_only_the_audit_needs_is_a_note() -> None:
    permissions = (*ALLOWED, *said(Verdict.DENIED, "ecs:ListServices"))
    report = judge(facts(cluster(None, *permissions)))
    assert codes(report, Level.PROBLEM) == []
    assert found(report, "audit-denied").statements[0]["Action"] == "ecs:ListServices"


def test_a_role_that_may_not_act_at_all_can_observe() -> None:
    reads = said(Verdict.ALLOWED, *READS)
    permissions = (*reads, *said(Verdict.DENIED, *ACTS, detail="no statement allows it"))
    finding = found(judge(facts(cluster(None, *permissions))), "observe-only")
    assert finding.level is Level.NOTE
    assert [s["Sid"] for s in finding.statements] == ["Start", "Tasks"]


def test_for_a_state_service_only_what_it_reads_matters() -> None:
    reads = tuple(grant.action for grant in grants_for(Part.STATE))
    unneeded = tuple(action for action in READS if action not in reads)
    assert unneeded
    allowed = (*said(Verdict.ALLOWED, *reads), *said(Verdict.DENIED, *unneeded, *ACTS))
    report = judge(facts(cluster(None, *allowed), state_service=True))
    assert codes(report, Level.PROBLEM) == []
    assert not {finding.subject for finding in report.findings} & {"writes", "dates", "real ECS"}
    assert codes(judge(facts(cluster(None, *allowed))), Level.PROBLEM) == ["reads-denied"]
    denied = (*said(Verdict.DENIED, "ecs:ListTasks"), *said(Verdict.ALLOWED, "ecs:DescribeTasks"))
    report = judge(facts(cluster(None, *denied), state_service=True))
    assert "ecs:ListTasks" in found(report, "reads-denied").sentence


def test_a_role_that_may_do_half_is_a_problem() -> None:
    permissions = (
        *said(Verdict.ALLOWED, *READS, "ecs:StopTask"),
        *said(Verdict.DENIED, "ecs:StartTask"),
    )
    assert found(judge(facts(cluster(None, *permissions))), "writes-denied").level is Level.PROBLEM


def test_a_principal_that_was_named_must_be_able_to_act() -> None:
    permissions = (*said(Verdict.ALLOWED, *READS), *said(Verdict.DENIED, *ACTS))
    named = facts(
        cluster(None, *permissions), principal_given=True, principal="arn:aws:iam::1:role/b"
    )
    assert found(judge(named), "writes-denied").level is Level.PROBLEM


def test_a_start_that_is_allowed_for_some_families_names_the_others() -> None:
    denied_on = (f"{PREFIX}:task-definition/falcon:3",)
    permissions = (
        *said(Verdict.ALLOWED, *READS, "ecs:StopTask"),
        *said(
            Verdict.PARTLY, "ecs:StartTask", detail="no statement allows it", denied_on=denied_on
        ),
    )
    finding = found(judge(facts(cluster(None, *permissions))), "writes-denied")
    assert "ecs:StartTask (no statement allows it, for falcon:3)" in finding.sentence
    assert finding.statements[0]["Resource"] == f"{PREFIX}:task-definition/falcon:*"


def test_what_nobody_could_tell_is_learned_from_the_first_call() -> None:
    permissions = (*said(Verdict.ALLOWED, *READS), *said(Verdict.UNKNOWN, *ACTS))
    finding = found(judge(facts(cluster(None, *permissions))), "writes-not-known")
    assert finding.level is Level.NOTE
    assert "learned from the first call" in finding.sentence
    assert "--try-writes" in finding.next_step


def test_marks_on_hosts_matter_only_to_who_may_act() -> None:
    marks = ("ecs:PutAttributes", "ecs:DeleteAttributes")
    report = judge(facts(cluster(None, *ALLOWED, *said(Verdict.DENIED, *marks))))
    assert found(report, "migrate-denied").statements[0]["Action"] == list(marks)
    observer = (*said(Verdict.ALLOWED, *READS), *said(Verdict.DENIED, *ACTS, *marks))
    assert "migrate-denied" not in codes(judge(facts(cluster(None, *observer))), Level.NOTE)


# --- Capacity providers ---------------------------------------------------------------------------


def provider(name: str = "spot", **group: Any) -> CapacityProviderDocument:
    return CapacityProviderDocument(
        name=name, auto_scaling_group_provider=AutoScalingGroupProvider(**group)
    )


def test_managed_scaling_is_a_problem_with_options() -> None:
    hosts = (machine(1, capacity_provider="spot"), machine(2))
    group = provider(managed_scaling=ManagedScaling(status="ENABLED"))
    finding = found(
        judge(facts(cluster(surveyed(hosts=hosts, providers=(group,))))), "managed-scaling"
    )
    assert finding.level is Level.PROBLEM
    assert "1 of 2 hosts" in finding.sentence
    for option in ("whenIdle", "DAEMON service", "--accept-no-scale-in"):
        assert option in finding.next_step


def test_termination_protection_is_a_problem_and_managed_draining_is_not() -> None:
    group = provider(managed_termination_protection="ENABLED", managed_draining="ENABLED")
    report = judge(facts(cluster(surveyed(providers=(group,)))))
    assert codes(report, Level.PROBLEM) == ["termination-protection"]
    assert found(report, "managed-draining").level is Level.OK


def test_providers_that_do_none_of_this_are_not_mentioned() -> None:
    group = provider(
        managed_scaling=ManagedScaling(status="DISABLED"),
        managed_termination_protection="DISABLED",
        managed_draining="DISABLED",
    )
    fargate = CapacityProviderDocument(name="FARGATE")
    report = judge(facts(cluster(surveyed(providers=(fargate, group)))))
    assert codes(report, Level.PROBLEM) == []
    assert not any("FARGATE" in f.sentence or "spot" in f.sentence for f in report.findings)


def test_a_provider_without_a_group_is_an_open_question() -> None:
    managed = CapacityProviderDocument(name="managed")
    report = judge(facts(cluster(surveyed(providers=(managed,)))))
    assert found(report, "not-auto-scaling").level is Level.NOTE


def test_providers_that_may_not_be_read_are_told() -> None:
    document = ClusterDocument(
        cluster_arn=CLUSTER, cluster_name="demo", capacity_providers=("spot",)
    )
    unread = Unread(operation="DescribeCapacityProviders", sentence="denied", denied=True)
    report = judge(facts(cluster(surveyed(cluster=document, unread=(unread,)))))
    statement = found(report, "providers-not-known").statements[0]
    assert statement["Action"] == "ecs:DescribeCapacityProviders"


# --- The queue ------------------------------------------------------------------------------------


def rule(**more: Any) -> RuleFacts:
    given: dict[str, Any] = {
        "name": "blox",
        "arn": RULE,
        "enabled": True,
        "pattern": '{"source": ["aws.ecs"]}',
        "target": TargetFacts(dead_letters=f"{QUEUE}-undelivered"),
    }
    return RuleFacts(**{**given, **more})


def queue(**more: Any) -> QueueFacts:
    given: dict[str, Any] = {
        "name": "events",
        "url": "https://sqs.us-east-1.amazonaws.com/1/events",
        "arn": QUEUE,
        "waiting": 0,
        "policy": POLICY,
        "redrive_to": f"{QUEUE}-dead",
        "redrive_after": 10,
        "dead": 0,
        "rules": (rule(),),
    }
    return QueueFacts(**{**given, **more})


def with_queue(**more: Any) -> Report:
    return judge(facts(queue_asked="events", queue=queue(**more)))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"waiting": 1000}, "queue-behind"),
        ({"dead": 3}, "dead-letters"),
        ({"rules": ()}, "no-rule"),
        ({"rules": (rule(enabled=False),)}, "rule-disabled"),
        ({"rules": (rule(target=TargetFacts(transformed=True)),)}, "rule-transforms"),
        ({"rules": (rule(pattern='{"source": ["aws.ec2"]}'),)}, "rule-narrow"),
        ({"policy": ""}, "queue-closed"),
    ],
)
def test_what_keeps_events_from_coming_is_a_problem(more: dict[str, Any], code: str) -> None:
    report = with_queue(**more)
    assert codes(report, Level.PROBLEM) == [code]
    assert found(report, code).next_step


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"redrive_to": ""}, "no-dead-letters"),
        ({"fifo": True}, "queue-fifo"),
        ({"dead": Trouble(action="sqs:GetQueueUrl", sentence="denied")}, "dead-letters-not-known"),
        ({"rules": Trouble(action="events:ListRuleNamesByTarget", sentence="denied", denied=True)},
         "rules-not-known"),
        ({"rules": (rule(trouble=Trouble(action="events:DescribeRule", sentence="denied")),)},
         "rule-not-known"),
        ({"rules": (rule(target=Trouble(action="events:ListTargetsByRule", sentence="no")),)},
         "target-not-known"),
        ({"rules": (rule(target=TargetFacts()),)}, "rule-no-dead-letters"),
        ({"rules": (rule(pattern='{"detail": {"lastStatus": ["STOPPED"]}}'),)}, "rule-unclear"),
        ({"policy": "nonsense"}, "queue-policy-not-understood"),
        ({"permissions": said(Verdict.DENIED, "sqs:ReceiveMessage")}, "queue-denied"),
    ],
)  # fmt: skip
def test_what_is_not_known_or_not_best_is_a_note(more: dict[str, Any], code: str) -> None:
    report = with_queue(**more)
    assert codes(report, Level.PROBLEM) == []
    assert found(report, code).level is Level.NOTE


def test_a_rule_with_a_role_of_its_own_needs_no_policy() -> None:
    own = rule(target=TargetFacts(role="arn:aws:iam::1:role/events", dead_letters="arn:x"))
    assert codes(with_queue(policy="", rules=(own,)), Level.PROBLEM) == []


def test_two_rules_together_may_let_both_kinds_through() -> None:
    kinds = ("ECS Task State Change", "ECS Container Instance State Change")
    rules = tuple(
        rule(name=f"r{n}", pattern=f'{{"detail-type": ["{k}"]}}') for n, k in enumerate(kinds)
    )
    assert found(with_queue(rules=rules), "rule").sentence == (
        "r0, r1 send both kinds of events of demo"
    )
    narrow = found(with_queue(rules=rules[:1]), "rule-narrow")
    assert "ECS Container Instance State Change of demo" in narrow.sentence
    assert narrow.cluster == "demo"


def test_a_rule_that_cannot_be_read_may_be_the_right_one() -> None:
    hidden = rule(name="hidden", trouble=Trouble(action="events:DescribeRule", sentence="no"))
    other = rule(pattern='{"source": ["aws.ec2"]}')
    assert codes(with_queue(rules=(other, hidden)), Level.PROBLEM) == []


def test_messages_that_wait_are_told_with_what_sqs_does_not_tell() -> None:
    finding = found(with_queue(waiting=12, in_flight=3), "queue")
    assert "about 12 messages waiting, 3 being read" in finding.sentence
    assert "ApproximateAgeOfOldestMessage" in finding.sentence


def test_a_queue_that_is_not_there_is_a_problem_and_none_is_a_note() -> None:
    gone = Trouble(action="sqs:GetQueueUrl", sentence="gone", code="QueueDoesNotExist")
    assert found(judge(facts(queue_asked="x", queue=gone)), "queue-absent").level is Level.PROBLEM
    denied = Trouble(action="sqs:GetQueueUrl", sentence="denied", denied=True)
    finding = found(judge(facts(queue_asked="x", queue=denied)), "queue-unreadable")
    assert finding.statements[0]["Resource"] == f"arn:aws:sqs:us-east-1:{ACCOUNT}:x"
    assert found(judge(facts()), "no-queue").level is Level.NOTE


# --- Load -----------------------------------------------------------------------------------------


def crowd(hosts: int, running: int, stopped: int = 0) -> Survey:
    tasks = [
        SurveyedTask(task=Task(arn=task_arn(n), cluster_arn=CLUSTER, desired_status=status))
        for n, status in enumerate(["RUNNING"] * running + ["STOPPED"] * stopped)
    ]
    return surveyed(hosts=tuple(machine(n) for n in range(hosts)), tasks=tuple(tasks))


@pytest.mark.parametrize(
    ("survey", "calls"),
    [(crowd(0, 0), 4), (crowd(3, 3), 6), (crowd(100, 100), 6), (crowd(101, 250, 50), 12)],
)
def test_a_sweep_lists_in_pages_and_describes_in_batches(survey: Survey, calls: int) -> None:
    assert sweep_calls(survey) == calls


def test_a_cluster_that_was_not_read_has_no_known_load() -> None:
    unread = Unread(operation="ListTasks", sentence="denied", denied=True)
    assert sweep_calls(surveyed(unread=(unread,))) == 0
    view, pacing = ViewSettings(), PacingSettings()
    assert load_of([surveyed(unread=(unread,))], queue=True, view=view, pacing=pacing) is None


def test_sweeps_are_counted_by_the_day_and_as_a_share_of_the_quota() -> None:
    view, pacing = ViewSettings(), PacingSettings()
    calm = load_of([crowd(3, 3)], queue=True, view=view, pacing=pacing)
    assert calm is not None
    assert (calm.calls, calm.interval, calm.a_day) == (6, 60.0, 8640)
    assert calm.share == pytest.approx(5 / 60 / 20)
    often = load_of([crowd(3, 3)], queue=False, view=view, pacing=pacing)
    assert often is not None
    assert (often.interval, often.a_day) == (20.0, 25_920)
    large = load_of([crowd(5000, 20_000)], queue=False, view=view, pacing=pacing)
    assert large is not None
    assert large.interval == large.calls
    assert large.share < pacing.read_rate_without_queue / 20


def test_the_load_is_reckoned_with_what_the_scheduler_does() -> None:
    assert doctor_load.RECEIVES == ingest.RECEIVES
    assert doctor_load.WAIT == sqs.WAIT
    assert doctor_load.PAGE == sweep.PAGE
    assert PUBLISHED[Category.RESOURCE_READ][1] == doctor_load.QUOTA


def test_waiting_at_the_queue_is_counted_and_priced() -> None:
    assert idle_requests() == 4 * 86_400 // 20 * 30 == 518_400
    assert price_of(518_400) == 0.0
    assert price_of(3_500_000) == pytest.approx(1.0)
    sentence = found(with_queue(), "sqs-requests").sentence
    assert "about 518,400 requests" in sentence
    assert "https://aws.amazon.com/sqs/pricing/" in sentence
