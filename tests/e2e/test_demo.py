"""`blox demo` as people run it: a process with a terminal, a pipe, a signal."""

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blox.cli.simulator_client import Simulator
from support.processes import Running, clean_environment, run, running, wait_until

DEMO = ["-m", "blox.cli.main", "demo"]
AWS = str(Path(sys.executable).with_name("aws"))
DISTURBANCES = {
    "deploy",
    "join",
    "kill",
    "drain",
    "disconnect",
    "terminate",
    "duplicate",
    "crash-loop",
    "lost answer",
    "kill -9",
    "rolling update",
    "bad request",
    "end",
}


def leftovers(folder: Path) -> list[str]:
    """Command lines of processes that have to do with this folder, and what is left in it."""
    found = [str(path) for path in folder.glob("blox-demo-*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{folder}/blox-demo-" in line:
                found.append(line)
    return found


def scheduler_of(folder: Path) -> int:
    """The process id of the demo's scheduler; 0 when there is none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/blox-demo-".encode() in path.read_bytes():
                return int(path.parent.name)
    return 0


@contextlib.contextmanager
def at_once(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """`blox demo --once`, its files in `folder`, its progress in `folder`/progress."""
    with (folder / "progress").open("w") as progress:
        process = subprocess.Popen(
            [sys.executable, *DEMO, "--once"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            env=clean_environment({"TMPDIR": str(folder)}),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_once_keeps_every_promise_and_says_so_in_json(tmp_path: Path) -> None:
    done = run([sys.executable, *DEMO, "--once"], environment={"TMPDIR": str(tmp_path)}, within=110)
    assert done.returncode == 0, done.stderr + done.stdout
    receipt = json.loads(done.stdout)
    assert receipt["passed"] is True
    assert receipt["violations"] == []
    assert {one["name"] for one in receipt["disturbances"]} == DISTURBANCES
    assert all(one["passed"] and one["happened"] for one in receipt["disturbances"])
    assert len(receipt["promises"]) == 10
    assert all(promise["held"] and promise["seen"] for promise in receipt["promises"].values())
    seen = receipt["receipt"]
    assert seen["hosts"] == 12
    assert seen["hostsWithTwo"] == seen["throttled"] == seen["inDoubt"] == 0
    assert seen["answersLost"] == 1
    assert seen["calls"]["StartTask"] < seen["starts"]
    assert 0 < seen["startLatency"]["p50Ms"] <= seen["startLatency"]["p99Ms"]
    assert 0 < seen["worstSecondsWithoutDaemon"] < receipt["seconds"]
    assert "\x1b" not in done.stderr
    assert silences(done.stderr) <= 4.0
    assert leftovers(tmp_path) == []


def silences(progress: str) -> float:
    """The longest time between two lines, in seconds. One is meant to come every two."""
    stamps = [float(text) for text in re.findall(r"^ *([0-9.]+) s  ", progress, re.MULTILINE)]
    return max(after - before for before, after in itertools.pairwise(stamps))


def start_a_second_daemon(url: str) -> None:
    """What blox promises never to do: a second task that carries the same startedBy and marker."""
    state = Simulator(url).get("state")
    task = next(
        task
        for host in state["clusters"]["demo"]["hosts"]
        for task in host["tasks"]
        if task["marker"] and task["lastStatus"] == "RUNNING"
    )
    variable = {"name": "BLOX_INTENT", "value": task["marker"]}
    overrides = {"containerOverrides": [{"name": "fluent-bit", "environment": [variable]}]}
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "simulator",
    }
    arguments = ["--cluster", "demo", "--task-definition", task["taskDefinitionArn"]]
    arguments += ["--container-instances", task["host"], "--started-by", task["startedBy"]]
    arguments += ["--group", task["group"], "--overrides", json.dumps(overrides)]
    started = run([AWS, "ecs", "start-task", *arguments], environment=environment)
    assert started.returncode == 0, started.stderr
    assert len(json.loads(started.stdout)["tasks"]) == 1


def test_once_fails_when_ecs_sees_two_daemons_on_a_host(tmp_path: Path) -> None:
    with at_once(tmp_path) as process:
        progress = tmp_path / "progress"
        wait_until(lambda: "deploy: ok" in progress.read_text(), within=30, what="deployed")
        url = re.search(r"simulated AWS at (http://[0-9.:]+)", progress.read_text())
        assert url is not None
        start_a_second_daemon(url[1])
        stdout, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    receipt: dict[str, Any] = json.loads(stdout)
    assert receipt["passed"] is False
    assert receipt["receipt"]["hostsWithTwo"] == 1
    assert receipt["promises"]["neverTwo"]["held"] is False
    assert "2 live daemons" in receipt["promises"]["neverTwo"]["seen"]
    assert leftovers(tmp_path) == []


def test_once_interrupted_prints_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with at_once(tmp_path) as process:
        progress = tmp_path / "progress"
        wait_until(lambda: "deploy: " in progress.read_text(), within=30, what="begun")
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert stdout == ""
    assert leftovers(tmp_path) == []


# --- Live -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def piped(folder: Path) -> Iterator[Running]:
    """`blox demo` with its output in a file."""
    environment = {"TMPDIR": str(folder)}
    with running(DEMO, output=folder / "output", environment=environment) as demo:
        yield demo


def test_without_a_terminal_it_prints_plain_lines_until_it_is_told_to_end(tmp_path: Path) -> None:
    with piped(tmp_path) as demo:
        demo.wait_for_output("joins the cluster", within=40)
        demo.wait_for_output("13 wanted = ", within=40)
        assert demo.stop(within=10) == 0
        said = demo.output
    assert "\x1b" not in said
    assert "one daemon, target revision, healthy" in said
    assert "hosts that ever had two daemons: 0" in said.splitlines()[-1]
    assert leftovers(tmp_path) == []


def test_what_it_tells_to_type_works(tmp_path: Path) -> None:
    with piped(tmp_path) as demo:
        said = demo.wait_for_output("list-tasks", within=30)
        demo.wait_for_output("one daemon, target revision, healthy", within=30)
        lines = [line for line in said.splitlines() if line.startswith("  ")]
        first = re.search(r"first: +(\. \S+/env)", said)
        assert first is not None
        typed = [line.strip() for line in lines if not line.strip().startswith("#")]
        script = "\n".join(["set -e", first[1], *typed])
        done = run(["sh", "-c", script], within=60)
        assert done.returncode == 0, done.stderr
        assert demo.alive()
    assert '"taskArns"' in done.stdout
    assert "ApproximateNumberOfMessages" in done.stdout


def test_when_the_scheduler_dies_the_demo_says_so_with_its_last_lines(tmp_path: Path) -> None:
    with piped(tmp_path) as demo:
        demo.wait_for_output("healthy", within=30)
        os.kill(scheduler_of(tmp_path), signal.SIGKILL)
        wait_until(lambda: not demo.alive(), within=10, what="ended")
        assert demo.stop() == 1
        said = demo.output
    last = said[said.index("The process of daemon-scheduler ended by itself (-9)") :]
    assert "StartTask" in last or "blox" in last
    assert leftovers(tmp_path) == []


def test_kill_9_of_the_demo_takes_the_scheduler_along(tmp_path: Path) -> None:
    with piped(tmp_path) as demo:
        demo.wait_for_output("healthy", within=30)
        assert scheduler_of(tmp_path)
        demo.kill()
        wait_until(lambda: not scheduler_of(tmp_path), within=12, what="the scheduler has ended")


def test_nothing_is_started_for_a_demo_that_has_ended_meanwhile() -> None:
    done = run([sys.executable, "-m", "blox.cli.demo_leash", "1", "/bin/echo", "started"])
    assert done.returncode == 1
    assert done.stdout == ""
    own = ["-m", "blox.cli.demo_leash", str(os.getpid()), "/bin/echo", "started"]
    assert run([sys.executable, *own]).stdout == "started\n"


class Terminal:
    """A process on a pseudo-terminal; what it paints is kept."""

    def __init__(self, folder: Path, *, width: int, height: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        environment = clean_environment({"TMPDIR": str(folder), "TERM": "xterm-256color"})
        self.process = subprocess.Popen(
            [sys.executable, *DEMO],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")},
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        self.painted = ""
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._closed.is_set():
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    data = os.read(self._master, 65_536)
                except OSError:  # the other end is closed
                    return
                self.painted += data.decode(errors="replace")

    def screen(self) -> str:
        """The last frame that is whole, without its colours."""
        frames = self.painted.split("\x1b[H")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-2] if len(frames) > 1 else "")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._closed.set()
        self._reader.join()
        os.close(self._master)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(("width", "height"), [(80, 30)])
def test_ctrl_c_ends_the_live_view(tmp_path: Path, width: int, height: int) -> None:
    terminal = Terminal(tmp_path, width=width, height=height)
    try:
        wait_until(
            lambda: "12 wanted = 12 current" in terminal.screen(), within=40, what="12 current"
        )
        screen = terminal.screen()
        asked = time.monotonic()
        terminal.type("\x03")
        assert terminal.process.wait(10) == 0
        assert time.monotonic() - asked < 10
        wait_until(lambda: "had two daemons: 0" in terminal.painted[-400:], what="the receipt")
    finally:
        terminal.close()
    assert "Ctrl-C ends it" in screen
    assert screen.count("RUNNING") >= 12
    assert "hosts that ever had two daemons: 0" in screen
    assert "aws ecs stop-task --cluster demo --task" in screen
    assert all(len(line.rstrip()) <= width for line in screen.splitlines())
    assert "\x1b[?1049l" in terminal.painted
    assert leftovers(tmp_path) == []
