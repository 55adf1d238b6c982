"""The documentation's transcripts, typed again as a user would, and compared with what is shown.

A fenced block of the language `console` is a transcript. A line that begins with `$ ` is typed; the
lines below it are what was printed. Besides:

- a line that is only `…` stands for any number of lines;
- a line that is only `^C` is pressed when all that stands above it has been printed;
- a line that is indented by ten spaces or more goes on with the line before: long lines are broken
  for the page, and terminals break them elsewhere;
- an HTML comment that begins with `<!-- meanwhile` has commands that the reader does not see, one a
  line: what happens to the cluster between two blocks.

Before comparing, whatever differs from run to run is masked on both sides: ids, hosts, times,
spans, sizes and ports; and runs of spaces, because columns are as wide as what stands in them.
"""

import difflib
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from support.processes import Running, clean_environment, free_port, run, running, wait_until
from support.prose import ROOT

ANY: Final = "…"
"""Alone on a line: any number of lines."""
INTERRUPT: Final = "^C"
_GOES_ON: Final = re.compile(r" {10,}(?=\S)")
_BLOCK: Final = re.compile(
    r"^```console\n(?P<shown>.*?)^```$|^<!-- meanwhile\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
_MASKS: Final = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "«uuid»"),
    (r"\bi-[0-9a-f]{17}\b", "«host»"),
    (r"\bi-[0-9a-f]{6}…", "«host…»"),
    (r"\b[0-9a-f]{32}\b", "«id»"),
    (r"\b[0-9a-f]{8}…", "«id…»"),
    (r"/\d+/[0-9a-f]{8}\b", "/«n»/«mark»"),
    (r"\becs-svc/\d+", "ecs-svc/«n»"),
    (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "«id»"),
    (r"http://127\.0\.0\.1:\d+", "«url»"),
    (r"\b127\.0\.0\.1:\d+", "«address»"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?: UTC|Z)", "«time»"),
    (r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b", "«time»"),
    (r"\b\d+(?:\.\d+)? (?:ms|s|min|h|d)\b", "«span»"),
    (r"\b\d+(?:\.\d+)? (?:B|kB|MB)\b", "«size»"),
    (r"\b\d+ (calls?|messages?|records?)\b", r"«n» \1"),
    (r"(queue blox-state +)\d+ visible", r"\1«n» visible"),
)
_LOOKING: Final = (
    *("blox clusters", "blox instances", "blox tasks"),
    *("blox audit", "blox doctor", "blox status", "blox hosts", "blox explain", "blox orphans"),
    *("blox environments list", "blox environments show", "blox deployments"),
    "blox simulate state",
)
"""They change nothing: looked at again until they show what they should, because the scheduler
sees what happened a moment later. `blox hosts hold` and `release` are not among them."""
_ACTING: Final = ("blox clusters sweep", "blox hosts hold", "blox hosts release")
_SERVICES: Final = {
    "daemon-scheduler": "blox.cli.services",
    "cluster-state-service": "blox.cli.state_service",
}
"""Commands that run beside the others, and their modules."""
_STATE_SERVICE: Final = "127.0.0.1:3000"
"""Where documents have the cluster-state-service answer."""
_HOME: Final = "/home/you/"
"""What documents call the folder in which the commands are typed."""
_ASKED: Final = re.compile(r"  aws ecs update-service ")
_SOON: Final = 20.0
_LONGEST: Final = 60.0


class Step(NamedTuple):
    """A command of a document, and what it printed there."""

    place: str
    """FILE:LINE, for people."""
    command: str
    shown: tuple[str, ...] | None
    """None: what it prints is not shown, and it must succeed."""


def steps(path: Path) -> list[Step]:
    """Every command of a document, in order."""
    text = path.read_text(encoding="utf-8")
    found: list[Step] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        hidden = match.group("hidden")
        if hidden is None:
            found += _typed(path.name, line, match.group("shown"))
        else:
            lines = enumerate(hidden.splitlines(), start=line)
            found += [Step(f"{path.name}:{n}", one, None) for n, one in lines if one.strip()]
    return found


def _typed(name: str, line: int, block: str) -> Iterator[Step]:
    lines = block.splitlines()
    if not lines or not lines[0].startswith("$ "):
        raise AssertionError(f"{name}:{line}: a transcript begins with a command: `$ …`")
    number = 0
    while number < len(lines):
        place, command = f"{name}:{line + number}", lines[number][2:]
        number += 1
        while command.endswith("\\"):
            command = command[:-1].rstrip() + " " + lines[number].strip()
            number += 1
        end = number
        while end < len(lines) and not lines[end].startswith("$ "):
            end += 1
        yield Step(place, command, tuple(lines[number:end]))
        number = end


def masked(lines: Sequence[str]) -> list[str]:
    """Without what differs from run to run; broken lines are whole again, empty ones left out."""
    whole: list[str] = []
    for line in lines:
        if whole and _GOES_ON.match(line):
            whole[-1] += " " + line.strip()
        elif line.strip():
            whole.append(line.rstrip())
    found = []
    for line in whole:
        for pattern, instead in _MASKS:
            line = re.sub(pattern, instead, line)
        found.append(re.sub(r" +", " ", line))
    return found


def difference(shown: Sequence[str], printed: Sequence[str]) -> str:
    """What the document shows and what was printed, side by side; "" if they agree."""
    wanted, got = masked([line for line in shown if line != INTERRUPT]), masked(printed)
    pattern = "".join(r"(?:.*\n)*?" if line == ANY else re.escape(line) + r"\n" for line in wanted)
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in got)):
        return ""
    lines = difflib.unified_diff(wanted, got, "the document", "what was printed", lineterm="", n=99)
    return "\n".join(lines)


class Terminal(AbstractContextManager["Terminal"]):
    """Where a document's commands are typed, one after the other, in one folder.

    `daemon-scheduler …` and `cluster-state-service …` run beside the others, as in other terminals,
    on ports of their own; typed again, the former one is ended first, as by Ctrl-C.
    """

    def __init__(self, folder: Path, *, url: str, extra: Mapping[str, str]) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in _SERVICES}
        self._code = 0
        self._stack = ExitStack()
        self._services: dict[str, Running] = {}
        (folder / "examples").symlink_to(ROOT / "examples")
        self._environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "sre",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "BLOX_SIMULATOR": url,
            "BLOX_ENDPOINT": f"http://127.0.0.1:{self._ports['daemon-scheduler']}",
            "BLOX_CSS_ENDPOINT": f"http://127.0.0.1:{self._ports['cluster-state-service']}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **extra,
        }

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def log(self) -> str:
        """What the services have logged so far, for a failure's message."""
        logs = [f"{name}:\n{one.output[-4000:]}" for name, one in self._services.items()]
        return "\n".join(logs) or "no service was started"

    def type(self, step: Step) -> list[str]:
        """Do what a step says; the lines that it printed. Fails where they are not those shown."""
        words = shlex.split(step.command)
        if words[0] in _SERVICES:
            self._serve(words[0], [word for word in words[1:] if word != "&"])
            return []
        if words[0] == "export":
            self._environment |= dict(word.split("=", 1) for word in words[1:])
            return []
        if not (step.command.startswith(_LOOKING) and not step.command.startswith(_ACTING)):
            return self._once(step)
        printed: list[str] = []

        def agrees() -> bool:
            nonlocal printed
            printed = self._run(step)
            return step.shown is None or not difference(step.shown, printed)

        try:
            wait_until(agrees, within=_SOON)
        except AssertionError:
            raise self._failure(step, printed) from None
        return printed

    def _once(self, step: Step) -> list[str]:
        printed = self._run(step)
        if step.shown is None:
            if self._code != 0:
                raise self._failure(step, printed)
        elif difference(step.shown, printed):
            raise self._failure(step, printed)
        return printed

    def _failure(self, step: Step, printed: Sequence[str]) -> AssertionError:
        told = difference(step.shown, printed) if step.shown is not None else "\n".join(printed)
        return AssertionError(
            f"{step.place}: {step.command}   (exit code {self._code})\n{told}\n\n{self.log}"
        )

    def _run(self, step: Step) -> list[str]:
        """A command in a shell that knows how the one before ended: `echo $?` shows it. The
        constraint that `blox migrate` asks its reader for is given as soon as it stands there."""
        until = list(step.shown or ())
        until = until[: until.index(INTERRUPT)] if INTERRUPT in until else []
        with subprocess.Popen(
            ["bash", "-c", f"(exit {self._code}); {step.command}"],
            cwd=self._folder,
            env=clean_environment(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            watchdog = threading.Timer(_LONGEST, os.killpg, (process.pid, signal.SIGKILL))
            watchdog.start()
            printed: list[str] = []
            for line in process.stdout:
                printed.append(line.rstrip("\n").replace(f"{self._folder}/", _HOME))
                if step.command.startswith("blox migrate") and _ASKED.match(line):
                    self._obey(line.strip())
                if until and not difference(until, printed):
                    os.killpg(process.pid, signal.SIGINT)
                    until = []
            self._code = process.wait()
            watchdog.cancel()
        return printed

    def _obey(self, command: str) -> None:
        ended = run(["bash", "-c", command], environment=self._environment)
        assert ended.returncode == 0, f"{command}\n{ended.stderr}"

    def _serve(self, name: str, words: Sequence[str]) -> None:
        """Start a service, or start it again, and wait until it can serve."""
        if name in self._services:
            former = self._services.pop(name)
            assert former.stop() == 0, former.output
        port = self._ports[name]
        followed = f"127.0.0.1:{self._ports['cluster-state-service']}"
        flags = [
            followed
            if word == _STATE_SERVICE
            else word.replace("sqlite:", f"sqlite:{self._folder}/")
            for word in words
        ]
        arguments = ["-m", _SERVICES[name], "--bind", f"127.0.0.1:{port}", *flags]
        log = self._folder / f"{name}.log"
        log.unlink(missing_ok=True)
        started = self._stack.enter_context(
            running(arguments, output=log, environment=self._environment)
        )
        self._services[name] = started
        started.wait_for(lambda: self._ready(port), what="ready")

    def _ready(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
