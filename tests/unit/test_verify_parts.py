"""The parts of `blox verify-aws` that need no ECS: reports, the choice of hosts, definitions."""

import msgspec
import pytest

from blox.account.verify.definitions import (
    FAMILY,
    LABEL,
    NOWHERE,
    PREFIX,
    Variant,
    registration,
    run_of,
)
from blox.account.verify.hosts import Host, Kind, choose, host_of
from blox.account.verify.lab import Orders
from blox.account.verify.report import (
    Answered,
    CallRecord,
    CleanUp,
    Outcome,
    Report,
    in_order,
    judged,
    mask,
    not_asked,
    rendered,
)
from blox.account.verify.verification import chosen
from blox.base.errors import InvalidInput
from blox.ecs.wire import HostsAnswer, decode

ACCOUNT = "111122223333"
CLUSTER = f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/sandbox"


def report(**more: object) -> Report:
    answers = (
        Answered(finding=judged("group-prefix", "accepted", same=True)),
        Answered(
            finding=judged("same-host-twice", f"2 started: {CLUSTER}", same=False),
            calls=(CallRecord(operation="StartTask", status=200, request_id="r-1"),),
        ),
        Answered(finding=not_asked("agent-disconnect", "it would take a death")),
    )
    return Report(
        blox="1.0.0",
        run="r",
        cluster=CLUSTER,
        region="eu-west-1",
        account=ACCOUNT,
        answers=answers,
        **more,  # type: ignore[arg-type]
    )


# --- The report -----------------------------------------------------------------------------------


def test_outcomes_add_up_to_the_answers() -> None:
    assert report().totals == {
        Outcome.AS_ASSUMED: 1,
        Outcome.DIFFERS: 1,
        Outcome.NOT_ASKED: 1,
    }
    whole = rendered(report(), full=True)
    assert whole["totals"] == {"questions": 3, "asAssumed": 1, "differ": 1, "notAsked": 1}


def test_the_account_shows_its_last_four_digits_everywhere() -> None:
    text = msgspec.json.encode(rendered(report(caller=f"{ACCOUNT}:me"), full=False)).decode()
    assert ACCOUNT not in text
    assert text.count("********3333") == 4
    assert ACCOUNT in msgspec.json.encode(rendered(report(), full=True)).decode()
    assert mask("nothing to hide", "") == "nothing to hide"


def test_an_answer_stands_beside_its_question_and_assumption() -> None:
    answers = rendered(report(), full=True)["answers"]
    assert isinstance(answers, list)
    twice = answers[1]
    assert (twice["id"], twice["number"]) == ("same-host-twice", "4a")
    assert twice["outcome"] == "differs"
    assert twice["assumed"] == "it starts one task"
    assert twice["parameter"] == "Switches.repeated_host"
    assert twice["calls"][0]["requestId"] == "r-1"


def test_answers_come_in_the_order_of_the_table() -> None:
    names = [answer.finding.question for answer in in_order(report().answers)]
    assert names == ["same-host-twice", "agent-disconnect", "group-prefix"]


def test_a_clean_up_is_done_when_nothing_is_left_and_nothing_went_wrong() -> None:
    assert CleanUp(tasks_stopped=1).done
    assert not CleanUp(left=("task 1",)).done
    assert not CleanUp(problems=("denied",)).done
    assert CleanUp(tasks_stopped=1, hosts_activated=2).sentence == (
        "1 task stopped, 0 task definitions deregistered, 2 hosts set back to ACTIVE"
    )


# --- Which questions ------------------------------------------------------------------------------


def test_questions_are_named_by_id_or_number() -> None:
    experiments, names = chosen(["14", "list-tokens", "14"])
    assert names == ["signature-age", "list-tokens"]
    assert [one.questions for one in experiments] == [("signature-age",), ("list-tokens",)]
    with pytest.raises(InvalidInput, match=r"'99' is no question. They are: 1 start-on-draining"):
        chosen(["99"])


def test_started_by_is_as_long_as_ecs_allows() -> None:
    assert len(Orders(run="20261122-0123abcd", hosts=()).started_by) <= 36
    assert Orders(run="r", hosts=()).started_by == f"{PREFIX}r"


# --- Hosts ----------------------------------------------------------------------------------------


def host(name: str, **more: object) -> Host:
    plain: dict[str, object] = {
        "arn": f"arn:aws:ecs:eu-west-1:{ACCOUNT}:container-instance/sandbox/{name}-id",
        "name": name,
        "kind": Kind.EC2,
        "status": "ACTIVE",
        "connected": True,
        "os": "linux",
        "version": 1,
        "running": 0,
        "cpu": 1024,
        "memory": 1024,
        "taken": frozenset[str](),
        "marks": (),
        "provider": "",
    }
    return Host(**{**plain, **more})  # type: ignore[arg-type]


def names(*hosts: Host, named: tuple[str, ...] = ()) -> list[str]:
    return [one.name for one in choose(hosts, named)]


def test_the_two_least_busy_hosts_are_taken() -> None:
    assert names(host("a", running=5), host("b"), host("c", running=1)) == ["b", "c"]
    assert names(host("a")) == ["a"]


def test_two_kinds_are_better_than_one_and_ec2_comes_first() -> None:
    far = host("m", kind=Kind.EXTERNAL, running=9)
    managed = host("n", kind=Kind.MANAGED)
    assert names(host("a"), host("b"), far) == ["a", "m"]
    assert names(far, managed) == ["n", "m"]
    assert names(far, host("a"), named=("m", "a")) == ["a", "m"]


def test_a_host_is_named_by_instance_id_id_or_arn() -> None:
    one, two = host("a"), host("b")
    assert names(one, two, named=("b",)) == ["b"]
    assert names(one, two, named=("b-id", two.arn)) == ["b"]


@pytest.mark.parametrize(
    ("unfit", "why"),
    [
        ({"status": "DRAINING"}, "it is DRAINING"),
        ({"connected": False}, "its agent is disconnected"),
        ({"os": "windows"}, "it runs windows"),
        ({"cpu": 95}, "it has 95 CPU units and 1024 MiB free; 96 and 96 are needed"),
        ({"memory": 95}, "it has 1024 CPU units and 95 MiB free"),
    ],
)
def test_a_host_that_cannot_be_used_is_passed_over_and_refused_by_name(
    unfit: dict[str, object], why: str
) -> None:
    bad, good = host("bad", **unfit), host("good")
    assert names(bad, good) == ["good"]
    with pytest.raises(InvalidInput, match=f"bad cannot be used: .*{why}"):
        choose([bad, good], ("bad",))
    with pytest.raises(InvalidInput, match="No host of the cluster can be used: bad: "):
        choose([bad], ())


def test_names_that_fit_no_host_several_or_too_many_are_refused() -> None:
    with pytest.raises(InvalidInput, match="No host of the cluster is called x"):
        choose([host("a")], ("x",))
    twins = [host("a", arn="arn:one/1"), host("a", arn="arn:two/2")]
    with pytest.raises(InvalidInput, match="a stands for 2 container instances"):
        choose(twins, ("a",))
    with pytest.raises(InvalidInput, match="3 hosts are named; 2 at most are used"):
        choose([host("a"), host("b"), host("c")], ("a", "b", "c"))
    with pytest.raises(InvalidInput, match="The cluster has no hosts"):
        choose([], ())


def test_a_host_is_read_from_what_ecs_shows() -> None:
    body = {
        "containerInstances": [
            {
                "containerInstanceArn": "arn:h/1",
                "ec2InstanceId": "i-1",
                "status": "ACTIVE",
                "agentConnected": True,
                "version": 7,
                "runningTasksCount": 2,
                "pendingTasksCount": 1,
                "capacityProviderName": "mine",
                "attributes": [
                    {"name": "ecs.os-type", "value": "linux"},
                    {"name": "blox-verify", "value": "r"},
                ],
                "remainingResources": [
                    {"name": "CPU", "type": "INTEGER", "integerValue": 512},
                    {"name": "MEMORY", "type": "INTEGER", "integerValue": 256},
                    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "80"]},
                ],
            }
        ]
    }
    (document,) = decode(msgspec.json.encode(body), HostsAnswer).container_instances
    found = host_of(document, managed_providers=["mine"], prefix="blox-verify")
    assert found == Host(
        arn="arn:h/1",
        name="i-1",
        kind=Kind.MANAGED,
        status="ACTIVE",
        connected=True,
        os="linux",
        version=7,
        running=3,
        cpu=512,
        memory=256,
        taken=frozenset({"22", "80"}),
        marks=(("blox-verify", "r"),),
        provider="mine",
    )
    assert found.title == "i-1 (MANAGED_INSTANCES; 3 tasks run there)"


# --- Definitions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", Variant)
def test_a_definition_tells_the_run_that_made_it(variant: Variant) -> None:
    members = registration(variant, run="r-1", port=21000)
    assert members["family"] == FAMILY
    assert run_of(members) == "r-1"


def test_somebody_elses_definition_of_that_family_is_not_ours() -> None:
    assert run_of({"containerDefinitions": [{"name": "x"}]}) is None
    assert run_of({"containerDefinitions": [{"dockerLabels": {"other": "x"}}]}) is None
    assert run_of({"containerDefinitions": [{"dockerLabels": {LABEL: ""}}]}) is None
    assert run_of(None) is None


def test_variants_differ_in_what_their_question_needs() -> None:
    made = {one: registration(one, run="r", port=21000) for one in Variant}
    assert made[Variant.BRIDGE_PORT]["networkMode"] == "bridge"
    assert made[Variant.HOST_PORT]["networkMode"] == "host"
    assert made[Variant.CONSTRAINED]["placementConstraints"] == [
        {"type": "memberOf", "expression": NOWHERE}
    ]
    assert made[Variant.EXTERNAL]["requiresCompatibilities"] == ["EXTERNAL"]
    assert made[Variant.MANAGED]["requiresCompatibilities"] == ["MANAGED_INSTANCES"]
    assert made[Variant.MANAGED]["networkMode"] == "host", "none is not for them"
    assert "requiresCompatibilities" not in made[Variant.PLAIN]
    far = registration(Variant.PLAIN, run="r", kind=Kind.EXTERNAL)
    assert far["requiresCompatibilities"] == ["EXTERNAL"]
