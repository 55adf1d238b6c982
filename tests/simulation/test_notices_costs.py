"""What a look for notices costs: what changed, not all hosts that are waited for."""

import asyncio

from blox.app.notices import Notices
from blox.app.notices_bodies import Parcel
from blox.app.notices_send import Outcome, Tried
from blox.base.entropy import SeededEntropy
from blox.http.metrics import Metrics
from blox.scheduler.notices import Kind
from blox.settings import NoticeSettings
from support.drills import Drill, drilled

ENVIRONMENTS = 3
JOINING = 30


class Listener:
    """A receiver that takes everything."""

    label = "here"

    def __init__(self) -> None:
        self.told: list[tuple[Kind, str]] = []
        """What was told of which host."""

    async def send(self, given: Parcel) -> Tried:
        self.told.append((given.kind, given.resources[0]))
        return Tried(Outcome.SENT)

    async def close(self) -> None:
        """There is nothing to close."""


async def waiting(drill: Drill, listener: Listener) -> Notices:
    """Environments on a cluster that thirty hosts join whose agents do not connect."""
    notices = Notices(
        drill.process.scheduler,
        [listener],
        settings=NoticeSettings(),
        clock=drill.process.clock,
        entropy=SeededEntropy(1),
        metrics=Metrics(version="1"),
        conditions=lambda: (),
    )
    notices.start()
    for number in range(ENVIRONMENTS):
        name = f"daemon-{number}"
        drill.cloud.add_definition(name, now=drill.live.now())
        await drill.deploy_new(name, task_definition=name)
    await asyncio.sleep(60.0)
    for _ in range(JOINING):
        drill.happen(drill.cloud.disconnect_agent, drill.add_host())
    await asyncio.sleep(10.0)
    return notices


@drilled(2)
async def test_what_happens_elsewhere_costs_nothing_for_the_hosts_that_are_waited_for(
    drill: Drill,
) -> None:
    listener = Listener()
    notices = await waiting(drill, listener)
    try:
        before = notices.slots_seen
        assert before >= ENVIRONMENTS * JOINING, "each was judged"
        changed: list[str] = []
        drill.process.scheduler.reconciler.subscribe(changed.append)
        for _ in range(40):
            for task in drill.on(drill.hosts[0]):
                drill.happen(drill.cloud.kill_task, task.arn)
            await asyncio.sleep(5.0)
        assert len(changed) > 40, "there was something to look at, each time"
        sweeps = 1 + 200.0 // drill.settings.view.sweep_interval_with_queue
        assert notices.slots_seen - before <= sweeps * ENVIRONMENTS * JOINING
    finally:
        await notices.close()


@drilled(2)
async def test_each_host_is_told_when_its_last_daemon_is_there_or_when_its_time_is_up(
    drill: Drill,
) -> None:
    listener = Listener()
    notices = await waiting(drill, listener)
    try:
        came, late = drill.hosts[2], drill.hosts[3:]
        drill.happen(drill.cloud.connect_agent, came)
        await drill.until(lambda: listener.told, within=30.0)
        assert listener.told == [(Kind.HOST_READY, came)]
        assert len(drill.on(came)) == ENVIRONMENTS
        await asyncio.sleep(400.0)
        unready = sorted(host for kind, host in listener.told if kind is Kind.HOST_NOT_READY)
        assert unready == sorted(late)
        drill.happen(drill.cloud.connect_agent, late[0])
        await drill.until(lambda: (Kind.HOST_READY, late[0]) in listener.told, within=30.0)
    finally:
        await notices.close()
