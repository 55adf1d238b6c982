"""Taking over from a DAEMON service in random storms: whatever happens, never two, and an end."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from blox.base.errors import BloxError
from blox.simulator.faults import Faults
from blox.simulator.model import Switches
from support.drills import Drill, drilled
from support.migrating import Story


async def happens(story: Story, random: Random) -> None:
    """One thing that happens to processes, people, hosts or tasks."""
    drill = story.drill
    host = random.choice(drill.hosts)
    match random.randrange(7):
        case 0 | 1:
            await drill.crash_and_begin()
        case 2:
            await story.back(on=random.random() < 0.5)
        case 3:
            drill.add_host()
        case 4:
            live = [task.arn for task in drill.cloud.tasks.values() if task.live]
            if live:
                drill.happen(drill.cloud.kill_task, random.choice(live))
        case 5:
            drill.happen(drill.cloud.disconnect_agent, host)
            await asyncio.sleep(random.uniform(0.0, 120.0))
            drill.happen(drill.cloud.connect_agent, host)
        case _:
            drill.happen(drill.cloud.drain_host, host)
            await asyncio.sleep(random.uniform(0.0, 60.0))
            drill.happen(drill.cloud.activate_host, host)


async def calm(story: Story, *, back: bool) -> None:
    """Nothing goes wrong any more, and people say which way."""
    story.cloud.faults = Faults.none()
    for host in story.drill.hosts:
        story.drill.happen(story.cloud.connect_agent, host)
    await story.back(on=back)
    await story.in_phase("given-back" if back else "moved", within=4000.0)
    await asyncio.sleep(400.0)


@pytest.mark.parametrize("seed", range(40))
def test_never_two_and_everywhere_one_in_the_end(seed: int) -> None:
    random = Random(seed)
    switches = Switches(
        pending_waits_for_stopping=False, attributes_bump_version=random.random() < 0.5
    )

    @drilled(random.randint(2, 6), switches=switches, seed=seed)
    async def storm(drill: Drill) -> None:
        story = Story(drill)
        await story.serve()
        await story.begin(wave=random.randint(1, 3))
        await story.in_phase("constraint")
        faults = Faults.draw(Random(seed))
        lagging = random.random() < 0.5
        drill.cloud.faults = faults if lagging else replace(faults, lag=0.0, flicker=0.0)
        story.constrain()
        for _ in range(random.randint(3, 12)):
            await asyncio.sleep(random.uniform(0.5, 60.0))
            try:
                await happens(story, random)
            except BloxError:
                continue  # Refused, or the cluster is not read yet: people try again.
        back = random.random() < 0.5
        await calm(story, back=back)
        assert (story.theirs() if back else story.ours()) == sorted(drill.hosts)
        assert story.both_wanted() == []

    storm()
