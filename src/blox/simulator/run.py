"""Play seeds: `python -m blox.simulator.run --seed 7` replays one, `--seeds 0-299` plays many.

Exits 1 when a promise was broken, and prints for each such seed what was seen and the command that
replays it.
"""

import sys
import time
from collections.abc import Iterator

import click
import structlog

from blox.simulator.scenario import Outcome, Scenario


def play(seed: int, *, verbose: bool = False, broken: bool = False, http: bool = False) -> Outcome:
    """Play one seed."""
    return Scenario(seed, verbose=verbose, broken=broken, http=http).play()


def describe(outcome: Outcome) -> Iterator[str]:
    """What went wrong with a seed, and how to see it again; nothing for a good one."""
    if outcome.good:
        return
    yield f"seed {outcome.seed}: {len(outcome.violations)} violations"
    if outcome.failure:
        yield f"  the scheduler failed: {outcome.failure}"
    for violation in outcome.violations[:10]:
        yield "  " + str(violation).replace("\n", "\n  ")
    view = " --view http" if outcome.http else ""
    yield f"  replay: python -m blox.simulator.run --seed {outcome.seed}{view} --verbose"


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


@click.command()
@click.option("--seed", type=int, help="Play this one.")
@click.option("--seeds", default="0-99", show_default=True, help="FIRST-LAST.")
@click.option("--broken", is_flag=True, help="ECS breaks the assumptions E and V on purpose.")
@click.option(
    "--view",
    type=click.Choice(["own", "http"]),
    default="own",
    show_default=True,
    help="Who keeps the scheduler's view: itself, or cluster-state-services that it follows.",
)
@click.option("--verbose", is_flag=True, help="Print every step of the workload.")
def main(seed: int | None, seeds: str, *, broken: bool, view: str, verbose: bool) -> None:
    """Play seeded worlds under virtual time and judge them by what ECS saw."""
    if not verbose:
        structlog.configure(processors=[_silence])
    bad = 0
    began = time.perf_counter()
    chosen = [seed] if seed is not None else list(_seeds(seeds))
    for number in chosen:
        outcome = play(number, verbose=verbose, broken=broken, http=view == "http")
        bad += not outcome.good
        for line in describe(outcome):
            click.echo(line)
        if seed is not None:
            click.echo(f"{outcome.statistics}")
            click.echo(f"tolerated {outcome.tolerated}, named {outcome.doubles_named}")
            click.echo(f"trace {outcome.trace}")
    seconds = time.perf_counter() - began
    click.echo(f"{len(chosen)} seeds, {bad} bad, {seconds:.1f} s")
    sys.exit(1 if bad else 0)


def _silence(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
