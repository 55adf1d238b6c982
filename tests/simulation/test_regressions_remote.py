"""Following cluster-state-services: defects that were found once, each told as the story that
showed it."""

import asyncio

from blox.simulator.model import Switches
from support.remote import RemoteStage, play_remote


def test_a_stream_does_not_stay_with_a_service_that_takes_no_requests_any_more() -> None:
    """One request fails over to the other service, and the stream of the first goes on. Sweeps were
    then asked of the one and waited for from the other, for ever."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        stage.line.use(1)
        await asyncio.sleep(300.0)
        assert not stage.seen.stale(stage.clock.monotonic())
        await stage.recovers(stage.hosts[0], within=60.0)

    play_remote(act, services=2)


def test_refused_back_dating_is_noticed_without_reads_of_our_own() -> None:
    """Who follows a service hardly reads, and only a read that is accepted shows that it is the
    date of a start that ECS refuses. Nothing was started for an hour."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(400.0)
        stage.cloud.switches = Switches(backdated_refused=True)
        await stage.recovers(stage.hosts[0], within=120.0)
        assert stage.running.client.assumptions_in_force.dated_back == 0

    play_remote(act)


def test_a_service_that_restarts_while_it_is_listed_is_listed_again() -> None:
    """Its copy is up to a second old. A list of which one half is of the run that has swept, and
    the other of the run that has not, says that the sweep is complete and lacks what it found."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        before = stage.line.counts["lists"]
        replica = stage.replicas[0]
        stage.line.slowly = 2.0

        async def restart_amid_the_list() -> None:
            await stage.until(lambda: stage.line.counts["lists"] > before, within=60.0)
            await asyncio.sleep(10.0)  # Between the cluster's own words and its tasks.
            await replica.end()
            await replica.start()

        restarting = asyncio.create_task(restart_amid_the_list())
        await replica.end(copy_lost=True)
        await replica.start()
        await restarting
        assert stage.line.counts["lists"] == before + 1
        stage.line.slowly = None
        await stage.until(lambda: stage.line.counts["lists"] > before + 1, within=60.0)
        await asyncio.sleep(300.0)
        assert not stage.seen.stale(stage.clock.monotonic())
        assert [len(stage.daemons(host)) for host in stage.hosts] == [1, 1, 1]

    play_remote(act)
