"""What a person types, and what they read: `blox` against a scheduler on a socket.

Numbers that differ from run to run are masked: times, ids and spans become «…».
"""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from blox.cli.main import run
from support.processes import clean_environment
from support.running import Bench

_MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "«uuid»"),
    (r"\bi-[0-9a-f]{17}\b", "«host»"),
    (r"\b[0-9a-f]{32}\b", "«id»"),
    (r"\b[0-9a-f]{8}…", "«id»"),
    (r"http://127\.0\.0\.1:\d+", "«url»"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d( UTC|Z)", "«time»"),
    (r"\d\d:\d\d:\d\d\.\d{3}", "«time»"),
    (r"\([\d.]+ (ms|s|min|h|d) left\)", "(«span» left)"),
    (r"\b(in|after|for|for up to) [\d.]+ (ms|s|min|h)\b", r"\1 «span»"),
    (r"\b[\d.]+ (ms|s|min) ago", "«span» ago"),
    (r"\bid [0-9A-Z]{26}\b", "id «id»"),
)


class Shell:
    """Types commands and reads what they print."""

    def __init__(self, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        self._bench = bench
        self._capsys = capsys
        self.errors = ""

    def __call__(self, *words: str, code: int = 0) -> list[str]:
        """The lines that `blox WORDS…` prints, masked; it must end with `code`."""
        self._capsys.readouterr()
        ended = run(["--endpoint", self._bench.url, *words])
        printed = self._capsys.readouterr()
        self.errors = printed.err
        assert ended == code, f"{printed.out}\n{printed.err}"
        return [masked(line) for line in printed.out.splitlines()]

    def json(self, *words: str, code: int = 0) -> Any:
        """What `blox WORDS… --json` prints."""
        self._capsys.readouterr()
        end = words.index("--") if "--" in words else len(words)
        ended = run([*words[:end], "--endpoint", self._bench.url, "--json", *words[end:]])
        printed = self._capsys.readouterr()
        assert ended == code, f"{printed.out}\n{printed.err}"
        return json.loads(printed.out)


def masked(line: str) -> str:
    for pattern, shown in _MASKS:
        line = re.sub(pattern, shown, line)
    return re.sub(r" {2,}", "  ", line)


Scene = Callable[..., None]


def on_a_terminal(bench: Bench, *words: str, typed: str, width: int = 100) -> tuple[int, list[str]]:
    """The exit code of `blox WORDS…` on a terminal, and what it prints, with `typed` as the answer
    to what it asks."""
    ours, theirs = pty.openpty()
    environment = clean_environment({"COLUMNS": str(width), "BLOX_ENDPOINT": bench.url})
    process = subprocess.Popen(
        [sys.executable, "-m", "blox.cli.main", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    printed = b""
    try:
        while chunk := os.read(ours, 4096):
            printed += chunk
    except OSError:  # The other side has closed.
        pass
    os.close(ours)
    code = process.wait(30)
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())
    return code, [masked(line) for line in text.replace("\r\n", "\n").split("\n")]
