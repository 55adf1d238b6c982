"""Following cluster-state-services: defects that were found once, each told as the story that
showed it."""

import asyncio

from blox.scheduler.model import SlotClass
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


DRAINING_KEEPS_THE_VERSION = Switches(draining_bumps_version=False)


def begin_another(stage: RemoteStage, host: str) -> None:
    """An application runs there too: daemons leave a draining host last."""
    stage.cloud.add_definition("web", now=stage.now)
    stage.cloud.start_foreign("prod", host, "web", now=stage.now)
    stage.live.settle()


def test_a_host_that_drained_only_for_others_is_not_left_draining() -> None:
    """Draining need not raise a host's version. One service sees it begin; the other is behind, and
    when it looks again the host is ACTIVE, as it has told long ago: it tells nothing."""

    async def act(stage: RemoteStage) -> None:
        stage.cloud.switches = DRAINING_KEEPS_THE_VERSION
        host, behind = stage.hosts[0], stage.replicas[1]
        await stage.create()
        begin_another(stage, host)
        await asyncio.sleep(70.0)
        behind.transport.partitioned = True
        assert behind.feed is not None
        behind.feed.silent = True
        stage.cloud.drain_host(host, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: stage.count(SlotClass.LEAVING) == 1, within=90.0)
        stage.line.use(1, cut=True)
        await stage.replicas[0].end()
        await asyncio.sleep(30.0)
        stage.cloud.activate_host(host, now=stage.now)
        stage.live.settle()
        await asyncio.sleep(20.0)
        behind.transport.partitioned = False
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=300.0)
        assert stage.calls("StopTask", since=0.0) == []

    play_remote(act, services=2)


def test_what_only_we_have_read_of_a_host_is_read_again() -> None:
    """The same, with a read of our own in between: the service never saw the host draining."""

    async def act(stage: RemoteStage) -> None:
        stage.cloud.switches = DRAINING_KEEPS_THE_VERSION
        host = stage.hosts[0]
        await stage.create()
        begin_another(stage, host)
        await asyncio.sleep(70.0)
        stage.cloud.drain_host(host, now=stage.now)
        stage.live.settle()
        stage.running.view.recheck(host)
        await asyncio.sleep(1.0)
        assert stage.count(SlotClass.LEAVING) == 1
        stage.cloud.activate_host(host, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=180.0)
        assert stage.calls("StopTask", since=0.0) == []

    play_remote(act)


def test_a_sweep_of_a_cluster_that_was_let_go_does_not_count_when_it_is_followed_again() -> None:
    """The cluster goes and comes back while the service runs on. Numbers that began anew made its
    earlier sweeps pass for the one that was asked for."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(400.0)
        view = stage.run_of().view
        told = view.request_sweep(stage.cluster)
        assert told is not None
        assert told > 5
        await asyncio.sleep(5.0)
        view.unfollow(stage.cluster)
        await view.follow(stage.cluster)
        again = view.request_sweep(stage.cluster)
        assert again is not None
        assert again > told
        await asyncio.sleep(300.0)
        assert not stage.seen.stale(stage.clock.monotonic())
        assert [len(stage.daemons(host)) for host in stage.hosts] == [1, 1, 1]

    play_remote(act)


def test_a_service_that_sweeps_no_more_is_left_for_one_that_does() -> None:
    """It goes on answering, takes requests for sweeps, and completes none that was asked for. The
    scheduler stayed with it, and nothing was started for as long as it lived."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(70.0)
        stage.replicas[0].transport.partitioned = True
        await asyncio.sleep(600.0)
        assert stage.line.serves(stage.cluster) == stage.replicas[1].name
        assert not stage.seen.stale(stage.clock.monotonic())
        await stage.recovers(stage.hosts[0], within=120.0)

    play_remote(act, services=2)
