"""The scene in which commands are typed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from support.running import Bench, on_a_scheduler
from support.shell import Scene, Shell


@pytest.fixture
def scene(capsys: pytest.CaptureFixture[str]) -> Iterator[Scene]:
    """Run `work(shell, bench)` against a scheduler whose log does not go between the lines."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    def play(work: Callable[[Shell, Bench], None], **options: Any) -> None:
        on_a_scheduler(lambda bench: work(Shell(bench, capsys), bench), **options)

    yield play
    structlog.reset_defaults()
