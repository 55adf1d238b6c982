"""`blox audit` as a person types it, against a cluster as one finds it, over the wire.

Ids, which differ from run to run, are masked in the order in which they appear.
"""

import json
import os
import pty
import re
import subprocess
import sys
import time
from typing import Any, Final

from blox.app.reads import READS
from blox.simulator.known import OPERATIONS
from blox.simulator.server import SimulatedAws
from blox.simulator.wire_faults import Rule
from support.audited import (
    AMI_ARM,
    CLUSTER,
    DAY,
    FoundCluster,
    environment,
    on_a_found_cluster,
)
from support.processes import clean_environment, run

BLOX: Final = (sys.executable, "-m", "blox.cli.main", "audit")
_MASKS: Final = (
    (r"\bi-[0-9a-f]{6}…", "«host…»"),
    (r"\bi-[0-9a-f]{17}\b", "«host»"),
    (r"\b[0-9a-f]{32}\b", "«task»"),
    (r"reads only · [\d.]+ (ms|s)", "reads only · «span»"),
)

Ended = subprocess.CompletedProcess[str]


def audit(server: SimulatedAws, *words: str, **changed: str) -> Ended:
    """`blox audit --cluster payments-dev WORDS…` in the environment of an auditor."""
    given = {**environment(server.url), **changed}
    return run([*BLOX, "--cluster", CLUSTER, *words], environment=given)


def lines(ended: Ended) -> list[str]:
    """What it printed, masked, each run of spaces as two."""
    text = ended.stdout
    for pattern, shown in _MASKS:
        text = re.sub(pattern, shown, text)
    return [re.sub(r" {2,}", "  ", line).strip() for line in text.splitlines()]


def documented(found: FoundCluster) -> None:
    found.as_in_the_documentation()


def all_well(found: FoundCluster) -> None:
    """Every ready host runs the only daemon."""
    found.serve_daemon("fluent-bit", "fluent-bit", now=found.now - 18 * DAY)
    found.cloud.advance(found.now)


# --- What it says ---------------------------------------------------------------------------------


def test_it_tells_which_hosts_lack_which_daemon_why_and_what_they_share() -> None:
    ended = on_a_found_cluster(documented, lambda _, server: audit(server))
    assert ended.stderr == ""
    assert lines(ended) == [
        "payments-dev  16 hosts = 13 ready + 2 with the agent disconnected + 1 draining  "
        "47 tasks · 11 calls, reads only · «span»",
        "FAMILY  RUN BY  HOSTS  MISSING  WHERE AND WHY",
        "dd-agent  service/datadog DAEMON  11/13  2  «host…», «host…»: no room: 512 MiB asked, "
        "210 free (hosts up 19 d)",
        "falcon  by hand  9/13  4  «host…», «host…» and 2 more: cannot run there: X86_64 is "
        "needed, and the host is arm64 (hosts up 19 d); all 4 (none of the 9 that run it): "
        f"{AMI_ARM}, arm64, m7g.large",
        "fluent-bit  service/fluent-bit DAEMON  13/13  -",
        "note: fluent-bit: 2 image digests under one tag public.ecr.aws/simulated/fluent-bit:1 "
        "(13 + 2 tasks), the 2 on «host…», «host…»",
        "note: not counted: «host» (DRAINING) lacks dd-agent, falcon, fluent-bit",
        "13 ready hosts x 3 daemons = 39 = 33 running + 6 missing on 6 hosts",
        "next: register a revision of falcon that can run there, then blox environments create "
        "payments-dev/falcon --task-definition falcon",
    ]
    assert ended.returncode == 2


def test_all_names_every_host_with_its_traits() -> None:
    def work(found: FoundCluster, server: SimulatedAws) -> tuple[Ended, list[str], list[str]]:
        full = sorted(found.instance(arn) for arn in found.crowded)
        other = sorted(found.instance(arn) for arn in found.arm if arn != found.draining)
        return audit(server, "--all"), full, other

    ended, full, other = on_a_found_cluster(documented, work)
    rows = [line.split() for line in ended.stdout.splitlines() if line.startswith("i-")]
    assert sorted(row[0] for row in rows if row[1] == "dd-agent") == full
    assert sorted(row[0] for row in rows if row[1] == "falcon") == other
    assert all(row[-1] == "arm64" and AMI_ARM in row for row in rows if row[1] == "falcon")
    assert ended.returncode == 2


def test_nothing_missing_is_exit_0_and_one_line_a_daemon() -> None:
    ended = on_a_found_cluster(all_well, lambda _, server: audit(server))
    assert lines(ended)[1:] == [
        "FAMILY  RUN BY  HOSTS  MISSING  WHERE AND WHY",
        "fluent-bit  service/fluent-bit DAEMON  16/16  -",
        "16 ready hosts x 1 daemon = 16 = 16 running + 0 missing",
    ]
    assert ended.returncode == 0


def test_a_cluster_without_daemons_says_so() -> None:
    ended = on_a_found_cluster(lambda _: None, lambda _, server: audit(server))
    assert lines(ended)[1].startswith("no daemons: there is no DAEMON service, and no family runs")
    assert ended.returncode == 0


def test_one_that_stopped_says_when_and_why() -> None:
    def stopped(found: FoundCluster) -> None:
        cloud = found.cloud
        started = {
            host: cloud.start_foreign(CLUSTER, host, "fluent-bit", now=found.now - DAY)
            for host in (*found.x86, *found.arm)
        }
        cloud.kill_task(started[found.x86[3]], now=found.now - 750, exit_code=137)
        cloud.advance(found.now)

    ended = on_a_found_cluster(stopped, lambda _, server: audit(server))
    assert lines(ended)[2:] == [
        "fluent-bit  by hand  15/16  1  «host»: stopped 12 min ago: Essential container in task "
        "exited (exit 137)",
        "16 ready hosts x 1 daemon = 16 = 15 running + 1 missing on 1 host",
        "next: blox environments create payments-dev/fluent-bit --task-definition fluent-bit:1  "
        "(it starts nothing until you deploy it)",
    ]
    assert ended.returncode == 2


def test_hosts_with_two_are_named_with_their_tasks_and_are_not_missing_it() -> None:
    def doubled(found: FoundCluster) -> None:
        all_well(found)
        for host in found.x86[1:3]:
            found.cloud.start_foreign(CLUSTER, host, "fluent-bit", now=found.now)
        found.cloud.advance(found.now)

    ended = on_a_found_cluster(doubled, lambda _, server: audit(server))
    told = lines(ended)
    assert told[2] == "fluent-bit  service/fluent-bit DAEMON (16) + by hand (2)  16/16  -"
    assert told[3:5] == ["twice: «host» runs fluent-bit 2 times: «task», «task»"] * 2
    assert ended.returncode == 0


def test_a_service_constraint_takes_hosts_out_of_the_count() -> None:
    def constrained(found: FoundCluster) -> None:
        rule = {"type": "memberOf", "expression": "attribute:ecs.cpu-architecture == x86_64"}
        found.serve_daemon(
            "fluent-bit", "fluent-bit", now=found.now - DAY, placementConstraints=[rule]
        )
        found.cloud.advance(found.now)

    ended = on_a_found_cluster(constrained, lambda _, server: audit(server))
    assert lines(ended)[2:] == [
        "fluent-bit  service/fluent-bit DAEMON  11/11  -",
        "not missing on «host…», «host…» and 3 more: kept out by the constraint "
        "attribute:ecs.cpu-architecture == x86_64",
        "16 ready hosts x 1 daemon = 16 = 11 running + 0 missing + 5 not wanted",
    ]
    assert ended.returncode == 0


# --- For programs ---------------------------------------------------------------------------------


def test_json_says_the_same_and_its_numbers_add_up() -> None:
    def work(found: FoundCluster, server: SimulatedAws) -> tuple[Ended, list[str]]:
        return audit(server, "--json"), [found.instance(arn) for arn in found.crowded]

    ended, full = on_a_found_cluster(documented, work)
    told: Any = json.loads(ended.stdout)
    assert ended.returncode == 2
    assert told["cluster"] == f"arn:aws:ecs:us-east-1:111122223333:cluster/{CLUSTER}"
    assert told["hosts"] == {"ready": 13, "disconnected": 2, "draining": 1}
    assert told["totals"] == {
        "readyHosts": 13,
        "daemons": 3,
        "pairs": 39,
        "running": 33,
        "missing": 6,
        "excused": 0,
        "hostsMissingAny": 6,
    }
    assert sum(n for name, n in told["calls"].items() if name != "total") == told["calls"]["total"]
    by_family = {daemon["family"]: daemon for daemon in told["daemons"]}
    for daemon in by_family.values():
        assert daemon["ready"] == daemon["running"] + daemon["missing"] + daemon["excused"]
    (group,) = by_family["dd-agent"]["missingWhere"]
    assert (group["cause"], group["count"]) == ("noRoom", 2)
    assert sorted(item["instanceId"] for item in group["hosts"]) == sorted(full)
    first = group["hosts"][0]
    assert first["room"] == {"resource": "MEMORY", "asked": 512, "free": 210}
    assert first["sinceBasis"] == "registered"
    assert abs(first["forSeconds"] - 19 * DAY) < 60
    (group,) = by_family["falcon"]["missingWhere"]
    assert group["shared"][0] == {
        "name": "ami",
        "value": AMI_ARM,
        "hosts": 4,
        "of": 4,
        "others": 0,
        "ofOthers": 9,
    }
    assert by_family["falcon"]["runBy"] == [{"kind": "hand", "name": None, "tasks": 11}]
    (image,) = told["images"]
    assert [digest["tasks"] for digest in image["digests"]] == [13, 2]
    assert told["notRead"] == []
    assert told["next"].startswith("register a revision of falcon")


# --- What it may not read -------------------------------------------------------------------------


def test_without_services_and_definitions_it_says_what_it_cannot_tell() -> None:
    def work(found: FoundCluster, server: SimulatedAws) -> Ended:
        for operation in ("ListServices", "DescribeServices", "DescribeTaskDefinition"):
            found.cloud.deny(operation)
        return audit(server)

    ended = on_a_found_cluster(documented, work)
    told = lines(ended)
    assert told[2].startswith(
        "dd-agent  service/datadog  11/13  2  «host…», «host…»: no cause to be seen: "
        "its task definition is not known"
    )
    notes = [line for line in told if line.startswith("note: not allowed")]
    assert [line.split(": ")[2] for line in notes] == [
        "ecs:ListServices",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
    ]
    assert "which services are DAEMON services is not known" in notes[1]
    assert ended.returncode == 2


def test_without_the_tasks_it_says_nothing_of_any_host() -> None:
    def work(found: FoundCluster, server: SimulatedAws) -> Ended:
        found.cloud.deny("DescribeTasks")
        return audit(server)

    ended = on_a_found_cluster(documented, work)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "so nothing is said of it" in ended.stderr
    assert "Allow this role ecs:DescribeTasks" in ended.stderr


def test_errors_say_what_to_do() -> None:
    def work(_: FoundCluster, server: SimulatedAws) -> list[Ended]:
        given = environment(server.url)
        nowhere = run([*BLOX, "--cluster", "nowhere"], environment=given)
        del given["AWS_REGION"]
        return [nowhere, run([*BLOX, "--cluster", CLUSTER], environment=given)]

    nowhere, unplaced = on_a_found_cluster(lambda _: None, work)
    assert (nowhere.returncode, unplaced.returncode) == (1, 1)
    assert nowhere.stderr.startswith("blox: There is no cluster nowhere in this account and region")
    assert "set AWS_REGION" in unplaced.stderr


# --- That it only looks ---------------------------------------------------------------------------


def test_it_needs_reads_alone_and_changes_nothing() -> None:
    def work(found: FoundCluster, server: SimulatedAws) -> tuple[Ended, int, int]:
        for operation in sorted(set(OPERATIONS["ecs"]) - READS):
            found.cloud.deny(operation)
        before = len(found.cloud.log)
        return audit(server, "--all"), before, len(found.cloud.log)

    ended, before, after = on_a_found_cluster(documented, work)
    assert ended.returncode == 2
    assert "33 running + 6 missing" in ended.stdout
    assert after == before


def test_who_watches_a_slow_audit_sees_how_far_it_is() -> None:
    def work(_: FoundCluster, server: SimulatedAws) -> tuple[int, str]:
        server.book.add(Rule(operation="DescribeTasks", delay=3.0))
        return on_a_terminal([*BLOX, "--cluster", CLUSTER], environment(server.url))

    code, seen = on_a_found_cluster(all_well, work)
    assert code == 0
    assert "listing tasks: 16" in seen
    assert seen.endswith("\r\x1b[K")


def on_a_terminal(command: list[str], given: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=clean_environment(given),
    ) as process:
        os.close(theirs)
        seen = bytearray()
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed.
                break
            if not part:
                break
            seen += part
        code = process.wait(10.0)
    os.close(ours)
    return code, seen.decode()
