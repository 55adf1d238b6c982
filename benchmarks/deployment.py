"""A first deployment at size, with AWS's published quotas enforced: calls, doubles, time."""

from benchmarks.figures import Figure, at_most, say
from benchmarks.stage import Stage, opened
from benchmarks.truth import Seen, fewest_calls, quickest, seen_since
from benchmarks.virtual import VirtualWorld
from blox.settings import PacingSettings, Settings
from blox.simulator import loop

SLOWER_AT_MOST = 1.15
"""Times the floor of the configured share."""
OLD = "0.3, same quotas, 2,000 hosts"
OLD_CALLS = 246
OLD_DOUBLES = 421
OLD_STOPS = 1062
OLD_WITHOUT = 228
"""What blox 0.3 did with 2,000 hosts and the quotas enforced. Without them: 232 calls, 210 hosts
with two, 426 stops, 102 hosts without."""


def run(sizes: tuple[int, ...] = (2000, 5000), *, on_the_wire: int = 2000) -> list[Figure]:
    """Under virtual time for each of `sizes`, then with real processes."""
    figures: list[Figure] = []
    for hosts in sizes:
        say(f"deployment: {hosts:,} hosts under virtual time")
        seen, took, throttled = loop.run(_virtual(hosts))
        figures += figures_of(hosts, seen, took, throttled, where="virtual time")
    if on_the_wire:
        say(f"deployment: {on_the_wire:,} hosts, a daemon-scheduler process, HTTP and SQS")
        seen, took, throttled = opened(_wire, hosts=on_the_wire)
        figures += figures_of(on_the_wire, seen, took, throttled, where="real process")
    return figures


async def _virtual(hosts: int) -> tuple[Seen, float, int]:
    world = await VirtualWorld.begin(hosts, settings=Settings())
    environment = await world.create("logs")
    begin = world.live.now()
    await world.deploy(environment)
    await world.completed(environment, hosts, what=f"deployment of {hosts:,}, virtual")
    seen = seen_since(world.cloud, begin)
    throttled = world.cloud.throttled
    await world.end()
    return seen, seen.last - begin, throttled


async def _wire(stage: Stage) -> tuple[Seen, float, int]:
    async with stage.scheduler():
        await stage.primed()
        await stage.create("logs")
        begin = stage.server.now()
        await stage.deploy("logs")
        await stage.completed("logs", what="deployment, real process")
        seen = seen_since(stage.cloud, begin)
    return seen, seen.last - begin, stage.cloud.throttled


def figures_of(hosts: int, seen: Seen, took: float, throttled: int, *, where: str) -> list[Figure]:
    """What is said of one deployment."""
    pacing = PacingSettings()
    name = f"first deployment, {hosts:,} hosts, {where}"
    fewest = fewest_calls(hosts)
    old = hosts == 2000
    return [
        Figure(
            what=f"{name}: StartTask calls",
            measured=seen.calls,
            reference=fewest,
            reference_is="floor: ⌈hosts / 10⌉" + (f"; {OLD}: {OLD_CALLS}" if old else ""),
            target="= 1",
            met=seen.calls == fewest,
        ),
        Figure(
            what=f"{name}: throttled calls",
            measured=throttled,
            target="0",
            met=throttled == 0,
        ),
        Figure(
            what=f"{name}: hosts that had two",
            measured=seen.doubles,
            reference_is=f"{OLD}: {OLD_DOUBLES}" if old else "",
            target="0",
            met=seen.doubles == 0,
        ),
        Figure(
            what=f"{name}: stops, and hosts left without",
            measured=seen.stops + seen.without,
            reference_is=f"{OLD}: {OLD_STOPS:,} stops, {OLD_WITHOUT} without" if old else "",
            target="0",
            met=seen.stops + seen.without == 0,
        ),
        Figure(
            what=f"{name}: until the last StartTask",
            measured=took,
            unit="s",
            reference=quickest(fewest, pacing),
            reference_is=f"floor: calls / ({pacing.repair_share:g} x 40/s), bucket empty at first",
            target=f"≤ {SLOWER_AT_MOST}",
            met=at_most(SLOWER_AT_MOST * quickest(fewest, pacing), took),
        ),
    ]
