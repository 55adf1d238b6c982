"""`blox doctor` as a person types it, against a simulated account, over the wire.

Ids and addresses, which differ from run to run, are masked.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pytest

from blox.app.reads import READS
from blox.simulator.cloud import Cloud
from blox.simulator.known import OPERATIONS
from blox.simulator.server import SimulatedAws, serving
from support.processes import free_port, run

T = TypeVar("T")
Ended = Any
Prepare = Callable[[Cloud, float], None]

ROLE: Final = "arn:aws:iam::111122223333:role/team/blox-scheduler"
_MASKS: Final = (
    (r"\bi-[0-9a-f]{17}\b", "«host»"),
    (r"\b[0-9a-f]{32}\b", "«id»"),
    (r"http://127\.0\.0\.1:\d+", "«url»"),
    (r"about \d+ messages?", "about «n» messages"),
)


def nothing(_cloud: Cloud, _now: float) -> None:
    """The account as it is made."""


def on_an_account(
    work: Callable[[SimulatedAws], T],
    prepare: Prepare = nothing,
    *,
    hosts: int = 3,
    role: str = "sre-readonly",
    ahead: float = 0.0,
) -> T:
    """Serve an account with the cluster `demo`, the definition `agent:1`, which hands its tasks a
    role, and the queue `events`; run `work` in a thread beside it."""

    async def serve() -> T:
        cloud = Cloud("doctor")
        now = time.time() + ahead - 1.0
        cloud.add_cluster("demo", now=now)
        cloud.call("RegisterTaskDefinition", AGENT, now=now)
        for _ in range(hosts):
            cloud.add_host("demo", now=now)
        prepare(cloud, now)
        async with serving(cloud, queues=["events"], role=role, ahead=ahead) as server:
            server.pump()
            return await asyncio.to_thread(work, server)

    return asyncio.run(serve())


AGENT: Final[dict[str, object]] = {
    "family": "agent",
    "taskRoleArn": "arn:aws:iam::111122223333:role/agent",
    "containerDefinitions": [{"name": "agent", "image": "agent:1", "cpu": 16, "memory": 32}],
}


def doctor(server: SimulatedAws, *words: str, **changed: str) -> Ended:
    """`blox doctor WORDS…` in the standard AWS environment."""
    given = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "sre",
        "AWS_SECRET_ACCESS_KEY": "secret",
        **changed,
    }
    return run([sys.executable, "-m", "blox.cli.main", "doctor", *words], environment=given)


def lines(ended: Ended) -> list[str]:
    """What it printed, masked, each run of spaces as two; without statements of policies."""
    assert ended.stderr == ""
    text = ended.stdout
    for pattern, shown in _MASKS:
        text = re.sub(pattern, shown, text)
    found = [re.sub(r" {2,}", "  ", line) for line in text.splitlines()]
    return [line for line in found if not line.startswith("  ")]


def of(ended: Ended, subject: str) -> list[str]:
    """The lines about one subject."""
    return [line for line in lines(ended) if line.startswith(f"{subject} ")]


def parsed(ended: Ended) -> Any:
    assert ended.stderr == ""
    return json.loads(ended.stdout)


def codes(ended: Ended, level: str) -> list[str]:
    return [f["code"] for f in parsed(ended)["findings"] if f["level"] == level]


def denying(*actions: str) -> Prepare:
    def prepare(cloud: Cloud, now: float) -> None:
        running(cloud, now)
        for action in actions:
            cloud.deny(action)

    return prepare


def running(cloud: Cloud, now: float) -> None:
    """The agent runs on every host, started by hand."""
    for host in list(cloud.hosts):
        cloud.start_foreign("demo", host, "agent", now=now)


# --- A whole screen -------------------------------------------------------------------------------


def mixed(cloud: Cloud, now: float) -> None:
    running(cloud, now)
    first, second, third = list(cloud.hosts)[:3]
    cloud.drain_host(first, now=now)
    cloud.disconnect_agent(second, now=now)
    cloud.duplicate_host(third, now=now)
    cloud.add_provider("spot", cluster="demo", managed_scaling=True, now=now)
    cloud.add_host("demo", now=now, provider="spot", arch="arm64")


def test_it_tells_who_what_and_what_is_in_the_way() -> None:
    ended = on_an_account(
        lambda server: doctor(server, "--cluster", "demo", "--queue", "events"), mixed, hosts=5
    )
    found = lines(ended)
    assert found[:7] == [
        "account  ok  111122223333  region us-east-1  as role/sre-readonly",
        "endpoint  note  not AWS's own: ecs, sqs, kinesis, sts, events, iam at «url» "
        "(AWS_ENDPOINT_URL)  -> what follows holds for what answers there",
        "clock  ok  this machine's and ECS's agree to within 5 s",
        "dates  ok  ECS refused a read that was signed 310 s ago",
        "cluster  ok  demo  6 hosts = 4 ready + 1 draining + 1 agent disconnected  "
        "x86_64 5 · arm64 1  linux 6",
        "hosts  note  the agent of 1 host is disconnected, ECS does not tell since when: «host». "
        "Nothing can be started there  -> look again in a minute; where the machine is gone: aws "
        "ecs deregister-container-instance --cluster demo --container-instance «id» --force",
        "records  note  beside the hosts above: 1 older record of 1 machine that registered again: "
        "«host». blox counts a machine once  -> aws ecs deregister-container-instance --cluster "
        "demo --container-instance «id»",
    ]
    assert found[7].startswith("reads  ok  allowed; ")
    assert found[8] == (
        "writes  ok  allowed: ecs:StartTask (asked of IAM), ecs:StopTask (asked of IAM), "
        "iam:PassRole (asked of IAM)"
    )
    assert found[9].startswith(
        "scale-in  PROBLEM  capacity provider spot has managed scaling ON. Tasks started by blox "
        "keep its hosts from scaling in: 1 of 6 hosts  -> one of: whenIdle"
    )
    assert of(ended, "rule")[-1] == ("rule  ok  blox-ecs-events sends both kinds of events of demo")
    assert of(ended, "queue")[0].startswith("queue  ok  events: about «n» messages waiting")
    assert of(ended, "real ECS")[0].startswith("real ECS  note  0 of ")
    assert found[-1].startswith("exit 1 (1 problem, ")
    assert ended.returncode == 1


def test_without_a_cluster_it_looks_at_all_and_tells_what_is_shared_once() -> None:
    def two(cloud: Cloud, now: float) -> None:
        cloud.add_cluster("other", now=now)

    ended = on_an_account(doctor, two)
    assert [line.split("  ")[2] for line in of(ended, "cluster")] == ["demo", "other"]
    assert len(of(ended, "account")) == len(of(ended, "queue")) == len(of(ended, "calls")) == 1
    assert "these 2 clusters" in of(ended, "calls")[0]
    assert ended.returncode == 0


def test_json_is_the_same_for_programs() -> None:
    ended = on_an_account(lambda s: doctor(s, "--queue", "events", "--json"), running)
    found = parsed(ended)
    assert found["account"] == "111122223333"
    assert found["caller"].startswith("arn:aws:sts::111122223333:assumed-role/sre-readonly/")
    assert found["principal"] == "arn:aws:iam::111122223333:role/sre-readonly"
    assert found["problems"] == ended.returncode == 0
    cluster = found["clusters"][0]
    assert (cluster["name"], cluster["hosts"], cluster["states"]) == ("demo", 3, {"ready": 3})
    verdicts = {p["action"]: (p["verdict"], p["how"]) for p in cluster["permissions"]}
    assert verdicts["ecs:ListTasks"] == ("allowed", "tried")
    assert verdicts["ecs:StartTask"] == ("allowed", "asked of IAM")
    assert found["queue"]["rules"] == [{"name": "blox-ecs-events", "enabled": True}]


# --- It only reads --------------------------------------------------------------------------------


def test_it_needs_reads_alone_and_changes_nothing() -> None:
    def reads_only(cloud: Cloud, now: float) -> None:
        running(cloud, now)
        for operation in sorted(set(OPERATIONS["ecs"]) - READS - {"ListClusters"}):
            cloud.deny(operation)
        for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"):
            cloud.deny(action)

    def work(server: SimulatedAws) -> tuple[Ended, int, int]:
        before = len(server.cloud.log)
        return doctor(server, "--queue", "events", "--json"), before, len(server.cloud.log)

    ended, before, after = on_an_account(work, reads_only)
    assert codes(ended, "PROBLEM") == []
    assert "observe-only" in codes(ended, "note")
    assert after == before


def test_trying_writes_reaches_nothing_and_tells_what_is_allowed() -> None:
    def work(server: SimulatedAws) -> tuple[Ended, list[Any], int]:
        logged, tasks = len(server.cloud.log), len(server.cloud.tasks)
        ended = doctor(server, "--cluster", "demo", "--try-writes")
        return ended, server.cloud.log[logged:], len(server.cloud.tasks) - tasks

    ended, acts, more = on_an_account(work, denying("iam:SimulatePrincipalPolicy"))
    assert [act.operation for act in acts] == [
        "StopTask",
        "PutAttributes",
        "DeleteAttributes",
        "StartTask",
    ]
    assert more == 0
    assert of(ended, "writes") == [
        "writes  ok  allowed: ecs:StartTask (tried on nothing), ecs:StopTask (ECS answered "
        "InvalidParameterException), iam:PassRole (ECS let a start with the roles of agent:1 "
        "through)"
    ]


@pytest.mark.parametrize(
    ("denied", "level", "words"),
    [
        (("StopTask",), "PROBLEM", "not allowed: ecs:StopTask (no identity-based policy"),
        (("StartTask", "StopTask"), "note", ". Observe only  -> daemon-scheduler --observe"),
        (("iam:PassRole",), "PROBLEM", "not allowed: iam:PassRole (no identity-based policy"),
    ],
)
def test_what_is_denied_is_found_by_trying_too(
    denied: tuple[str, ...], level: str, words: str
) -> None:
    ended = on_an_account(
        lambda s: doctor(s, "--cluster", "demo", "--try-writes"),
        denying("iam:SimulatePrincipalPolicy", *denied),
    )
    (line,) = of(ended, "writes")
    assert line.startswith(f"writes  {level}  ")
    assert words in line


# --- Denials --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denied", "code", "level"),
    [
        ("DescribeTasks", "reads-denied", "PROBLEM"),
        ("ListServices", "audit-denied", "note"),
        ("DescribeCapacityProviders", "reads-denied", "PROBLEM"),
        ("StartTask", "writes-denied", "PROBLEM"),
        ("PutAttributes", "migrate-denied", "note"),
        ("iam:SimulatePrincipalPolicy", "iam-not-asked", "note"),
        ("sqs:GetQueueUrl", "queue-unreadable", "PROBLEM"),
        ("sqs:GetQueueAttributes", "queue-not-known", "note"),
        ("sqs:ReceiveMessage", "queue-denied", "note"),
        ("events:ListRuleNamesByTarget", "rules-not-known", "note"),
        ("events:DescribeRule", "rule-not-known", "note"),
        ("events:ListTargetsByRule", "target-not-known", "note"),
    ],
)
def test_each_denial_is_a_finding_with_the_statement_that_is_missing(
    denied: str, code: str, level: str
) -> None:
    ended = on_an_account(
        lambda s: doctor(s, "--cluster", "demo", "--queue", "events", "--json"), denying(denied)
    )
    assert code in codes(ended, level)
    if code == "queue-not-known":
        return
    (finding,) = [f for f in parsed(ended)["findings"] if f["code"] == code]
    action = denied if ":" in denied else f"ecs:{denied}"
    assert [s["Action"] for s in finding["statements"]] == [action]


def test_a_role_that_may_nothing_is_told_all_of_it() -> None:
    ended = on_an_account(
        lambda s: doctor(s, "--cluster", "demo", "--queue", "events", "--json"),
        denying("ecs:*", "sqs:*", "events:*", "iam:*"),
    )
    assert codes(ended, "PROBLEM") == ["reads-denied", "queue-unreadable"]
    assert ended.returncode == 2
    assert parsed(ended)["account"] == "111122223333"


def test_clusters_that_may_not_be_listed_are_a_problem() -> None:
    ended = on_an_account(lambda s: doctor(s, "--json"), denying("ListClusters"))
    assert codes(ended, "PROBLEM") == ["clusters-not-listed"]


# --- Other ways to ask ----------------------------------------------------------------------------


def test_another_principal_is_judged_by_iam_alone() -> None:
    ended = on_an_account(
        lambda s: doctor(s, "--cluster", "demo", "--principal", ROLE),
        denying("StartTask", "StopTask"),
    )
    assert of(ended, "reads")[0].startswith("reads  ok  IAM allows them to blox-scheduler; ")
    assert of(ended, "writes")[0].startswith("writes  PROBLEM  not allowed: ecs:StartTask")
    assert ended.returncode == 1


def test_a_clock_that_is_minutes_off_is_a_problem_and_no_obstacle() -> None:
    ended = on_an_account(lambda s: doctor(s, "--queue", "events"), running, ahead=420.0)
    (line,) = of(ended, "clock")
    assert re.match(r"clock  PROBLEM  this machine's is 4(19|20) s behind ECS's\. ", line)
    assert ended.returncode == 1
    assert of(ended, "account") == [
        "account  ok  111122223333  region us-east-1  as role/sre-readonly"
    ]


def test_aws_own_services_are_not_asked_about_somebody_elses_ecs() -> None:
    def work(server: SimulatedAws) -> Ended:
        changed = {"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_ECS": server.url}
        return doctor(server, "--cluster", "demo", "--json", **changed)

    ended = on_an_account(work, running)
    assert {"caller-not-known", "iam-not-asked", "writes-not-known"} <= set(codes(ended, "note"))
    assert parsed(ended)["account"] == "111122223333"
    assert ended.returncode == 0


# --- What is not there ----------------------------------------------------------------------------


def test_what_is_mistyped_is_a_problem_that_is_told() -> None:
    def work(server: SimulatedAws) -> tuple[Ended, Ended, Ended]:
        return (
            doctor(server, "--cluster", "nix"),
            doctor(server, "--cluster", "demo", "--queue", "nix"),
            doctor(server, "--cluster", "demo", "--family", "nix"),
        )

    cluster, queue, family = on_an_account(work, running)
    assert of(cluster, "cluster")[0].startswith("cluster  PROBLEM  nix could not be read: There is")
    assert of(queue, "queue")[0].startswith("queue  PROBLEM  there is no nix in this region")
    assert of(family, "blox")[0].startswith("blox  PROBLEM  ECS knows no task definition nix")
    assert [cluster.returncode, queue.returncode, family.returncode] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"AWS_REGION": ""}, "No AWS region is named"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials were found"),
        ({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, "Cannot connect"),
    ],
)
def test_what_keeps_it_from_looking_is_one_problem(changed: dict[str, str], words: str) -> None:
    ended = on_an_account(lambda server: doctor(server, **changed))
    assert words in ended.stdout
    assert ended.returncode == 1
    assert ended.stdout.count("PROBLEM") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--principal", "blox-scheduler"),
        ("--principal", ROLE, "--try-writes"),
        ("--cluster", "a b"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    ended = run(
        [sys.executable, "-m", "blox.cli.main", "doctor", *arguments],
        environment={"AWS_REGION": "us-east-1", "HOME": os.devnull},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("blox: --")
