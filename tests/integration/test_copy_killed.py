"""kill -9 of a process that keeps a stored copy, again and again, on a real disk."""

import random
from pathlib import Path

from support.processes import running

TESTS = Path(__file__).resolve().parents[1]
ROUNDS = 8


def test_killed_at_any_moment_it_has_what_was_settled_and_no_version_twice(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    pause = random.Random(7)
    settled: dict[str, tuple[int, int] | None] = {}
    touched: set[str] = set()
    given = 0
    names = set()
    for round_ in range(ROUNDS):
        output = tmp_path / f"told-{round_}"
        wanted = pause.randrange(2, 25)
        with running(
            ["-m", "support.copy_writer", str(path)],
            output=output,
            environment={"PYTHONPATH": str(TESTS)},
        ) as writer:
            writer.wait_for(lambda: output.read_bytes().count(b"SETTLED\n") >= wanted)  # noqa: B023
            writer.kill()
        lines = [line.split() for line in output.read_text().splitlines()]
        ready = lines.index(["READY"])
        loaded = {arn: (int(ours), int(ecs)) for _, arn, ours, ecs in lines_of(lines, "LOADED")}
        for arn, held in settled.items():
            now = loaded.get(arn)
            if arn not in touched:
                assert now == held, arn
            elif held is not None and now is not None:
                assert now >= held, arn
        first = [int(version) for _, _, version in lines_of(lines[ready:], "GIVEN")]
        assert first[0] > given
        assert first == sorted(first)
        given = first[-1]
        names |= {name for _, name, _ in lines_of(lines, "GIVEN")}
        settled = last_settled(lines)
        after = len(lines) - lines[::-1].index(["SETTLED"])
        touched = {arn for _, arn in lines_of(lines[after:], "TOUCHED")}
        assert settled
    assert len(names) == 1


def lines_of(lines: list[list[str]], word: str) -> list[list[str]]:
    return [line for line in lines if line and line[0] == word]


def last_settled(lines: list[list[str]]) -> dict[str, tuple[int, int] | None]:
    """What was acknowledged last, whole."""
    found: dict[str, tuple[int, int] | None] = {}
    complete: dict[str, tuple[int, int] | None] = {}
    for line in lines:
        if line == ["SETTLED"]:
            complete, found = found, {}
        elif line[0] == "HELD":
            found[line[1]] = (int(line[2]), int(line[3]))
        elif line[0] == "GONE":
            found[line[1]] = None
    return complete
