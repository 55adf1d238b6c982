"""`blox store backup`, against real processes: what was decided survives the loss of its file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blox.cli.main import run
from support.scheduling import Scheduler, SimulatedWorld, scheduler, simulated_world


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


def typed(blox: Scheduler, *words: str) -> int:
    """The exit code of `blox WORDS…` against a scheduler."""
    return run(["--endpoint", f"http://127.0.0.1:{blox.port}", *words])


def test_a_backup_is_made_while_it_runs_and_is_started_from_without_a_call(
    world: SimulatedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    with scheduler(world, tmp_path, queue=None) as blox:
        blox.wait_ready().create()
        blox.deployed()
        capsys.readouterr()
        assert typed(blox, "store", "backup", str(copy)) == 0
        lines = capsys.readouterr().out.splitlines()
        assert re.fullmatch(
            rf"backed up http://127\.0\.0\.1:{blox.port}: \d+ records, \d+ kB, checked", lines[0]
        )
        assert lines[1] == f"  {copy}"
        assert lines[3].endswith(f"daemon-scheduler --store sqlite:{copy}")
        assert lines[4].startswith("  it then waits ")
        assert copy.stat().st_mode & 0o777 == 0o600
        assert typed(blox, "store", "backup", str(copy)) == 1
        assert "exists. Choose another name, or say --replace." in capsys.readouterr().err
        assert typed(blox, "store", "backup", str(copy), "--replace", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["path"], told["bytes"]) == (str(copy), copy.stat().st_size)
        assert blox.process.stop() == 0
    (tmp_path / "blox.db").unlink()
    acted = world.acted()
    with scheduler(world, tmp_path, queue=None, store="copy.db") as again:
        again.wait_ready().wait_primed()
        again.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 3)
        assert "this store is a backup" in again.process.output
    assert world.acted() == acted


def test_a_file_is_copied_only_while_nobody_runs_on_it(
    world: SimulatedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, copy = tmp_path / "blox.db", tmp_path / "copy.db"
    with scheduler(world, tmp_path, queue=None) as blox:
        blox.wait_ready().create()
        words = ("store", "backup", str(copy), "--store", f"sqlite:{file}")
        assert run(words) == 1
        told = capsys.readouterr().err
        assert f"{file} is in use by process {blox.process.pid}" in told
        assert "leave out --store, and it makes the copy itself" in told
        assert blox.process.stop() == 0
    assert not copy.exists()
    assert run(words) == 0
    assert capsys.readouterr().out.startswith(f"backed up sqlite:{file}: ")
    with scheduler(world, tmp_path, queue=None) as original:
        original.wait_ready().wait_primed()
        assert "this store is a backup" not in original.process.output
        original.process.stop()
    with scheduler(world, tmp_path, queue=None, store="copy.db") as copied:
        copied.wait_ready()
        assert copied.get("/v2/environments/demo/logs")["revision"]["number"] == 1
        assert "this store is a backup" in copied.process.output


@pytest.mark.parametrize("source", ["blox.db", "sqlite:", "sqlite:nowhere.db", "etcd:blox"])
def test_what_is_no_store_makes_none(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["store", "backup", "copy.db", "--store", source]) == 1
    assert capsys.readouterr().err.startswith("blox: ")
    assert list(tmp_path.iterdir()) == []
