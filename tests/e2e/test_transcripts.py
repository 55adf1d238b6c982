"""What the documentation shows of a screen is what a user sees who types the same.

Each document is typed from its first transcript to its last, in one terminal, against a simulated
AWS and real processes. S, E and V are scaled down to seconds.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from blox.cli.simulator_client import Simulator
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.server import serving
from support.audited import DAY, FoundCluster
from support.processes import free_port, running
from support.prose import ROOT, documents
from support.transcripts import ANY, Step, Terminal, difference, masked, steps

SMALL: Final = Assumptions(signature_age=5.0, acceptance_lag=1.0, read_lag=1.0)
QUICK: Final = {
    "BLOX_ECS_SIGNATURE_AGE": "5",
    "BLOX_ECS_ACCEPTANCE_LAG": "1",
    "BLOX_ECS_READ_LAG": "1",
    "BLOX_AWAY_AFTER": "0.01",
}
"""The daemon-scheduler's settings: an agent that is gone is away at once."""
SERVICE_DELAY: Final = 0.3
MOVING: Final = ROOT / "docs" / "moving-in-and-out.md"
OPERATING: Final = ROOT / "docs" / "operating.md"
SIMULATOR: Final = ROOT / "docs" / "simulator.md"
CLUSTERS: Final = ROOT / "docs" / "clusters.md"
CUSTOM: Final = ROOT / "docs" / "custom-scheduler.md"


# --- The worlds -----------------------------------------------------------------------------------


def on_a_found_account(work: Callable[[str], None]) -> None:
    """Call `work` with the address of an account where agents have run for weeks."""

    async def serve() -> None:
        cloud = Cloud("found", assumptions=SMALL, service_delay=SERVICE_DELAY)
        found = FoundCluster(cloud, now=time.time() - 1.0)
        furnish(cloud, now=found.now - 19 * DAY)
        found.as_in_the_documentation()
        async with serving(cloud, queues=["blox-events"], role="sre-readonly") as server:
            server.pump()
            await asyncio.to_thread(work, server.url)

    asyncio.run(serve())


def furnish(cloud: Cloud, *, now: float) -> None:
    """Two more clusters: a busy one whose idle hosts ECS would remove, and a small one."""
    cloud.add_cluster("batch-dev", now=now)
    cloud.add_provider("cp-spot", cluster="batch-dev", managed_scaling=True, now=now)
    for _ in range(3):
        host = cloud.add_host("batch-dev", now=now, provider="cp-spot")
        cloud.start_foreign("batch-dev", host, "api", now=now)
    cloud.add_cluster("edge-dev", now=now)
    cloud.add_definition("envoy", now=now, cpu=64, memory=128)
    for _ in range(2):
        cloud.add_host("edge-dev", now=now)
    service = {"serviceName": "envoy", "taskDefinition": "envoy", "schedulingStrategy": "DAEMON"}
    cloud.call("CreateService", {"cluster": "edge-dev", **service}, now=now)


def on_a_simulator(work: Callable[[str], None], *, folder: Path, hosts: int) -> None:
    """Call `work` with the address of `blox simulate serve`, with a cluster `demo`."""
    port = free_port()
    serve = ["-m", "blox.cli.main", "simulate", "serve", "--bind", f"127.0.0.1:{port}"]
    serve += ["--hosts", f"{hosts}", "--signature-age", f"{SMALL.signature_age:g}"]
    with running(
        [*serve, "--service-delay", f"{SERVICE_DELAY:g}"], output=folder / "simulator.log"
    ) as simulator:
        simulator.wait_for_output("In another terminal:")
        work(f"http://127.0.0.1:{port}")


def nothing(_step: Step, _url: str) -> None:
    """Take no note."""


def typed(
    document: Path, folder: Path, *, note: Callable[[Step, str], None] = nothing
) -> Callable[[str], None]:
    """Type all of a document's commands at an address, each after `note` has seen it."""

    def work(url: str) -> None:
        home = folder / "home"
        home.mkdir()
        with Terminal(home, url=url, extra=QUICK) as terminal:
            for step in steps(document):
                note(step, url)
                terminal.type(step)

    return work


# --- The documents --------------------------------------------------------------------------------


def acting_calls(url: str) -> list[str]:
    """The operations by which ECS was asked to start or stop tasks, so far."""
    page = Simulator(url).get("log")
    assert len(page["calls"]) == page["total"]
    operations = [str(call["operation"]) for call in page["calls"]]
    return [name for name in operations if name in ("StartTask", "RunTask", "StopTask")]


def test_moving_in_and_out_goes_as_it_is_told(tmp_path: Path) -> None:
    """And the page's two promises about calls hold: before `blox deploy` none acts, and none does
    when the records are lost."""
    acted: dict[str, int] = {}

    def note(step: Step, url: str) -> None:
        if step.command.startswith(("blox deploy payments-dev/falcon", "rm ", "blox store backup")):
            acted[step.command.split()[-1]] = len(acting_calls(url))

    on_a_found_account(typed(MOVING, tmp_path, note=note))
    assert list(acted) == ["--wait", "blox.db", "blox-backup.db"]
    assert acted["--wait"] == 0 < acted["blox.db"] == acted["blox-backup.db"]


def test_three_in_the_morning_goes_as_it_is_told(tmp_path: Path) -> None:
    on_a_simulator(typed(OPERATING, tmp_path), folder=tmp_path, hosts=0)


def test_the_simulator_goes_as_it_is_told(tmp_path: Path) -> None:
    on_a_simulator(typed(SIMULATOR, tmp_path), folder=tmp_path, hosts=6)


def test_looking_at_clusters_goes_as_it_is_told(tmp_path: Path) -> None:
    on_a_simulator(typed(CLUSTERS, tmp_path), folder=tmp_path, hosts=6)


def test_the_scheduler_of_ones_own_goes_as_it_is_told(tmp_path: Path) -> None:
    on_a_simulator(typed(CUSTOM, tmp_path), folder=tmp_path, hosts=6)


@pytest.mark.parametrize(
    ("document", "commands"),
    [
        (CLUSTERS, ("clusters", "clusters sweep", "instances", "tasks", "watch")),
        (MOVING, ("audit", "doctor", "setup", "adopt", "deploy", "migrate", "orphans", "store")),
        (SIMULATOR, ("deploy", "simulate hosts", "simulate services", "simulate state")),
        (OPERATING, ("status", "explain", "logs", "freeze", "thaw", "hosts hold", "confirm")),
    ],
)
def test_the_transcripts_show_what_they_are_about(
    document: Path, commands: tuple[str, ...]
) -> None:
    shown = [step for step in steps(document) if step.shown]
    assert not [step for step in shown if set(step.shown or ()) == {ANY}]
    missing = [
        name for name in commands if not any(s.command.startswith(f"blox {name}") for s in shown)
    ]
    assert missing == []


def test_every_transcript_is_typed() -> None:
    assert {path for path in documents() if "```console" in path.read_text()} == {
        CLUSTERS,
        CUSTOM,
        MOVING,
        OPERATING,
        SIMULATOR,
    }


# --- The comparison itself ------------------------------------------------------------------------


def test_a_document_is_read_command_by_command(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "Text\n<!-- meanwhile\nblox simulate a\nblox simulate b\n-->\n"
        "```console\n$ one \\\n    two\nfirst\nsecond\n$ three\n```\n```\n$ not one\n```\n"
    )
    assert steps(document) == [
        Step("page.md:3", "blox simulate a", None),
        Step("page.md:4", "blox simulate b", None),
        Step("page.md:7", "one two", ("first", "second")),
        Step("page.md:11", "three", ()),
    ]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a  b"], ["a b", ""]),
        (["i-49f2f1ef198c779fd for 12 s"], ["i-bb894e775f5414c70 for 3 min"]),
        (["id 3f0c1a2b…, at 10:14:07.120"], ["id 0a9b8c7d…, at 23:59:59.999"]),
        (["first", "…", "last"], ["first", "second", "third", "last"]),
        (["first", "…"], ["first"]),
        (["one line", "          goes on"], ["one line goes on"]),
        ([], []),
    ],
)
def test_what_differs_from_run_to_run_is_not_compared(shown: list[str], printed: list[str]) -> None:
    assert difference(shown, printed) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["16 hosts"], ["15 hosts"]),
        (["first", "last"], ["first", "second", "last"]),
        (["first", "…", "last"], ["first", "last", "more"]),
        (["two", "lines"], ["two lines"]),
        (["…", "a"], ["b"]),
        (["a.c"], ["abc"]),
        ([], ["something"]),
    ],
)
def test_what_differs_is_shown(shown: list[str], printed: list[str]) -> None:
    told = difference(shown, printed)
    assert "--- the document" in told
    assert all(f"-{line}" in told or f" {line}" in told for line in masked(shown))


def test_a_command_that_prints_something_else_fails_with_both(tmp_path: Path) -> None:
    with Terminal(tmp_path, url="http://127.0.0.1:1", extra={}) as terminal:
        assert terminal.type(Step("page.md:1", "echo seen; exit 3", ("seen",))) == ["seen"]
        assert terminal.type(Step("page.md:3", "echo $?", ("3",))) == ["3"]
        with pytest.raises(AssertionError) as failure:
            terminal.type(Step("page.md:5", "echo seen", ("shown",)))
        assert "page.md:5: echo seen   (exit code 0)" in str(failure.value)
        assert "-shown\n+seen" in str(failure.value)
        with pytest.raises(AssertionError, match="exit code 1"):
            terminal.type(Step("page.md:7", "false", None))
