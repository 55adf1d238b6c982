"""`blox migrate` as a person types it: a simulated ECS over the wire, a real scheduler, and the aws
command as it is printed."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from blox.cli.client import Client
from blox.cli.simulator_client import Simulator
from support.processes import Running, free_port, run, running, wait_until

T = TypeVar("T")

_MASKS: Final = (
    (r"\bi-[0-9a-f]{17}\b", "«host»"),
    (r"\b(gap) [\d.]+ (ms|s|min)\b", r"\1 «span»"),
)
_DEMO: Final = "demo/logs"
_MIGRATE: Final = ("migrate", "service/fluent-bit", "--to", _DEMO)


class Account:
    """A simulated account with a cluster, a DAEMON service on every host, and a scheduler."""

    def __init__(self, folder: Path, stack: ExitStack, *, hosts: int) -> None:
        self._folder = folder
        self._stack = stack
        self._printed = 0
        port, own = free_port(), free_port()
        self.simulator = f"http://127.0.0.1:{port}"
        self.endpoint = f"http://127.0.0.1:{own}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.simulator,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "simulator",
            "AWS_SECRET_ACCESS_KEY": "simulator",
            "BLOX_SIMULATOR": self.simulator,
            "BLOX_ENDPOINT": self.endpoint,
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        served = self.begin(
            "simulate", "serve", "--bind", f"127.0.0.1:{port}", "--hosts", str(hosts),
            "--service-delay", "0.3",
        )  # fmt: skip
        served.wait_for_output("export AWS_ENDPOINT_URL")
        module = ["-m", "blox.cli.services", "--store", f"sqlite:{folder}/blox.db"]
        module += ["--bind", f"127.0.0.1:{own}", "--queue", "blox-events", "--cluster", "demo"]
        self.scheduler = self._stack.enter_context(
            running(module, output=folder / "scheduler.log", environment=self.environment)
        )
        self.client = Client(self.endpoint)
        self.scheduler.wait_for(self._reads, what="the cluster is read")

    def _reads(self) -> bool:
        try:
            clusters = self.client.get("/v2/status")["clusters"]
        except Exception:  # noqa: BLE001 - it is not there yet
            return False
        return any(cluster["primed"] for cluster in clusters)

    def begin(self, *words: str) -> Running:
        """`blox WORDS…`, which goes on."""
        self._printed += 1
        return self._stack.enter_context(
            running(
                ["-m", "blox.cli.main", *words],
                output=self._folder / f"{self._printed}.out",
                environment=self.environment,
            )
        )

    def blox(self, *words: str, code: int = 0) -> list[str]:
        """`blox WORDS…` to its end; the lines it printed, masked."""
        ended = run(
            [sys.executable, "-m", "blox.cli.main", *words],
            environment=self.environment,
            within=90.0,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return masked(ended.stdout + ended.stderr)

    def shell(self, command: str) -> str:
        """A command line as somebody pastes it."""
        ended = run(["bash", "-c", command], environment=self.environment, within=60.0)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def report(self) -> Any:
        return self.client.get("/v2/environments/demo/logs/migration")

    def tasks(self) -> dict[str, int]:
        """Live tasks by group, in truth."""
        found: dict[str, int] = {}
        hosts = Simulator(self.simulator).get("state", {"cluster": "demo"})["clusters"]["demo"]
        for host in hosts["hosts"]:
            for task in host["tasks"]:
                found[task["group"]] = found.get(task["group"], 0) + 1
        return found

    def until(self, holds: Callable[[], T], *, what: str) -> T:
        return self.scheduler.wait_for(holds, within=60.0, what=what)

    def hurry(self) -> None:
        """All hosts at once, each healthy as soon as it runs: tests have no time."""
        self.blox(
            "environments", "change", _DEMO, "--max-unavailable", "100%", "--min-healthy", "0"
        )


@contextmanager
def account(folder: Path, *, hosts: int = 3) -> Iterator[Account]:
    """An account in which the service runs everywhere."""
    with ExitStack() as stack:
        made = Account(folder, stack, hosts=hosts)
        created = ("simulate", "services", "create", "fluent-bit", "fluent-bit")
        made.blox(*created, "--constraint", "attribute:ecs.os-type == linux")
        runs = {"service:fluent-bit": hosts}
        made.until(lambda: made.tasks() == runs, what="the service runs")
        yield made


def masked(text: str) -> list[str]:
    for pattern, shown in _MASKS:
        text = re.sub(pattern, shown, text)
    return [line.rstrip() for line in text.splitlines()]


def printed_command(watching: Running, verb: str) -> str:
    """The aws command in what was printed, to be copied."""
    start = f"  aws ecs {verb} "
    text = watching.wait_for_output(start, within=60.0)
    text = watching.wait_for(
        lambda: watching.output if "\n" in watching.output.split(start, 1)[1] else "",
        what="the whole line",
    )
    return next(line for line in text.splitlines() if line.startswith(start))


def ended(watching: Running, *, code: int) -> list[str]:
    """What it printed, once it has ended by itself."""
    wait_until(lambda: not watching.alive(), within=60.0, what="it ends")
    assert watching.stop() == code, watching.output
    return masked(watching.output)


@pytest.fixture(name="place")
def fixture_place(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


# --- The whole way --------------------------------------------------------------------------------


def test_from_the_service_to_blox_with_the_commands_as_printed(place: Account) -> None:
    watching = place.begin(*_MIGRATE, "--wave", "3")
    update = printed_command(watching, "update-service")
    assert place.tasks() == {"service:fluent-bit": 3}
    place.hurry()
    place.shell(update)
    delete = printed_command(watching, "delete-service")
    assert place.tasks() == {"blox:logs": 3}
    place.shell(delete)
    lines = ended(watching, code=0)
    assert lines[:2] == [
        "created demo/logs: it runs fluent-bit:1, as the service",
        "demo/logs takes over from service/fluent-bit, 1 host at once (of 3 asked for: its "
        "maxUnavailable is 10%), by the attribute blox.logs",
    ]
    assert lines[2:] == [
        "  3 hosts = 3 the service's",
        "run this once; it keeps what constraints the service has, and restarts nothing:",
        "",
        "  aws ecs update-service --cluster demo --service fluent-bit --placement-constraints "
        "'type=memberOf,expression=attribute:ecs.os-type == linux' "
        "'type=memberOf,expression=attribute:blox.logs !exists'",
        "",
        "  waiting for that; Ctrl-C is safe, it goes on",
        "the service has the constraint: hosts are being moved",
        "  moved  «host»   gap «span»   1 of 3",
        "  moved  «host»   gap «span»   2 of 3",
        "  moved  «host»   gap «span»   3 of 3",
        "demo/logs has its hosts: 3 hosts = 3 ours",
        "  receipt: 3 hosts moved · worst gap «span» («host») · mean gap «span» · hosts with two: "
        "0 (as far as the view saw)",
        "last, delete the service; nothing of ours is touched by that:",
        "",
        "  aws ecs delete-service --cluster demo --service fluent-bit",
        "",
        "  waiting until it is gone; Ctrl-C is safe, it goes on",
        "done: service/fluent-bit is gone, and demo/logs has every host: 3 of 3 wanted current",
        "  next: blox hosts demo/logs",
    ]
    assert place.blox("environments", "delete", _DEMO)[0] == "deleted demo/logs"


def test_ctrl_c_leaves_it_going_on_and_back_returns_every_host(place: Account) -> None:
    lines = place.blox(*_MIGRATE, "--wave", "3", "--detach")
    (update,) = (line for line in lines if line.startswith("  aws ecs update-service"))
    assert lines[-2:] == [
        "watch:    blox migrate service/fluent-bit --to demo/logs",
        "go back:  blox migrate service/fluent-bit --to demo/logs --back",
    ]
    place.hurry()
    watching = place.begin(*_MIGRATE)
    watching.wait_for_output("waiting for that")
    watching.signal(signal.SIGINT)
    lines = list(filter(None, ended(watching, code=130)))
    assert lines[-2:] == [
        "  it goes on; watch again: blox migrate service/fluent-bit --to demo/logs",
        "  give the hosts back: blox migrate service/fluent-bit --to demo/logs --back",
    ]
    place.shell(update)
    place.until(lambda: place.tasks() == {"blox:logs": 3}, what="all moved, unwatched")
    place.until(lambda: place.report()["phase"] == "moved", what="all healthy")
    refused = place.blox("environments", "delete", _DEMO, code=1)
    assert "Give them back first" in " ".join(refused)
    lines = place.blox(*_MIGRATE, "--back")
    assert place.tasks() == {"service:fluent-bit": 3}
    assert [line for line in lines if line.startswith("  back")] == [
        f"  back  «host»   gap «span»   {n} of 3" for n in (1, 2, 3)
    ]
    assert "service/fluent-bit has its hosts again: 3 hosts = 3 the service's" in lines
    assert "  next: blox environments delete demo/logs" in lines
    (undo,) = (line for line in lines if line.startswith("  aws ecs update-service"))
    place.blox("environments", "delete", _DEMO)
    place.shell(undo)
    query = "aws ecs describe-services --cluster demo --services fluent-bit --query"
    left = place.shell(f"{query} 'services[0].placementConstraints[].expression' --output text")
    assert left.strip() == "attribute:ecs.os-type == linux"
    assert place.tasks() == {"service:fluent-bit": 3}


def test_a_definition_that_fails_stops_it_with_exit_3(place: Account) -> None:
    place.shell(
        "aws ecs register-task-definition --family broken --container-definitions "
        "name=broken,image=broken:1,memory=32"
    )
    place.blox("simulate", "daemons", "crash-loop", "broken", "--after", "0.5")
    place.blox(*_MIGRATE, "--task-definition", "broken", "--detach")
    place.shell(place.report()["constraint"]["command"])
    lines = place.blox(*_MIGRATE, code=3)
    stopped = next(line for line in lines if line.startswith("STOPPED"))
    assert "daemons fail on hosts that were moved; no further host is moved" in stopped
    assert "1 moving + 2 the service's" in stopped
    assert any("died young" in line for line in lines)
    assert place.tasks()["service:fluent-bit"] == 2
    place.blox(*_MIGRATE, "--back")
    assert place.tasks() == {"service:fluent-bit": 3}


def test_what_is_mistyped_changes_nothing(place: Account) -> None:
    cases = [
        (("migrate", "task/x", "--to", _DEMO), "names no service"),
        (("migrate", "service/none", "--to", _DEMO), "There is no service none"),
        (("migrate", "service/none", "--to", "logs"), "is on no cluster that blox watches"),
        ((*_MIGRATE, "--cluster", "demo"), "Name the cluster once"),
        ((*_MIGRATE, "--back"), "There is no environment demo/logs"),
        ((*_MIGRATE, "--finish"), "There is no environment demo/logs"),
        ((*_MIGRATE, "--back", "--finish"), "contradict each other"),
        ((*_MIGRATE, "--wave", "0"), "is not in the range"),
    ]
    for words, told in cases:
        assert told in " ".join(place.blox(*words, code=1)), words
    assert place.client.get("/v2/environments")["items"] == []
    place.blox("migrate", "service/fluent-bit", "--to", "logs", "--detach")
    assert place.client.get("/v2/environments/demo/logs")["migration"]["wave"] == 1
    assert place.blox(*_MIGRATE, "--timeout", "1", code=5)[-2].startswith("  it goes on")
