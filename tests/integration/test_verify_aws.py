"""`blox verify-aws` over the wire: the real command, real transports, a simulated account."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from blox.account.questions import QUESTIONS
from blox.account.verify.lab import Patience
from blox.base.clock import SystemClock
from blox.clusterstate.sqs import SqsSource
from blox.ecs.aws import ECS, SQS, AwsHttp, Service
from blox.ecs.port import Transport
from blox.ecs.signature import Credentials
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.model import RepeatedHost, SignatureCheck, Switches
from blox.simulator.server import SimulatedAws, serving
from blox.simulator.wire_faults import Rule
from support.processes import run, running, wait_until
from support.simulated import ACCOUNT, REGION
from support.verifying import Bench, Verified, furnish, prepare

QUICK = Patience(poll=0.05, settled=0.6, event=5.0, token=0.5, visible=2.0, starts=2)
SOON = (
    "signature-age",
    "backdated-signature",
    "group-prefix",
    "same-host-twice",
    "placement-constraints",
    "inactive-definition",
    "list-started-by-stopped",
)
"""Questions that are answered within a second."""
TURNED = Switches(
    start_on_draining=False,
    constraints_checked=True,
    repeated_host=RepeatedHost.TWO,
    events_carry_overrides=False,
    attributes_bump_version=True,
    started_by_alone=False,
    stop_of_stopped_answers=False,
    inactive_definition_code="InvalidParameterException",
    signature=SignatureCheck.TRIPLED,
)
DIFFERING = {
    "start-on-draining",
    "placement-constraints",
    "same-host-twice",
    "event-overrides",
    "attributes-version",
    "list-started-by-stopped",
    "stop-stopped",
    "inactive-definition",
    "signature-age",
}


class Account:
    """A simulated account on a port, with its cluster `sandbox`."""

    def __init__(self, bench: Bench, server: SimulatedAws) -> None:
        self.bench = bench
        self.server = server

    @property
    def environment(self) -> dict[str, str]:
        """What points the command at it, with temporary credentials."""
        return {
            "AWS_ENDPOINT_URL": self.server.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "temporary",
        }

    @property
    def live(self) -> int:
        """How many tasks of ours run."""
        tasks = list(self.bench.cloud.tasks.values())
        return sum(task.live and task.started_by.startswith("blox-verify/") for task in tasks)


async def _serve(
    work: Callable[[Account], Any], switches: Switches | None, hosts: int
) -> tuple[Any, Account]:
    cloud = Cloud("verify-wire", switches=switches)
    async with serving(cloud, queues=["verify-events"]) as server:
        bench = furnish(cloud, now=server.now() - 1000.0, hosts=hosts)
        server.pump()
        account = Account(bench, server)
        result = work(account)
        if asyncio.iscoroutine(result):
            return await result, account
        return await asyncio.to_thread(result), account


def in_account(
    work: Callable[[Account], Callable[[], Any]],
    *,
    switches: Switches | None = None,
    hosts: int = 2,
) -> tuple[Any, Account]:
    """`work` gets the account and returns what is then called in a thread beside the server."""
    return asyncio.run(_serve(work, switches, hosts))


def blox(account: Account, *arguments: str, within: float = 60.0) -> Any:
    """Run `blox verify-aws --cluster sandbox ARGUMENTS…` to its end."""
    return run(
        [sys.executable, "-m", "blox.cli.main", "verify-aws", "--cluster", "sandbox", *arguments],
        environment=account.environment,
        within=within,
    )


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


# --- The whole table, both ways -------------------------------------------------------------------


class Keys:
    """Credentials that are always there."""

    async def get(self) -> Credentials:
        return Credentials("tester", "secret", "temporary")


def transport_to(account: Account, service: Service) -> Transport:
    return AwsHttp(
        service,
        region=REGION,
        endpoint=account.server.url,
        credentials=Keys(),
        clock=SystemClock(),
    )


async def whole(account: Account) -> Verified:
    """Every question, over HTTP, with patience for a simulator on the same machine."""
    clock = SystemClock()
    ecs, sqs = transport_to(account, ECS), transport_to(account, SQS)
    source = SqsSource("verify-events", sqs, now=account.server.now)
    try:
        stage = await prepare(
            account.bench,
            ecs,
            clock=clock,
            only=(),
            queue=source,
            drain=True,
            attributes=True,
            assumptions=Assumptions(),
            patience=QUICK,
            apart=0.01,
        )
        report = await stage.verification.run()
        await stage.close()
    finally:
        await ecs.close()
        await sqs.close()
    return Verified(report=report, bench=account.bench, stage=stage)


UNASKED = {
    "start-on-external",
    "start-on-managed",
    "agent-disconnect",
    "denied-status",
    "pending-behind-stopping",
}


@pytest.mark.parametrize(
    ("switches", "differing"),
    [(None, set[str]()), (TURNED, DIFFERING)],
    ids=["as assumed", "otherwise"],
)
def test_the_whole_table_over_the_wire(switches: Switches | None, differing: set[str]) -> None:
    found, account = asyncio.run(_serve(whole, switches, 2))
    outcomes = {name: found.outcome(name) for name in QUESTIONS}
    assert {name for name, one in outcomes.items() if one == "differs"} == differing
    unasked = {name for name, one in outcomes.items() if one == "could not be asked"}
    assert unasked - {"pending-behind-stopping"} == UNASKED - {"pending-behind-stopping"}
    assert account.bench.ours == []
    assert account.bench.others_are_well
    assert found.report.clean_up is not None
    assert found.report.clean_up.done, found.report.clean_up


# --- The command ----------------------------------------------------------------------------------


def test_the_command_says_what_it_does_and_writes_a_report(tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    done, account = in_account(
        lambda account: lambda: blox(account, "--yes", "--report", str(file), *only(*SOON))
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"account {ACCOUNT}" in done.stdout
    assert "7 questions = 7 as assumed + 0 differing + 0 that could not be asked" in done.stdout
    assert "nothing is left" in done.stdout
    report = json.loads(file.read_text())
    assert report["totals"] == {"questions": 7, "asAssumed": 7, "differ": 0, "notAsked": 0}
    assert report["ended"] == "complete"
    assert report["account"] == "********3333"
    assert ACCOUNT not in file.read_text()
    assert report["cleanUp"]["left"] == report["cleanUp"]["problems"] == []
    assert report["calls"]["StartTask"] == report["cleanUp"]["tasksStopped"] + 1, "one was refused"
    assert account.bench.ours == []
    assert account.bench.others_are_well


def test_a_difference_is_told_in_capitals_and_by_the_exit_code() -> None:
    done, account = in_account(
        lambda account: lambda: blox(account, "--yes", "--json", "--full", *only(*SOON)),
        switches=TURNED,
    )
    assert done.returncode == 2
    assert " DIFFERS " in done.stderr
    assert "    matters   " in done.stderr
    report = json.loads(done.stdout)
    assert report["totals"] == {"questions": 7, "asAssumed": 2, "differ": 5, "notAsked": 0}
    assert report["account"] == ACCOUNT
    assert account.bench.ours == []


def test_nothing_is_done_without_a_yes_a_cluster_or_hosts() -> None:
    def work(account: Account) -> Callable[[], list[Any]]:
        return lambda: [
            blox(account, *only("group-prefix")),
            run([sys.executable, "-m", "blox.cli.main", "verify-aws", "--yes"]),
            blox(account, "--yes", "--host", "i-nowhere"),
            blox(account, "--yes", "--cluster", "elsewhere"),
            blox(account, "--yes", "--report", "/nowhere/at/all.json", *only("group-prefix")),
        ]

    done, account = in_account(work)
    assert [one.returncode for one in done] == [1] * 5
    assert "Nothing was done." in done[0].stdout
    assert "Missing option '--cluster'" in done[1].stderr
    assert "No host of the cluster is called i-nowhere" in done[2].stderr
    assert "There is no ACTIVE cluster elsewhere" in done[3].stderr
    assert "Cannot write /nowhere/at/all.json" in done[4].stderr
    assert account.bench.cloud.log == []


def test_a_host_with_work_on_it_is_drained_only_by_name() -> None:
    def work(account: Account) -> Callable[[], list[Any]]:
        busy = account.bench.cloud.hosts[account.bench.hosts[-1]].instance_id
        asked = only("start-on-draining")
        return lambda: [
            blox(account, "--allow-drain", "--host", busy, "--yes", *asked),
            blox(account, "--drain-host", busy, *asked),
        ]

    done, account = in_account(work)
    assert "--allow-drain takes a host on which nothing runs" in done[0].stderr
    assert "set i-" in done[1].stdout
    assert "whose tasks that belong to services move to other hosts meanwhile" in done[1].stdout
    assert account.bench.cloud.log == []


def test_with_a_definition_of_the_users_nothing_is_registered() -> None:
    def work(account: Account) -> Callable[[], list[Any]]:
        cloud = account.bench.cloud
        cloud.add_definition("in-a-vpc", now=cloud.now, network_mode="awsvpc")
        asked = only("group-prefix", "ports-token")
        return lambda: [
            blox(account, "--yes", "--task-definition", "payments", *asked),
            blox(account, "--yes", "--task-definition", "in-a-vpc", *asked),
            blox(account, "--yes", "--task-definition", "nothing", *asked),
        ]

    done, account = in_account(work)
    own, vpc, unknown = done
    assert (own.returncode, own.stderr) == (0, "")
    assert "2 questions = 1 as assumed + 0 differing + 1 that could not be asked" in own.stdout
    assert "32 CPU units, 32 MiB, image" in own.stdout
    assert "has network mode awsvpc, which needs subnets" in vpc.stderr
    assert "Unable to describe task definition" in unknown.stderr
    calls = {logged.operation for logged in account.bench.cloud.log}
    assert calls == {"StartTask", "StopTask"}
    assert account.bench.ours == []
    assert account.bench.others_are_well


# --- Ends that nobody wished for ------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return ["-m", "blox.cli.main", "verify-aws", "--cluster", "sandbox", *arguments]


def slowly(account: Account, **rule: Any) -> None:
    """Let answers come late, so that there is time to interfere."""
    account.server.book.add(Rule(**rule))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_it_cleans_up(number: int, tmp_path: Path) -> None:
    report = tmp_path / "seen.json"

    def work(account: Account) -> Callable[[], str]:
        def interfere() -> str:
            arguments = command("--yes", "--report", str(report), *only("list-tokens"))
            log = tmp_path / "log"
            with running(arguments, output=log, environment=account.environment) as process:
                process.wait_for(lambda: account.live == 2, what="two tasks")
                process.signal(number)
                process.wait_for_output("nothing is left", within=40.0)
                wait_until(lambda: not process.alive(), what="its end")
                return process.output

        return interfere

    output, account = in_account(work)
    assert "Interrupted: cleaning up." in output
    assert "interrupted: what follows is what had been asked by then" in output
    assert json.loads(report.read_text())["ended"] == "interrupted"
    assert account.bench.ours == []
    assert account.bench.others_are_well


@pytest.mark.parametrize(
    ("arguments", "rule", "reached"),
    [
        (
            only("read-lag"),
            {"operation": "StartTask", "skip": 2, "delay": 30.0},
            lambda account: account.live >= 3,
        ),
        (
            ["--allow-drain", *only("start-on-draining")],
            {"operation": "UpdateContainerInstancesState", "delay": 30.0},
            lambda account: any(
                host.status == "DRAINING" for host in account.bench.cloud.hosts.values()
            ),
        ),
        (
            ["--allow-attributes", *only("attributes-version")],
            {"operation": "PutAttributes", "delay": 30.0},
            lambda account: any(host.custom for host in account.bench.cloud.hosts.values()),
        ),
    ],
    ids=["starting", "draining", "attributes"],
)
def test_what_a_killed_run_leaves_is_found_and_taken_back(
    arguments: list[str],
    rule: Mapping[str, Any],
    reached: Callable[[Account], bool],
    tmp_path: Path,
) -> None:
    report = tmp_path / "seen.json"

    def work(account: Account) -> Callable[[], tuple[list[str], list[Any]]]:
        slowly(account, **rule)

        def interfere() -> tuple[list[str], list[Any]]:
            line = command("--yes", "--report", str(report), *arguments)
            log = tmp_path / "log"
            with running(line, output=log, environment=account.environment) as process:
                process.wait_for(lambda: reached(account), within=40.0)
                process.kill()
            left = account.bench.ours
            account.server.book.remove()
            done = [
                blox(account, "--clean-up"),
                blox(account, "--clean-up", "--yes"),
                blox(account, "--clean-up"),
            ]
            return left, done

        return interfere

    (left, done), account = in_account(work)
    assert left != []
    assert json.loads(report.read_text())["ended"] == "running"
    shown, taken, nothing = done
    assert shown.returncode == 1
    assert f"Left in cluster sandbox by {json.loads(report.read_text())['run']}:" in shown.stdout
    assert (taken.returncode, taken.stderr) == (0, "")
    assert "nothing is left" in taken.stdout
    assert "Nothing of blox verify-aws is left in cluster sandbox." in nothing.stdout
    assert account.bench.ours == []
    assert account.bench.others_are_well
