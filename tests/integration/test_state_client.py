"""Following cluster-state-services over HTTP: lists, streams, and everything that goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from blox.clusterstate.remote.client import StateClient
from blox.clusterstate.remote.port import (
    ClusterTold,
    Gone,
    HostTold,
    NotWatched,
    PositionExpired,
    ServiceUnavailable,
    TaskTold,
    Ticket,
    Told,
)
from support.documents import CLUSTER, OTHER_CLUSTER, task_arn
from support.fakestate import FakeState, host_item, line, served, task_item
from support.processes import free_port

Story = Callable[[StateClient, FakeState], Awaitable[None]]


def with_one(story: Story, fake: FakeState | None = None, **options: Any) -> None:
    """Run a story with a client of one service."""

    async def main() -> None:
        made = fake or FakeState()
        made.silent = asyncio.Event()
        async with served(made) as endpoints:
            client = StateClient(endpoints, **options)
            try:
                await story(client, made)
            finally:
                await client.close()

    asyncio.run(main())


def with_two(story: Callable[[StateClient, FakeState, FakeState], Awaitable[None]]) -> None:
    """Run a story with a client of two services."""

    async def main() -> None:
        first, second = FakeState(), FakeState()
        second.name, second.epoch = "other", "e9"
        async with served(first, second) as endpoints:
            client = StateClient(endpoints)
            try:
                await story(client, first, second)
            finally:
                await client.close()

    asyncio.run(main())


async def told_by(client: StateClient, batches: int, position: str = "k3f9p2.10") -> list[Told]:
    """What the first batches of a stream tell."""
    found: list[Told] = []
    async with aclosing(client.follow(CLUSTER, position)) as stream:
        async for _, batch in stream:
            found += batch
            batches -= 1
            if batches == 0:
                break
    return found


async def failure_of(asked: Awaitable[object]) -> str:
    """The sentence of the failure that a request ends in."""
    with pytest.raises(ServiceUnavailable) as caught:
        await asked
    return caught.value.message


async def refusal_of(asked: Awaitable[object]) -> ServiceUnavailable:
    """What a request ends in."""
    with pytest.raises(ServiceUnavailable) as caught:
        await asked
    return caught.value


# --- Lists ----------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_after_its_position_and_its_cluster() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.tasks = [task_item(number) for number in range(5)]
        fake.hosts = [host_item(number) for number in range(3)]
        fake.sweep = 4
        listing = await client.listing(CLUSTER)
        assert listing.position == "k3f9p2.10"
        assert listing.cluster == ClusterTold(epoch="e1", sweep=4)
        assert [told.document.task_arn for told in listing.tasks] == [
            task_arn(number) for number in range(5)
        ]
        assert len(listing.hosts) == 3
        paths = [asked.split("?")[0] for asked in fake.asked]
        assert paths[:2] == ["GET /v2/tasks", "GET /v2/clusters/demo"]
        assert paths[2:5] == ["GET /v2/tasks"] * 3
        assert paths[5:7] == ["GET /v2/instances"] * 2

    with_one(story, page=2)


def test_hosts_that_are_alike_share_what_is_alike() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        many = [{"name": f"a{number}", "value": "x"} for number in range(40)]
        fake.hosts = [host_item(number, attributes=many) for number in range(3)]
        listing = await client.listing(CLUSTER)
        first, *others = (told.document.attributes for told in listing.hosts)
        assert all(other is first for other in others)

    with_one(story)


def test_a_cluster_that_is_not_watched_yet_is_asked_for() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.watched = False
        fake.watches_when_asked = True
        listing = await client.listing(CLUSTER)
        assert listing.cluster == ClusterTold(epoch="e1", sweep=0)

    with_one(story)


def test_a_cluster_that_will_not_be_watched() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.watched = False
        with pytest.raises(NotWatched, match="There is no cluster demo here"):
            await client.listing(CLUSTER)
        with pytest.raises(NotWatched, match=fake.endpoint):
            await client.request_sweep(CLUSTER)

    with_one(story)


def test_a_restart_in_the_middle_of_a_list_makes_it_void() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.restarts_while_listed = True
        assert "was restarted while it was listed" in await failure_of(client.listing(CLUSTER))

    with_one(story)


def test_pages_of_two_numberings_make_no_list() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.renamed_while_listed = True
        assert "became another service" in await failure_of(client.listing(CLUSTER))

    with_one(story)


def test_a_sweep_is_asked_for() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        assert await client.request_sweep(CLUSTER) == Ticket(epoch="e1", number=1)
        assert fake.asked == ["POST /v2/clusters/demo/sweep"]

    with_one(story)


# --- Streams --------------------------------------------------------------------------------------


def test_a_stream_begins_with_a_batch_at_once_and_tells_what_comes() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        assert await told_by(client, 1) == []
        fake.says = [
            line("task", task_item(1), "k3f9p2.11"),
            line("instance", host_item(1), "k3f9p2.12"),
            line(
                "deleted",
                {"kind": "task", "arn": task_arn(2), "clusterArn": CLUSTER},
                "k3f9p2.13",
            ),
        ]
        async with aclosing(client.follow(CLUSTER, "k3f9p2.10")) as stream:
            position, batch = await anext(stream)
            assert position == "k3f9p2.13"
            assert [type(told) for told in batch] == [TaskTold, HostTold, Gone]
        assert "position=k3f9p2.10" in fake.asked[-1]
        assert f"cluster={CLUSTER}" in fake.asked[-1]

    with_one(story)


def test_lines_may_come_in_pieces() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        whole = line("task", task_item(1, group="é" * 3000), "k3f9p2.11")
        fake.pieces = [whole[at : at + 500] for at in range(0, len(whole), 500)]
        found = await told_by(client, 2)
        assert len(found) == 1

    with_one(story)


@pytest.mark.parametrize("how", ["refused", "said"])
def test_a_position_that_has_expired(how: str) -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        if how == "refused":
            fake.refuses_stream = 410
        else:
            fake.says = [line("reset", {"reason": "list again"}, "k3f9p2.99")]
        with pytest.raises(PositionExpired):
            await told_by(client, 9)

    with_one(story)


def test_a_stream_that_is_silent_has_nobody_at_its_other_end() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        how = await failure_of(told_by(client, 2))
        assert "sent nothing for 0.25 s" in how
        assert fake.endpoint in how

    with_one(story, heartbeat=0.1)


def test_a_stream_that_ends_is_a_failure() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.silent.set()
        assert "ended the stream" in await failure_of(told_by(client, 2))

    with_one(story)


def test_a_line_that_nobody_understands_is_a_failure_and_no_gap() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.pieces = [line("task", {"kind": "task"}, "k3f9p2.11")]
        assert "tells what cannot be understood" in await failure_of(told_by(client, 9))

    with_one(story)


def test_a_stream_that_is_left_is_closed() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        await told_by(client, 1)
        async with asyncio.timeout(10):
            while fake.streams:
                await asyncio.sleep(0.01)

    with_one(story)


def test_every_cluster_has_its_stream_however_many_there_are() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        streams = [client.follow(CLUSTER, "k3f9p2.10") for _ in range(150)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(anext(stream) for stream in streams))
        assert fake.streams == 150
        for stream in streams:
            await stream.aclose()

    with_one(story)


# --- What is wrong with one -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (503, "is not ready: it was not told to answer"),
        (500, "refuses /v2/tasks: it was not told to answer"),
        (404, "Is it a cluster-state-service?"),
    ],
)
def test_what_it_refuses_with(status: int, why: str) -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.status = status
        how = await failure_of(client.listing(CLUSTER))
        assert why in how
        assert how.startswith(f"The cluster-state-service at {fake.endpoint} cannot be followed")

    with_one(story)


def test_what_is_no_service_at_all() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.garbage = True
        assert "answers what cannot be understood" in await failure_of(client.listing(CLUSTER))
        assert "answers what cannot be understood" in await failure_of(
            client.request_sweep(CLUSTER)
        )

    with_one(story)


def test_a_service_of_another_account() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.arn = CLUSTER.replace("111122223333", "444455556666")
        for asked in (client.listing(CLUSTER), client.request_sweep(CLUSTER)):
            how = await failure_of(asked)
            assert "account 444455556666 in us-east-1" in how
            assert "account 111122223333 in us-east-1" in how

    with_one(story)


def test_nobody_listens_there() -> None:
    async def story() -> None:
        client = StateClient([f"127.0.0.1:{free_port()}"])
        how = await failure_of(client.listing(CLUSTER))
        assert "does not answer (Connection refused). Start it, or correct --css-endpoint." in how
        await client.close()

    asyncio.run(story())


def test_an_answer_that_does_not_come() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        fake.hangs = True
        assert "does not answer in time" in await failure_of(client.listing(CLUSTER))

    with_one(story, timeout=0.2)


# --- Several --------------------------------------------------------------------------------------


def test_when_one_fails_the_next_is_asked_and_stays() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        first.status = 503
        how = await failure_of(client.request_sweep(CLUSTER))
        assert how.endswith(f"Next is {second.endpoint}.")
        assert client.name == second.endpoint
        assert (await client.request_sweep(CLUSTER)).epoch == "e9"
        first.status = 200
        assert (await client.request_sweep(CLUSTER)).epoch == "e9"
        assert client.switched == 1

    with_two(story)


def test_streams_move_with_the_requests() -> None:
    """Or what is asked for would be asked of one, and awaited from the other."""

    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        stream = client.follow(CLUSTER, "k3f9p2.10")
        await anext(stream)
        assert first.streams == 1
        first.status = 500
        await failure_of(client.request_sweep(CLUSTER))
        async with asyncio.timeout(5):
            how = await failure_of(anext(stream))
        assert f"Next is {second.endpoint}" in how
        assert "refuses /v2/clusters/demo/sweep" in how  # What was wrong, not that we left.
        await told_by(client, 1)
        assert any(asked.startswith("GET /v2/stream") for asked in second.asked)

    with_two(story)


def test_a_failure_that_comes_late_does_not_move_on_from_the_next() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        streams = [client.follow(CLUSTER, "k3f9p2.10") for _ in range(3)]
        for stream in streams:
            await anext(stream)
        first.silent.set()
        for stream in streams:
            await failure_of(anext(stream))
        assert client.name == second.endpoint
        assert client.switched == 1

    with_two(story)


def test_when_none_can_be_followed_one_sentence_names_them_all() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        first.status, second.status = 503, 500
        await failure_of(client.request_sweep(CLUSTER))
        said = {await failure_of(client.request_sweep(CLUSTER)) for _ in range(5)}
        assert len(said) == 1
        (sentence,) = said
        assert sentence.startswith("None of the cluster-state-services can be followed (")
        assert first.endpoint in sentence
        assert second.endpoint in sentence
        second.status = 200
        async with asyncio.timeout(5):
            while client.name != second.endpoint:
                await failure_of(client.request_sweep(CLUSTER))
        assert (await client.request_sweep(CLUSTER)).epoch == "e9"

    with_two(story)


def test_that_a_cluster_is_not_watched_is_believed_when_all_have_said_so() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        first.watched = False
        how = await failure_of(client.request_sweep(CLUSTER))
        assert f"does not watch cluster demo. Next is {second.endpoint}." in how
        assert (await client.request_sweep(CLUSTER)).epoch == "e9"
        second.watched = False
        assert not isinstance(await refusal_of(client.request_sweep(CLUSTER)), NotWatched)
        said = await refusal_of(client.request_sweep(CLUSTER))
        assert isinstance(said, NotWatched)
        assert first.endpoint in said.message
        assert second.endpoint in said.message

    with_two(story)


def test_a_cluster_that_another_account_has_too_moves_no_other_one() -> None:
    """Its streams would be cut, and it listed anew, whenever the bad one is tried."""

    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        theirs = OTHER_CLUSTER.replace("111122223333", "444455556666")
        first.others = second.others = {"other": theirs}
        stream = client.follow(CLUSTER, "k3f9p2.10")
        await anext(stream)
        for _ in range(5):
            assert "another one's service" in await failure_of(client.request_sweep(OTHER_CLUSTER))
        assert client.serves(CLUSTER) == first.endpoint
        assert first.streams == 1
        await stream.aclose()

    with_two(story)


def test_what_fails_for_everybody_moves_who_comes_and_who_is_there_notices() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        stream = client.follow(CLUSTER, "k3f9p2.10")
        await anext(stream)
        first.status = 503
        await failure_of(client.request_sweep(OTHER_CLUSTER))
        assert client.serves(CLUSTER) == first.endpoint
        assert client.serves(OTHER_CLUSTER) == second.endpoint
        assert client.serves(CLUSTER.replace("demo", "new")) == second.endpoint
        await failure_of(client.request_sweep(CLUSTER))
        assert client.serves(CLUSTER) == second.endpoint
        await stream.aclose()

    with_two(story)


def test_one_that_is_left_is_left_with_its_streams() -> None:
    async def story(client: StateClient, first: FakeState, second: FakeState) -> None:
        stream = client.follow(CLUSTER, "k3f9p2.10")
        await anext(stream)
        assert not client.leave(CLUSTER, second.endpoint, "is not the one in use")
        assert client.leave(CLUSTER, first.endpoint, "has not completed a sweep")
        async with asyncio.timeout(5):
            assert "has not completed a sweep" in await failure_of(anext(stream))
        assert (await client.request_sweep(CLUSTER)).epoch == "e9"

    with_two(story)


def test_the_only_one_is_not_left() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        assert not client.leave(CLUSTER, fake.endpoint, "has not completed a sweep")
        assert client.serves(CLUSTER) == fake.endpoint

    with_one(story)


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blox.clusterstate.remote.client.LONGEST_ANSWER", 200)

    async def story(client: StateClient, fake: FakeState) -> None:
        fake.tasks = [task_item(1)]
        assert "more than 200 bytes" in await failure_of(client.listing(CLUSTER))

    with_one(story)


def test_an_endpoint_may_be_a_url_with_a_path() -> None:
    async def story(client: StateClient, fake: FakeState) -> None:
        other = StateClient([f"http://{fake.endpoint}/"])
        assert (await other.request_sweep(CLUSTER)).number == 1
        await other.close()

    with_one(story)
