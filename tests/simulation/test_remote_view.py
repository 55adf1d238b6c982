"""A scheduler that follows cluster-state-services, played by hand: whatever they tell, late, old or
not at all, no host gets a second daemon and none loses its last one (R12)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from blox.clusterstate.remote.port import Listing, StateService, Ticket, Told
from blox.simulator.state_line import Weather
from support.remote import RemoteStage, play_remote

A_WHILE = 600.0


class Split:
    """Lists and streams come from one service, and requests go to another."""

    def __init__(self, told_by: StateService, asked: StateService) -> None:
        self._told_by = told_by
        self._asked = asked

    def serves(self, cluster_arn: str) -> str:
        return self._told_by.serves(cluster_arn)

    def leave(self, cluster_arn: str, endpoint: str, how: str) -> bool:
        return self._told_by.leave(cluster_arn, endpoint, how)

    async def listing(self, cluster_arn: str) -> Listing:
        return await self._told_by.listing(cluster_arn)

    def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        return self._told_by.follow(cluster_arn, position)

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        return await self._asked.request_sweep(cluster_arn)


async def blinded(stage: RemoteStage, number: int) -> None:
    """A service that knows the hosts, has swept a few times, and learns nothing any more."""
    replica = stage.replicas[number]
    await stage.run_of(number).view.follow(stage.cluster)
    await asyncio.sleep(130.0)
    assert stage.catalogue(number).count("instance", stage.cluster) == len(stage.hosts)
    replica.transport.partitioned = True
    assert replica.feed is not None
    replica.feed.silent = True


async def nothing_starts(stage: RemoteStage, *, within: float = A_WHILE) -> None:
    """One daemon on each host, and no call that could make another."""
    since = stage.now
    await asyncio.sleep(within)
    assert stage.calls("StartTask", since=since) == []
    assert [len(stage.daemons(host)) for host in stage.hosts] == [1] * len(stage.hosts)


# --- Lists are accounts, not replacements ---------------------------------------------------------


def test_another_service_that_knows_of_no_daemon_takes_none_away() -> None:
    async def act(stage: RemoteStage) -> None:
        await blinded(stage, 1)
        await stage.create()
        await asyncio.sleep(40.0)
        assert stage.seen.good_until is not None
        before = stage.line.counts["lists"]
        stage.line.in_use = 1
        stage.line.weather = Weather(cuts=1.0)  # Of streams that begin from now on.
        await stage.replicas[0].end()
        await stage.until(lambda: stage.line.counts["lists"] > before, within=5.0)
        await nothing_starts(stage)
        assert stage.seen.stale(stage.clock.monotonic())
        stage.line.weather = Weather()
        stage.replicas[1].transport.partitioned = False
        await stage.recovers(stage.hosts[0], within=300.0)
        assert stage.most == 1

    play_remote(act, services=2)


@pytest.mark.parametrize("copy_lost", [False, True])
def test_a_service_that_begins_anew_takes_nothing_away(copy_lost: bool) -> None:
    async def act(stage: RemoteStage) -> None:
        await stage.create()
        for pause in (0.2, 5.0, 45.0):
            await stage.replicas[0].end(copy_lost=copy_lost)
            await asyncio.sleep(pause)
            await stage.replicas[0].start()
            await nothing_starts(stage, within=100.0)
        assert not stage.seen.stale(stage.clock.monotonic())
        await stage.recovers(stage.hosts[1], within=60.0)

    play_remote(act)


def test_what_the_service_lets_go_of_is_gone_when_ecs_says_so() -> None:
    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(30.0)
        for daemon in stage.daemons():
            stage.catalogue().gone("task", stage.cluster, daemon.arn)
        await nothing_starts(stage)

    play_remote(act)


def test_a_list_that_is_older_than_our_own_answers_makes_none_of_them_unknown() -> None:
    """The daemons are seconds old, and ECS shows none of them to anybody yet."""

    async def act(stage: RemoteStage) -> None:
        await blinded(stage, 1)
        stage.cloud.faults = stage.lagging
        assert stage.replicas[0].feed is not None
        stage.replicas[0].feed.silent = True
        await stage.deploy()
        await stage.until(lambda: len(stage.daemons()) == 3, within=30.0)
        stage.line.in_use = 1
        await stage.replicas[0].end(copy_lost=True)
        await asyncio.sleep(3.0)
        await stage.replicas[0].start()
        stage.line.in_use = 0
        await nothing_starts(stage)

    play_remote(act, services=2)


# --- Only a sweep that was asked for --------------------------------------------------------------


def test_sweeps_of_before_we_asked_prime_nothing() -> None:
    async def act(stage: RemoteStage) -> None:
        await blinded(stage, 1)
        await stage.create()
        await asyncio.sleep(1800.0)  # Whatever our own calls told is no longer remembered.
        await stage.kill()
        await stage.replicas[0].end()
        stage.line.use(1)
        await stage.restart()
        await nothing_starts(stage)
        assert stage.catalogue(1).count("instance", stage.cluster) == 3
        assert not stage.seen.primed

    play_remote(act, services=2)


def test_another_runs_numbers_prime_nothing() -> None:
    async def act(stage: RemoteStage) -> None:
        await blinded(stage, 1)
        await stage.create()
        await asyncio.sleep(1800.0)
        await stage.kill()
        await stage.replicas[0].end()
        await stage.replicas[0].start()
        stage.service = Split(stage.line_to(1), stage.line_to(0))
        await stage.restart()
        await nothing_starts(stage)
        assert not stage.seen.primed

    play_remote(act, services=2)


# --- Not for longer than it is good ---------------------------------------------------------------


def test_a_stop_does_not_rest_on_what_a_silent_service_told_long_ago() -> None:
    """A slow sweep says that a host's record is superseded, and then nothing more is heard. While
    everything is frozen the newer record goes, and the older one stands for the machine again."""

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        orders, host = stage.running.service.orders, stage.hosts[0]
        await orders.freeze("everything", "", seconds=7200.0, why="a test")
        twin = stage.cloud.duplicate_host(host, now=stage.now)
        stage.live.settle()
        await stage.until(lambda: stage.slow_sweep_ended(took=100.0), within=3000.0)
        stage.replicas[0].trouble.hung = True
        await asyncio.sleep(20.0)
        stage.cloud.terminate_host(twin, now=stage.now, agent_connected=True)
        stage.cloud.connect_agent(host, now=stage.now)
        stage.live.settle()
        await asyncio.sleep(250.0)
        await orders.thaw(tuple(freeze.id for freeze in orders.freezes()))
        await asyncio.sleep(A_WHILE)
        assert stage.calls("StopTask", since=0.0) == []
        stage.replicas[0].trouble.hung = False
        await asyncio.sleep(A_WHILE)
        assert stage.calls("StopTask", since=0.0) == []
        assert len(stage.daemons(host)) == 1

    play_remote(act, hosts=2, read_rate=0.04)


def test_nothing_is_started_while_the_service_is_silent_and_it_goes_on_after_that() -> None:
    async def act(stage: RemoteStage) -> None:
        await stage.create()
        stage.replicas[0].trouble.hung = True
        await asyncio.sleep(100.0)
        stage.lose(stage.hosts[0])
        began = stage.now
        await asyncio.sleep(A_WHILE)
        assert stage.calls("StartTask", since=began) == []
        problems = stage.running.view.cluster(stage.cluster)
        assert problems is not None
        assert problems.read_error is not None
        stage.replicas[0].trouble.hung = False
        await stage.until(lambda: len(stage.daemons(stage.hosts[0])) == 1, within=120.0)

    play_remote(act)


def test_a_service_whose_reads_fail_justifies_nothing_before_long() -> None:
    async def act(stage: RemoteStage) -> None:
        await stage.create()
        stage.replicas[0].transport.partitioned = True
        await asyncio.sleep(400.0)
        assert stage.seen.stale(stage.clock.monotonic())
        stage.lose(stage.hosts[0])
        began = stage.now
        await asyncio.sleep(300.0)
        assert stage.calls("StartTask", since=began) == []
        stage.replicas[0].transport.partitioned = False
        await stage.until(lambda: len(stage.daemons(stage.hosts[0])) == 1, within=300.0)

    play_remote(act)


# --- As fast as with a queue of its own -----------------------------------------------------------


def test_what_dies_is_back_within_seconds() -> None:
    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(130.0)
        await stage.recovers(stage.hosts[2], within=5.0)

    play_remote(act)
