"""`blox clusters`, `instances`, `tasks` and `watch`: what a person types, and what they read.

Numbers that differ from run to run are masked: see `support.shell`.
"""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
import structlog

from blox.cli.main import run
from blox.simulator.cloud import Cloud
from support.processes import Running, clean_environment, free_port, running, wait_until
from support.running import on_a_scheduler
from support.scheduling import SimulatedWorld, simulated_world
from support.shell import masked
from support.state_items import CLUSTER, instance_item, task_item
from support.statestore import Bench, by_hand, on_a_state_service
from support.stating import state_service

TWO: dict[str, Any] = {"hosts": 3, "clusters": ("demo", "edge")}


class Blox:
    """Types commands at a service and reads what they print."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self.errors = ""

    def __call__(self, *words: str, code: int = 0) -> list[str]:
        """The lines that `blox WORDS…` prints, masked; it must end with `code`."""
        return [masked(line) for line in self.raw(*words, code=code).splitlines()]

    def json(self, *words: str, code: int = 0) -> Any:
        """What `blox WORDS… --json` prints."""
        return json.loads(self.raw(*words, "--json", code=code))

    def raw(self, *words: str, code: int = 0) -> str:
        """What `blox WORDS…` prints."""
        self._capsys.readouterr()
        ended = run(["--css-endpoint", self._url, *words])
        printed = self._capsys.readouterr()
        self.errors = printed.err
        assert ended == code, f"{printed.out}\n{printed.err}"
        return printed.out


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The service's log does not go between the lines."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Run `work(blox, bench)` against a service over a simulated ECS."""

    def scene(work: Callable[[Blox, Bench], None], **options: Any) -> None:
        on_a_state_service(lambda bench: work(Blox(bench.url, capsys), bench), **options)

    return scene


def hosts_of(cloud: Cloud) -> list[str]:
    """The ARNs of demo's hosts."""
    return [host.arn for host in cloud.hosts.values() if host.cluster == "demo"]


def started(cloud: Cloud, now: float) -> None:
    """A task on two hosts of demo: of a service, and by hand."""
    hosts = hosts_of(cloud)
    cloud.start_foreign("demo", hosts[0], "agent", now=now, service="web")
    cloud.start_foreign("demo", hosts[1], "agent", now=now)


# --- Lists ----------------------------------------------------------------------------------------


def test_clusters_with_their_numbers_and_how_fresh_they_are(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        assert blox("clusters") == [
            "CLUSTER  STATUS  HOSTS  TASKS  LAST READ COMPLETELY  PROBLEM",
            "demo  ACTIVE  3  2  «span» ago  -",
            "edge  ACTIVE  3  0  «span» ago  -",
            "2 clusters · 6 hosts · 2 tasks",
        ]
        assert blox("clusters", "edge")[1:] == [
            "edge  ACTIVE  3  0  «span» ago  -",
            "1 cluster · 3 hosts · 0 tasks",
        ]
        assert [one["name"] for one in blox.json("clusters")] == ["demo", "edge"]
        blox("clusters", "prod", code=1)
        assert "No cluster prod is watched here; there are demo, edge." in blox.errors

    play(work, furnish=started, **TWO)


def test_a_sweep_is_asked_for_and_waited_for(play: Callable[..., None]) -> None:
    def work(blox: Blox, bench: Bench) -> None:
        before = blox.json("clusters", "demo")[0]["sweep"]["number"]
        asked = blox("clusters", "sweep", "demo")
        assert asked == [
            f"sweep {before + 1} of demo is asked for",
            "  to have one and wait for it: blox clusters sweep demo --wait",
        ]
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        (told,) = blox("clusters", "sweep", "demo", "--wait")
        assert re.fullmatch(r"demo was read completely in .*: 4 hosts, 0 tasks  sweep \d+", told)
        ticket = blox.json("clusters", "sweep", "demo")
        assert (ticket["cluster"], ticket["epoch"]) == ("demo", "e1")
        swept = blox.json("clusters", "sweep", "demo", "--wait")
        assert swept["sweep"]["number"] >= ticket["sweep"]
        blox("clusters", "sweep", "none", code=1)
        assert "There is no cluster none here" in blox.errors

    play(work)


def test_instances_line_up_and_add_up(play: Callable[..., None]) -> None:
    def drained(cloud: Cloud, now: float) -> None:
        started(cloud, now)
        cloud.drain_host(hosts_of(cloud)[2], now=now)

    def work(blox: Blox, _: Bench) -> None:
        lines = blox("instances", "demo")
        assert lines[0] == (
            "INSTANCE  STATUS  AGENT  TASKS  FREE CPU  FREE MIB  TYPE  ZONE  PROVIDER  ID"
        )
        assert sorted(line.split("  ")[1] for line in lines[1:-1]) == ["ACTIVE"] * 2 + ["DRAINING"]
        assert re.fullmatch(
            r"3 instances = 2 ACTIVE \+ 1 DRAINING · tasks: \d running( \+ \d starting)?", lines[-1]
        )
        assert blox("instances")[0].startswith("CLUSTER  INSTANCE")
        assert blox("instances")[-1].startswith("6 instances = 5 ACTIVE + 1 DRAINING")
        (draining,) = blox.json("instances", "demo", "--status", "draining")
        assert draining["instance"]["status"] == "DRAINING"
        by_query = f"ec2InstanceId == {draining['instance']['ec2InstanceId']}"
        assert [one["arn"] for one in blox.json("instances", "--query", by_query)] == [
            draining["arn"]
        ]
        assert blox("instances", "--agent", "gone") == ["no instances"]
        assert blox("instances", "--capacity-provider", "none") == ["no instances"]

    play(work, furnish=drained, **TWO)


def test_every_name_of_a_host_finds_it(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        item = blox.json("instances", "demo")[0]
        arn, machine = item["arn"], item["instance"]["ec2InstanceId"]
        id_ = arn.rsplit("/", 1)[-1]
        for name in (arn, id_, machine, f"demo/{machine}", f"{id_[:8]}…", f"demo/{id_[:8]}"):
            assert blox.json("instances", "show", name)["arn"] == arn
        for name in (arn, id_, machine):
            assert [one["arn"] for one in blox.json("instances", "--instance", name)] == [arn]
        shown = blox("instances", "show", machine)
        assert shown[0].startswith("«host»  on demo  ACTIVE, agent connected")
        assert "  MEMORY: 8192 MiB = 0 taken + 8192 free" in shown
        assert shown[-1] == "no tasks"
        for name, said in (
            ("i-00000000", "No host i-00000000 in any cluster that is watched here."),
            ("edge/" + machine, f"No host {machine} in edge."),
            ("abc", "'abc' is too short: 4 characters of an id are needed."),
        ):
            blox("instances", "show", name, code=1)
            assert said in blox.errors

    play(work, **TWO)


def test_the_beginning_of_several_names_is_no_name(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        ids = [one["arn"].rsplit("/", 1)[-1] for one in blox.json("instances", "demo")]
        firsts = [id_[:4] for id_ in ids]
        common = next(one for one in firsts if firsts.count(one) > 1)
        blox("instances", "show", common, code=1)
        number = firsts.count(common)
        assert f"{common} could be one of {number}: demo/{common}" in blox.errors

    play(work, hosts=2000)


def test_tasks_are_chosen_by_any_filter(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        def arns(*words: str) -> list[str]:
            return [item["arn"] for item in blox.json("tasks", *words)]

        tasks = blox.json("tasks", "demo")
        assert len(tasks) == 2
        web = next(one for one in tasks if one["task"]["group"] == "service:web")
        host = web["task"]["containerInstanceArn"]
        for words in (
            ("--group", "service:web"),
            ("--instance", host),
            ("--instance", host.rsplit("/", 1)[-1]),
            ("--query", "task:group == service:web"),
            ("--group", "service:web", "--family", "agent", "--desired-status", "running"),
        ):
            assert arns(*words) == [web["arn"]]
        both = ("--definition", "agent:1", "--launch-type", "ec2", "--health", "unknown")
        assert arns(*both) == [task["arn"] for task in tasks]
        assert blox("tasks", "--started-by", "nobody") == ["no tasks"]
        assert blox("tasks", "edge", "--status", "pending,running") == ["no tasks"]
        blox("tasks", "--status", "sick", code=1)
        assert "'SICK'; known are: PROVISIONING, PENDING" in blox.errors

    play(work, furnish=started, **TWO)


def test_tasks_show_where_they_run(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        lines = blox("tasks")
        assert lines[0] == "CLUSTER  TASK  RUNS  STATUS  HEALTH  HOST  AGE  GROUP  STARTED BY"
        assert all("  agent:1  " in line and "  «host»  " in line for line in lines[1:-1])
        assert lines[-1].startswith("2 tasks = ")
        task = blox.json("tasks")[0]
        id_ = task["arn"].rsplit("/", 1)[-1]
        for name in (task["arn"], id_, id_[:6] + "…", f"demo/{id_}"):
            assert blox.json("tasks", "show", name)["arn"] == task["arn"]
        shown = blox("tasks", "show", id_[:6])
        assert re.match(r"«id»  agent:1  on demo, «host»  [A-Z]+  made ", shown[0])
        assert "  launchType  EC2" in shown
        blox("tasks", "show", "0" * 32, code=1)
        assert "No task" in blox.errors

    play(work, furnish=started, **TWO)


def test_thousands_of_rows_add_up(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        lines = blox.raw("instances", "demo").splitlines()
        assert len(lines) == 2502
        assert lines[-1] == "2500 instances = 2500 ACTIVE · tasks: 0 running"
        assert len(blox.json("instances")) == 2500

    play(work, hosts=2500)


# --- Answers that are not fresh, or from somebody else --------------------------------------------


def test_rows_that_may_be_old_are_marked_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def work(bench: Bench) -> None:
        blox = Blox(bench.url, capsys)
        known = {"clusterArn": CLUSTER, "version": 1}
        bench.tell(instance_item(1)["instance"] | known)
        bench.tell(task_item(1)["task"] | known)
        bench.until(lambda: bench.get("/v2/clusters")["items"][0]["readError"])
        assert len(blox("tasks", "demo")) == 3
        notes = blox.errors.splitlines()
        assert notes[0] == (
            "note: demo: not read completely since the service began, so rows may be old or missing"
        )
        assert notes[1].startswith("note: demo: cannot be read (not since the service began): ")
        assert len(notes) == 2
        assert blox.json("instances")[0]["arn"] == instance_item(1)["arn"]
        assert blox.errors.splitlines() == notes
        line = blox("clusters")[1]
        assert line.startswith("demo  ACTIVE, not read yet  1  1  not since the service began  see")
        assert blox("clusters")[-1].endswith(" · 1 not read completely yet")

    by_hand(work, CLUSTER)


def test_a_command_says_who_is_asked_when_nobody_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blox = Blox("http://127.0.0.1:1", capsys)
    for words in (("clusters",), ("instances",), ("tasks", "demo"), ("watch",), ("watch", "tasks")):
        blox(*words, code=1)
        assert blox.errors.startswith(
            "blox: No cluster-state-service answers at http://127.0.0.1:1: is it running? Start "
            "one with `cluster-state-service --store sqlite:state.db`"
        )


def test_a_scheduler_is_not_taken_for_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    def work(bench: Any) -> None:
        blox = Blox(bench.url, capsys)
        for words in (("clusters",), ("instances", "demo"), ("tasks",), ("watch",)):
            blox(*words, code=1)
            assert "is a daemon-scheduler, not a cluster-state-service" in blox.errors

    on_a_scheduler(work, hosts=1)


def test_the_variable_says_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(bench: Bench) -> None:
        monkeypatch.setenv("BLOX_CSS_ENDPOINT", bench.url)
        assert run(["clusters"]) == 0
        assert run(["clusters", "--css-endpoint", "http://127.0.0.1:1"]) == 1
        assert capsys.readouterr().out.count("demo") == 1

    on_a_state_service(work)


# --- Watching -------------------------------------------------------------------------------------


@contextmanager
def watching(url: str, folder: Path, *words: str) -> Iterator[Running]:
    """`blox watch …` as a process, its lines in a file."""
    variables = {"BLOX_CSS_ENDPOINT": url}
    command = ["-m", "blox.cli.main", "watch", *words]
    with running(command, output=folder / "watch.out", environment=variables) as process:
        yield process


def left(process: Running) -> int:
    """Its exit code after Ctrl-C."""
    process.signal(signal.SIGINT)
    wait_until(lambda: not process.alive(), what="left")
    return process.stop()


def test_changes_come_line_by_line(tmp_path: Path) -> None:
    def work(bench: Bench) -> None:
        with watching(bench.url, tmp_path, "tasks") as process:
            process.wait_for_output("no tasks")
            bench.world(lambda cloud, now: started(cloud, now))
            bench.swept()
            process.wait_for_output("  new, ")
            process.wait_for(lambda: process.output.count("-> RUNNING") == 2, what="both run")
            assert left(process) == 130
        lines = [masked(line) for line in process.output.splitlines() if line]
        assert lines[0] == "no tasks"
        changes = [line for line in lines if line.startswith("«time»")]
        assert changes == lines[1:]
        assert all(
            line.startswith("«time»  demo  task «id» agent:1 on «host»  ") for line in changes
        )

    on_a_state_service(work)


def test_json_is_everything_and_then_what_changes(tmp_path: Path) -> None:
    def work(bench: Bench) -> None:
        with watching(bench.url, tmp_path, "instances", "--cluster", "demo", "--json") as process:
            process.wait_for(lambda: process.output.count("\n") == 3, what="all listed")
            bench.world(lambda cloud, now: cloud.drain_host(hosts_of(cloud)[0], now=now))
            bench.swept()
            process.wait_for_output("DRAINING")
            assert left(process) == 130
        listed, *lines = [json.loads(line) for line in process.output.split("\n") if line]
        assert (listed["event"], listed["data"]) == ("listed", {"reason": None, "instances": 2})
        assert {line["event"] for line in lines} == {"instance"}
        assert all(line["data"]["cluster"] == "demo" for line in lines)
        assert [line["data"]["instance"]["status"] for line in lines[:2]] == ["ACTIVE"] * 2
        drained = next(
            line for line in lines[2:] if line["data"]["instance"]["status"] == "DRAINING"
        )
        versions = [line["data"]["version"] for line in lines[2:]]
        assert versions == sorted(versions)
        assert drained["position"] == f"k3f9p2.{drained['data']['version']}"

    on_a_state_service(work, hosts=2, clusters=("demo", "edge"))


def test_filters_choose_tasks(tmp_path: Path, play: Callable[..., None]) -> None:
    def work(blox: Blox, bench: Bench) -> None:
        with watching(bench.url, tmp_path, "--group", "service:web") as process:
            process.wait_for_output("1 task = ")
            bench.world(lambda cloud, now: started(cloud, now))
            bench.swept()
            process.wait_for_output("new, ")
            bench.swept()
            assert left(process) == 130
        assert process.output.count("new, ") == 1
        blox("watch", "instances", "--group", "service:web", code=1)
        assert "--started-by and --group choose tasks" in blox.errors
        blox("watch", "--cluster", "none", code=1)
        assert "No cluster none is watched here" in blox.errors

    play(work, furnish=started, **TWO)


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


def test_a_service_that_is_killed_is_followed_again_without_a_gap(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    port = free_port()

    def start() -> str:
        return world.happen(
            lambda server, now: server.cloud.start_foreign(
                "demo", hosts_of(server.cloud)[0], "agent", now=now
            )
        )

    with ExitStack() as services:
        first = services.enter_context(state_service(world, tmp_path, port=port))
        first.wait_ready().wait_swept()
        with watching(f"http://127.0.0.1:{port}", tmp_path, "tasks") as process:
            process.wait_for_output("no tasks")
            before = start()
            process.wait_for_output(before.rsplit("/", 1)[-1][:8])
            first.process.kill()
            process.wait_for_output("No cluster-state-service answers")
            meanwhile = start()
            services.enter_context(state_service(world, tmp_path, port=port)).wait_ready()
            process.wait_for_output(meanwhile.rsplit("/", 1)[-1][:8])
            after = start()
            process.wait_for_output(after.rsplit("/", 1)[-1][:8])
            assert left(process) == 130
    printed = process.output
    assert printed.count("No cluster-state-service answers") == 1
    assert "nothing is missed" in printed or "listed again (" in printed
    assert printed.count("  new, ") == 3, printed
    assert "  gone" not in printed


# --- On a terminal --------------------------------------------------------------------------------


class Screen:
    """A terminal on which a command runs."""

    def __init__(self, url: str, *words: str, width: int, height: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        variables = {"BLOX_CSS_ENDPOINT": url, "TERM": "xterm-256color"}
        variables |= {"COLUMNS": f"{width}", "LINES": f"{height}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "blox.cli.main", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(variables),
        )
        os.close(theirs)
        self._printed = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._ours, 65536):
                self._printed += chunk
        except OSError:  # The other side has closed.
            pass

    @property
    def raw(self) -> str:
        """All that was printed, as it came."""
        return self._printed.decode(errors="replace")

    def wait(self, text: str) -> None:
        """Wait until it was printed."""
        try:
            wait_until(lambda: text in self.raw, within=20.0)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {self.raw[-3000:]!r}") from None

    def pictures(self) -> list[list[str]]:
        """The lines of each picture that was drawn, without styles."""
        plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", one) for one in self.raw.split("\x1b[H")]
        return [one.replace("\r", "").split("\n") for one in plain if "blox watch" in one]

    def end(self, *, interrupt: bool) -> int:
        """Its exit code, after Ctrl-C if that is what ends it."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20.0)
        self._reader.join(20.0)
        os.close(self._ours)
        return code


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_that_is_kept_up_to_date(width: int) -> None:
    def work(bench: Bench) -> None:
        screen = Screen(bench.url, "watch", "tasks", "--cluster", "demo", width=width)
        screen.wait("no tasks")
        bench.world(lambda cloud, now: started(cloud, now))
        bench.swept()
        screen.wait("2 tasks = 2 RUNNING")
        code = screen.end(interrupt=True)
        assert code == 130
        first, *_, last = screen.pictures()
        assert first[0].startswith("blox watch tasks   demo   live   ")
        rows = [line for line in last if "agent:1  RUNNING" in line]
        assert len(rows) == 2
        assert all(len(line) <= width for picture in screen.pictures() for line in picture)
        assert "\x1b[?1049h" in screen.raw, "a screen of its own"
        assert screen.raw.rindex("\x1b[?1049l") > screen.raw.rindex("\x1b[?1049h"), "is left"
        assert "Aborted" not in screen.raw
        assert "Traceback" not in screen.raw

    on_a_state_service(work)


def test_the_overview_shows_every_cluster() -> None:
    def work(bench: Bench) -> None:
        screen = Screen(bench.url, "watch", width=120)
        screen.wait("edge")
        assert screen.end(interrupt=True) == 130
        shown = [" ".join(line.split()) for line in screen.pictures()[-1]]
        assert "CLUSTER STATUS HOSTS TASKS READ COMPLETELY" in shown
        assert any(line.startswith("demo ACTIVE 3 ACTIVE none ") for line in shown)

    on_a_state_service(work, **TWO)


def test_lists_fit_a_terminal_and_say_what_they_leave_out() -> None:
    def work(bench: Bench) -> None:
        narrow = Screen(bench.url, "instances", width=80)
        assert narrow.end(interrupt=False) == 0
        assert "(no room here for TYPE, ZONE, PROVIDER, ID)" in narrow.raw
        plain = re.sub(r"\x1b\[[0-9;]*m", "", narrow.raw).replace("\r", "").splitlines()
        assert all(len(line) <= 80 for line in plain)
        wide = Screen(bench.url, "instances", width=140)
        assert wide.end(interrupt=False) == 0
        assert "no room" not in wide.raw
        assert "us-east-1" in wide.raw

    on_a_state_service(work, **TWO)


def test_nothing_is_coloured_in_a_pipe(play: Callable[..., None]) -> None:
    def work(blox: Blox, _: Bench) -> None:
        for words in (("clusters",), ("instances",), ("tasks",)):
            assert "\x1b" not in blox.raw(*words)

    play(work, furnish=started)
