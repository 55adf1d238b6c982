"""How `blox audit` reads: each cause in a sentence, numbers that add up, a next step."""

from typing import Any

import pytest

from blox.account.audit.findings import Audit, Group, audit
from blox.account.audit.lacking import Basis, Cause, Lacking
from blox.account.surveyed import Unread
from blox.cli.audit_json import audit_json
from blox.cli.audit_words import next_step, run_by, say_audit, why
from blox.ecs.model import ContainerDefinition, PortMapping, Resources
from blox.scheduler.eligibility import Lack
from support.documents import host_arn
from support.surveys import (
    AT,
    DAY,
    definition,
    everywhere,
    host,
    of_service,
    service,
    stopped,
    survey,
    task,
)

ARM = {"ecs.cpu-architecture": "arm64"}
FIVE = tuple(host(number) for number in range(1, 6))
BY_HAND = audit(survey(*FIVE, tasks=everywhere("agent", 1, 2, 3, 4)))


def group(cause: Cause, detail: str = "", *hosts: Lacking) -> Group:
    found = hosts or (Lacking(host_arn=host_arn(5), cause=cause, detail=detail),)
    return Group(cause=cause, detail=detail, hosts=found, shared=())


def lack(number: int, found: Lack) -> Lacking:
    return Lacking(host_arn=host_arn(number), cause=Cause.NO_ROOM, lack=found)


def stops(number: int, *, ago: float, times: int = 1) -> Lacking:
    return Lacking(
        host_arn=host_arn(number),
        cause=Cause.STOPPED,
        since=AT - ago,
        basis=Basis.STOPPED,
        stops=times,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (group(Cause.CANNOT_RUN, "X86_64 is needed"), "cannot run there: X86_64 is needed"),
        (
            group(Cause.NO_ROOM, "MEMORY", lack(1, Lack("MEMORY", 512, 210))),
            "no room: 512 MiB asked, 210 free",
        ),
        (
            group(
                Cause.NO_ROOM,
                "CPU",
                lack(1, Lack("CPU", 128, 64)),
                lack(2, Lack("CPU", 128, -5)),
            ),
            "no room: 128 CPU units asked, 0 to 64 free",
        ),
        (
            group(Cause.NO_ROOM, "PORTS", lack(1, Lack("PORTS", 24224, 0))),
            "no room: host port 24224/tcp is taken",
        ),
        (
            group(Cause.NO_ROOM, "PORTS_UDP", lack(1, Lack("PORTS_UDP", 8125, 0))),
            "no room: host port 8125/udp is taken",
        ),
        (
            group(Cause.STOPPED, "OutOfMemory", stops(1, ago=720.0)),
            "stopped 12 min ago: OutOfMemory",
        ),
        (
            group(Cause.STOPPED, "boom", stops(1, ago=12.0, times=7), stops(2, ago=720.0)),
            "stopped up to 7 times in the last hour, last 12 s to 12 min ago: boom",
        ),
        (
            group(Cause.STOPPING, "Scaling activity"),
            "being stopped (Scaling activity), and no other was started",
        ),
        (group(Cause.PENDING, "PENDING"), "its task stays PENDING"),
        (group(Cause.ENOUGH, "service/web asks for 4"), "service/web asks for 4 and has them"),
        (
            group(Cause.EXCLUDED, "the constraint attribute:a == b"),
            "kept out by the constraint attribute:a == b",
        ),
        (group(Cause.OTHER_FAMILY, "agent-arm64"), "agent-arm64 runs there instead"),
        (group(Cause.NEW), "registered a moment ago, it may be on its way"),
        (group(Cause.UNKNOWN), "nothing started it there, or it ended over an hour ago"),
        (
            group(Cause.UNKNOWN, "its task definition is not known"),
            "no cause to be seen: its task definition is not known",
        ),
    ],
)
def test_each_cause_has_a_sentence(given: Group, words: str) -> None:
    assert why(given, BY_HAND.daemons[0], AT) == words


def test_what_a_service_should_have_started_reads_otherwise() -> None:
    tasks = tuple(of_service(n, n, "agent", "logs") for n in (1, 2, 3, 4))
    (daemon,) = audit(survey(*FIVE, tasks=tasks, services=(service("logs", "agent"),))).daemons
    assert why(group(Cause.UNKNOWN), daemon, AT) == (
        "no cause to be seen: no stopped task in the last hour, nothing in its way"
    )


def test_who_runs_it_is_told_with_numbers_where_several_do() -> None:
    tasks = (
        *(of_service(n, n, "agent", "logs") for n in (1, 2, 3)),
        task(4, 4, "agent", started_by="userdata"),
        task(5, 5, "agent", group="blox:agents", intent="01"),
    )
    (daemon,) = audit(survey(*FIVE, tasks=tasks, services=(service("logs", "agent"),))).daemons
    assert run_by(daemon) == "service/logs DAEMON (3) + blox: agents (1) + 1 more (1)"
    (by_hand,) = BY_HAND.daemons
    assert run_by(by_hand) == "by hand"
    nowhere = audit(survey(*FIVE, services=(service("logs", "agent"),)))
    assert run_by(nowhere.daemons[0]) == "service/logs DAEMON"


# --- The next step --------------------------------------------------------------------------------


def test_the_next_step_is_an_environment_of_that_name() -> None:
    assert next_step(BY_HAND) == (
        "blox environments create demo/agent --task-definition agent:1   "
        "(it starts nothing until you deploy it)"
    )


def test_a_long_family_gives_a_name_that_an_environment_may_have() -> None:
    family = "a" * 40
    found = audit(survey(*FIVE, tasks=everywhere(family, 1, 2, 3, 4)))
    assert f"create demo/{'a' * 30} --task-definition {family}:1" in next_step(found)


def test_what_cannot_run_there_needs_another_definition_first() -> None:
    found = audit(
        survey(
            *FIVE[:4],
            host(5, ARM),
            tasks=everywhere("agent", 1, 2, 3, 4),
            definitions=(definition("agent", architecture="X86_64"),),
        )
    )
    assert next_step(found).startswith(
        "register a revision of agent that can run there, then blox env"
    )


def test_what_blox_runs_is_explained_by_blox() -> None:
    tasks = tuple(task(n, n, "agent", group="blox:agents", intent="01") for n in (1, 2, 3, 4))
    found = audit(survey(*FIVE, tasks=tasks))
    assert next_step(found).startswith("blox status")


def test_nothing_missing_needs_no_step() -> None:
    assert next_step(audit(survey(*FIVE, tasks=everywhere("agent", 1, 2, 3, 4, 5)))) == ""


# --- The whole ------------------------------------------------------------------------------------


def printed(found: Audit, capsys: pytest.CaptureFixture[str], *, every: bool = False) -> list[str]:
    capsys.readouterr()
    say_audit(found, every=every)
    return capsys.readouterr().out.splitlines()


def test_several_causes_of_one_daemon_are_lines_whose_numbers_add_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = PortMapping(container_port=24224, host_port=24224)
    agent = definition(
        "agent",
        network_mode="bridge",
        container_definitions=(ContainerDefinition(name="agent", port_mappings=(port,)),),
    )
    found = audit(
        survey(
            *FIVE,
            host(6, remaining=Resources(cpu=99, memory=9999)),
            host(7, remaining=Resources(cpu=999, memory=9999, ports_tcp=frozenset({24224}))),
            host(8),
            tasks=(*everywhere("agent", 1, 2, 3, 4, 5), stopped(9, 8, "agent", ago=90.0)),
            definitions=(agent,),
        )
    )
    lines = printed(found, capsys)
    rows = [line for line in lines if "no room" in line or "stopped" in line]
    assert len(rows) == 3
    assert rows[0].split()[:5] == ["agent", "by", "hand", "5/8", "1"]
    assert all(row.split()[0] == "1" for row in rows[1:])
    assert lines[-2] == "8 ready hosts x 1 daemon = 8 = 5 running + 3 missing on 3 hosts"


def test_control_characters_of_a_stop_reason_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nasty = stopped(9, 5, "agent", ago=90.0, stopped_reason="\x1b[2Jgone\n", exit_code=None)
    found = audit(survey(*FIVE, tasks=(*everywhere("agent", 1, 2, 3, 4), nasty)))
    for every in (False, True):
        text = "\n".join(printed(found, capsys, every=every))
        assert "gone" in text
        assert "\x1b" not in text


def test_six_mixed_images_are_five_and_a_word_about_the_sixth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = tuple(
        task(10 * n + on, on, f"family{n}", digest=f"sha256:{on}")
        for n in range(1, 7)
        for on in (1, 2)
    )
    found = audit(survey(*FIVE, tasks=tasks))
    short = [line for line in printed(found, capsys) if line.startswith("note:")]
    assert len(short) == 6
    assert short[-1] == "note: 1 more image with several digests   --all"
    every = [line for line in printed(found, capsys, every=True) if line.startswith("note:")]
    assert len(every) == 6
    assert all("2 image digests under one tag" in line for line in every)


def test_what_could_not_be_read_for_another_cause_says_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unread = Unread(operation="DescribeServices", sentence="DescribeServices got no answer: lost")
    lines = printed(audit(survey(*FIVE, unread=(unread,))), capsys)
    (note,) = [line for line in lines if line.startswith("note:")]
    assert note.startswith("note: DescribeServices got no answer: lost: which services are DAEMON")


def test_the_json_has_every_group_and_no_more_hosts_than_there_are() -> None:
    told: Any = audit_json(BY_HAND)
    assert told["totals"] == {
        "readyHosts": 5,
        "daemons": 1,
        "pairs": 5,
        "running": 4,
        "missing": 1,
        "excused": 0,
        "hostsMissingAny": 1,
    }
    (daemon,) = told["daemons"]
    ((item,),) = [where["hosts"] for where in daemon["missingWhere"]]
    assert (item["host"], item["cause"], item["forSeconds"]) == (
        host_arn(5),
        "unknown",
        6 * DAY,
    )
