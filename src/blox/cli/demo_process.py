"""The scheduler as the demo runs it: a process of its own, its output in a file."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from blox.base.errors import Unavailable

LEAVES_WITHIN: Final = 12.0
"""Seconds from SIGTERM to SIGKILL: the scheduler takes up to ten."""
_TAIL: Final = 12
_ENTRIES: Final = {
    "daemon-scheduler": ("blox.cli.services", "daemon_scheduler"),
    "cluster-state-service": ("blox.cli.state_service", "cluster_state_service"),
}
"""Where each service begins, for an installation without scripts."""


class SchedulerDied(Unavailable):
    """The scheduler's process ended although nobody asked it to."""


class SchedulerProcess:
    """One `daemon-scheduler`, which can be started again after its end."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        log: Path,
        service: str = "daemon-scheduler",
    ) -> None:
        """`arguments`: its options. `environ`: its whole environment. `service`: the command, when
        it is another of this installation's."""
        self._service = service
        self._arguments = list(arguments)
        self._environ = dict(environ)
        self.log = log
        self._process: asyncio.subprocess.Process | None = None
        self._asked_to_end = False
        self._watch: asyncio.Task[None] | None = None
        self.died = asyncio.Event()
        """It ended by itself."""

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it. It leads a session of its own: Ctrl-C in the terminal is the demo's alone."""
        self._asked_to_end = False
        with self.log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(command(self._service)),
                *self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environ,
                start_new_session=True,
            )
        self._watch = asyncio.create_task(self._watching(self._process))

    async def _watching(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if not self._asked_to_end:
            self.died.set()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not leave. Nothing happens if it does not run."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or self._watch is None:
            return
        self._asked_to_end = True
        if process.returncode is None:
            process.send_signal(number)
        try:
            await asyncio.wait_for(asyncio.shield(self._watch), LEAVES_WITHIN)
        except TimeoutError:
            process.kill()
            await self._watch

    def obituary(self) -> SchedulerDied:
        """What to say of its end: its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(f"  {line}" for line in lines[-_TAIL:]) or "  (it said nothing)"
        code = None if self._process is None else self._process.returncode
        return SchedulerDied(f"The process of {self._service} ended by itself ({code}):\n{last}")


def command(service: str = "daemon-scheduler") -> list[str]:
    """How to run a service of this installation."""
    script = Path(sys.executable).with_name(service)
    if script.exists():
        return [str(script)]
    entry = _ENTRIES[service]
    return [sys.executable, "-c", f"from {entry[0]} import {entry[1]} as serve; serve()"]


def leashed(arguments: Sequence[str]) -> list[str]:
    """The same command, which ends with this process whatever happens to it."""
    return [sys.executable, "-m", "blox.cli.demo_leash", str(os.getpid()), *arguments]


def environment(url: str, *, region: str, key: str, more: Mapping[str, str]) -> dict[str, str]:
    """Ours, with AWS being the simulator at `url` and nothing else, whatever this machine knows of
    accounts and proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BLOX_")) and not name.lower().endswith("_proxy")
    }
    services = {f"AWS_ENDPOINT_URL_{name}": url for name in ("ECS", "SQS", "STS")}
    return {
        **kept,
        **services,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "simulator",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
        **more,
    }
