"""Real processes for tests: start, wait for what they do with a deadline, kill.

A test that waits on a condition passes as soon as it holds and fails, with what was last seen,
when the deadline has passed. What a process prints goes into a file and into the failure.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_POLL = 0.02


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def wait_until(look: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """The first truthy value of `look`. Fails when there is none `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or look}; last seen: {seen!r}")
        time.sleep(_POLL)


class Running:
    """A process that was started for a test."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it has printed so far, errors included."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, look: Callable[[], T], *, within: float = 20.0, what: str = "") -> T:
        """Like `wait_until`, and fails at once, with its output, when the process has ended."""

        def seen() -> T:
            found = look()
            if not found and not self.alive():
                raise AssertionError(f"ended with {self._process.returncode}:\n{self.output}")
            return found

        try:
            return wait_until(seen, within=within, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from error

    def wait_for_output(self, text: str, *, within: float = 20.0) -> str:
        """Its output, once `text` is in it."""
        self.wait_for(lambda: text in self.output, within=within, what=f"{text!r} printed")
        return self.output

    def signal(self, number: int) -> None:
        """Send it a signal: SIGTERM, SIGSTOP, SIGCONT, …"""
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.alive():
            self._process.kill()
        self._process.wait()

    def stop(self, *, within: float = 15.0) -> int:
        """SIGTERM, wait, and its exit code; kill -9 and fail when it does not leave."""
        if self.alive():
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"it did not leave within {within:g} s of SIGTERM:\n{self.output}"
            ) from None


@contextmanager
def running(
    arguments: Sequence[str], *, output: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A process of this Python (`python ARGUMENTS…`), killed at the end whatever happened.

    `environment` is added to our own, cleaned of AWS's and blox's variables.
    """
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=clean_environment(environment or {}),
        )
    started = Running(process, output)
    try:
        yield started
    finally:
        started.kill()


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    within: float = 30.0,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, whatever its exit code; its output as text."""
    return subprocess.run(
        list(arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        env=clean_environment(environment or {}),
        check=False,
    )


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """Our environment without AWS's and blox's variables, and no AWS files or metadata service."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BLOX_")) and not name.lower().endswith("_proxy")
    }
    nowhere = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }
    return {**kept, **nowhere, **added}
