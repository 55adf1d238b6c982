"""`python -m benchmarks [NAME …]`: run all benchmarks, or those named, and print one table."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from benchmarks import (
    deployment,
    durability,
    environments,
    event_cost,
    http_reads,
    memory,
    promptness,
    state_events,
    state_reads,
    state_start,
)
from benchmarks.figures import Figure, say, table

BENCHMARKS: Final[Mapping[str, Callable[[], list[Figure]]]] = {
    "deployment": deployment.run,
    "promptness": promptness.run,
    "event-cost": event_cost.run,
    "environments": environments.run,
    "memory": memory.run,
    "http-reads": http_reads.run,
    "durability": durability.run,
    "state-reads": state_reads.run,
    "state-events": state_events.run,
    "state-start": state_start.run,
}
"""In the order in which they run."""


def main(names: Sequence[str]) -> int:
    """Run these, all when none is named; 2 for a name that is none of them."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"No benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.")
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        found = BENCHMARKS[name]()
        for figure in found:
            say(figure.line())
        figures += found
    print(table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
