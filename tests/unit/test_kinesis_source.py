"""A Kinesis stream is read whole: from where the last process was, in order, through resharding."""

import asyncio
from collections.abc import Callable

import pytest

from blox.clusterstate.kinesis import WAIT
from blox.clusterstate.kinesis_shards import Position
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.port import Lost, NotSent
from blox.simulator.model import Fault
from support.streams import HOUR, STREAM, Reader, Scene, streaming

FIRST = "shardId-000000000000"
SECOND = "shardId-000000000001"


def test_a_first_start_begins_at_the_end_and_then_reads_everything() -> None:
    async def story(scene: Scene) -> None:
        scene.put(5)
        reader = scene.read()
        await asyncio.sleep(3)
        assert reader.bodies == []
        later = scene.put(20)
        await asyncio.sleep(3)
        assert sorted(reader.bodies) == sorted(later)
        kinds = [asked["ShardIteratorType"] for asked in scene.wire.made("GetShardIterator")]
        assert kinds == ["LATEST", "LATEST"]

    streaming(story, shards=2)


def test_the_next_process_goes_on_right_after_what_was_taken() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        scene.put(10)
        await asyncio.sleep(5)
        await first.kill()
        missed = scene.put(10)
        second = scene.read()
        await asyncio.sleep(3)
        assert second.bodies == missed

    streaming(story)


def test_what_was_not_taken_comes_again_to_the_next_process() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        taken = scene.put(3)
        await asyncio.sleep(5)
        first.deleting = False
        untaken = scene.put(4)
        await asyncio.sleep(5)
        assert first.bodies == taken + untaken
        await first.kill()
        second = scene.read()
        await asyncio.sleep(3)
        assert second.bodies == untaken

    streaming(story)


def test_a_quiet_shard_loses_nothing_over_a_restart() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(60)
        await first.kill()
        assert scene.stored()[FIRST].since is not None
        missed = scene.put(3)
        second = scene.read()
        await asyncio.sleep(3)
        assert second.bodies == missed

    streaming(story)


def test_each_shard_is_read_a_few_times_a_second_and_never_six() -> None:
    async def story(scene: Scene) -> None:
        scene.read()
        await asyncio.sleep(1)
        for _ in range(100):
            scene.put(30)
            await asyncio.sleep(0.1)
        times = [at for operation, _, at in scene.wire.calls if operation == "GetRecords"]
        busiest = max(sum(1 for t in times if at <= t < at + 1) for at in times)
        assert 2 <= busiest <= 5

    scene = streaming(story)
    assert scene.readers[0].troubles == []
    assert len(scene.told) > 2_500


def test_positions_are_written_once_a_second_at_most() -> None:
    async def story(scene: Scene) -> None:
        scene.read()
        await asyncio.sleep(2)
        before = scene.data.revision
        for _ in range(100):
            scene.put(1)
            await asyncio.sleep(0.1)
        assert 5 <= scene.data.revision - before <= 11

    streaming(story)


# --- Resharding -----------------------------------------------------------------------------------


def test_children_are_read_after_their_parents_end_and_from_their_beginning() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        old = scene.put(300)
        lower, upper = scene.split(scene.wire.stream.open[0])
        young = scene.put(300)
        await asyncio.sleep(5)
        assert set(reader.bodies[:300]) == set(old)
        assert sorted(reader.bodies[300:]) == sorted(young)
        stored = scene.stored()
        assert stored[FIRST] == Position(ended=True)
        assert {lower.id, upper.id} < set(stored)

    streaming(story)


def test_a_merged_shard_waits_for_both_of_its_parents() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        slow = scene.wire.stream.open[1]

        def hold(operation: str, asked: dict[str, object]) -> None:
            if operation == "GetShardIterator" and asked["ShardId"] == slow.id:
                raise Fault("InternalFailureException", "not now", 500)

        await reader.kill()
        scene.wire.refuse = hold
        old = scene.put(50)
        one, other = scene.wire.stream.open
        scene.merge(one, other)
        young = scene.put(50)
        second = scene.read()
        await asyncio.sleep(10)
        assert set(second.bodies).isdisjoint(young)
        scene.wire.refuse = lambda operation, asked: None
        await asyncio.sleep(70)
        assert sorted(second.bodies) == sorted(old + young)
        assert set(second.bodies[-50:]) == set(young)

    streaming(story, shards=2)


def test_a_child_waits_for_a_parent_that_is_not_listed_yet() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(2)
        first, second = scene.wire.stream.open
        lower, _ = scene.split(second)
        old = scene.put(50)
        scene.merge(first, lower)
        young = scene.put(50)
        await asyncio.sleep(10)
        assert sorted(reader.bodies) == sorted(old + young)
        order = [message.shard for message in reader.received]
        parents = {shard.id: shard.parents for shard in scene.wire.stream.shards.values()}
        for at, shard in enumerate(order):
            assert not set(parents[shard]) & set(order[at:])

    streaming(story, shards=2)


def test_resharding_while_nobody_reads_loses_nothing() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        await first.kill()
        missed = scene.put(40)
        lower, upper = scene.split(scene.wire.stream.open[0])
        missed += scene.put(40)
        scene.merge(lower, upper)
        missed += scene.put(40)
        second = scene.read()
        await asyncio.sleep(5)
        assert sorted(second.bodies) == sorted(missed)
        assert second.bodies[:40] == missed[:40]
        assert second.bodies[80:] == missed[80:]

    streaming(story)


def test_shards_that_were_closed_before_the_first_start_are_not_read() -> None:
    async def story(scene: Scene) -> None:
        scene.put(5)
        scene.split(scene.wire.stream.open[0])
        scene.put(5)
        reader = scene.read()
        await asyncio.sleep(3)
        new = scene.put(5)
        await asyncio.sleep(3)
        assert sorted(reader.bodies) == sorted(new)
        assert scene.stored()[FIRST] == Position(ended=True)

    streaming(story)


def test_a_shard_whose_parent_is_forgotten_is_read() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        await first.kill()
        scene.split(scene.wire.stream.open[0])
        await asyncio.sleep(25 * HOUR)
        late = scene.put(10)
        second = scene.read()
        await asyncio.sleep(3)
        assert sorted(second.bodies) == sorted(late)
        await asyncio.sleep(70)
        assert FIRST not in scene.stored()

    streaming(story)


# --- Positions that are no longer good ------------------------------------------------------------


def test_an_iterator_that_has_expired_is_renewed_where_it_was() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        before = scene.put(3)
        await asyncio.sleep(3)
        scene.clock.step += 600  # As long as this machine was suspended.
        after = scene.put(3)
        await asyncio.sleep(10)
        assert reader.bodies == before + after
        assert scene.wire.made("GetShardIterator")[-1]["ShardIteratorType"] == (
            "AFTER_SEQUENCE_NUMBER"
        )
        assert reader.troubles == []

    streaming(story)


def test_an_iterator_that_expired_before_anything_came_loses_nothing() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        scene.clock.step += 600
        new = scene.put(3)
        await asyncio.sleep(10)
        assert reader.bodies == new

    streaming(story)


def test_a_position_that_is_trimmed_goes_on_with_what_is_left() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        scene.put(3)
        await asyncio.sleep(3)
        await first.kill()
        scene.put(3)
        await asyncio.sleep(25 * HOUR)
        left = scene.put(3)

        def trimmed(operation: str, asked: dict[str, object]) -> None:
            if asked.get("ShardIteratorType") == "AFTER_SEQUENCE_NUMBER":
                raise Fault("InvalidArgumentException", "it is trimmed")

        scene.wire.refuse = trimmed
        second = scene.read()
        await asyncio.sleep(3)
        assert second.bodies == left
        assert second.troubles == []

    streaming(story)


def test_another_stream_of_the_same_name_is_read_from_its_beginning() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        scene.put(3)
        scene.split(scene.wire.stream.open[0])
        scene.put(3)
        await asyncio.sleep(5)
        await first.kill()
        scene.wire.ask("DeleteStream", StreamName=STREAM)
        scene.wire.ask("CreateStream", StreamName=STREAM, ShardCount=2)
        new = scene.put(20)
        second = scene.read()
        await asyncio.sleep(5)
        assert sorted(second.bodies) == sorted(new)

    streaming(story)


def test_a_stream_that_is_deleted_and_made_anew_under_a_reader() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        before = scene.put(3)
        scene.split(scene.wire.stream.open[0])
        await asyncio.sleep(5)
        scene.wire.ask("DeleteStream", StreamName=STREAM)
        await asyncio.sleep(30)
        assert any("There is no Kinesis stream events" in text for text in reader.troubles)
        scene.wire.ask("CreateStream", StreamName=STREAM, ShardCount=1)
        after = scene.put(3)
        await asyncio.sleep(70)
        assert reader.bodies == before + after

    streaming(story)


# --- Whether it is read ---------------------------------------------------------------------------


def test_that_the_stream_is_read_is_known_at_once_and_again_after_trouble() -> None:
    async def story(scene: Scene) -> None:
        source = scene.source()
        assert await source.receive() == ()
        assert scene.clock.monotonic() < 1
        scene.wire.refuse = refused("InternalFailureException")
        with pytest.raises(QueueUnavailable):
            await source.receive()
        scene.wire.refuse = lambda operation, asked: None
        before = scene.clock.monotonic()
        assert await source.receive() == ()
        assert scene.clock.monotonic() - before < 5
        before = scene.clock.monotonic()
        assert await source.receive() == ()
        assert scene.clock.monotonic() - before == pytest.approx(WAIT)
        await source.close()

    streaming(story)


# --- Trouble --------------------------------------------------------------------------------------


def refused(code: str, message: str = "no.") -> Callable[[str, dict[str, object]], None]:
    def refuse(operation: str, asked: dict[str, object]) -> None:
        raise Fault(code, message)

    return refuse


async def trouble(scene: Scene) -> str:
    """What a process says that begins now."""
    reader = scene.read()
    await asyncio.sleep(5)
    return reader.troubles[0]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "is denied: no. Allow kinesis:ListShards, kinesis:GetShardIt"),
        ("KMSAccessDeniedException", "and kms:Decrypt where it is encrypted"),
        ("ExpiredTokenException", "credentials do not open the stream events (ExpiredToken"),
        ("ResourceNotFoundException", "There is no Kinesis stream events in this region and"),
        ("InternalFailureException", "refused ListShards: InternalFailureException: no."),
    ],
)
def test_refusals_say_what_to_do(code: str, says: str) -> None:
    async def story(scene: Scene) -> None:
        scene.wire.refuse = refused(code)
        assert says in await trouble(scene)

    streaming(story)


def test_no_answer_is_trouble_that_ends_by_itself() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)

        def lost(operation: str, asked: dict[str, object]) -> None:
            raise Lost("the connection broke", signed_at=1.0)

        def unsent(operation: str, asked: dict[str, object]) -> None:
            raise NotSent("connect", "no route")

        scene.wire.refuse = lost
        await asyncio.sleep(5)
        scene.wire.refuse = unsent
        await asyncio.sleep(30)
        assert any("did not answer GetRecords: the connection broke" in t for t in reader.troubles)
        assert any("cannot be reached (GetRecords, connect)" in t for t in reader.troubles)
        scene.wire.refuse = lambda operation, asked: None
        new = scene.put(3)
        await asyncio.sleep(61)
        assert reader.bodies == new

    streaming(story)


def test_a_throttle_now_and_then_is_no_trouble_and_many_are() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)
        throttle = refused("ProvisionedThroughputExceededException", "Rate exceeded.")
        scene.wire.refuse = throttle
        await asyncio.sleep(3)
        scene.wire.refuse = lambda operation, asked: None
        new = scene.put(3)
        await asyncio.sleep(10)
        assert (reader.bodies, reader.troubles) == (new, [])
        scene.wire.refuse = throttle
        await asyncio.sleep(60)
        assert "Rate exceeded" in reader.troubles[0]
        calls = len(scene.wire.made("GetRecords"))
        await asyncio.sleep(100)
        assert len(scene.wire.made("GetRecords")) - calls <= 11

    streaming(story)


def test_while_positions_cannot_be_stored_reading_goes_on_and_says_so() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(3)
        first = scene.put(3)
        await asyncio.sleep(3)
        scene.disk.full = True
        second = scene.put(3)
        await asyncio.sleep(3)
        assert reader.bodies == first + second
        assert "cannot be stored" in reader.troubles[0]
        assert "The disk is full." in reader.troubles[0]
        stored = scene.stored()[FIRST]
        scene.disk.full = False
        await asyncio.sleep(65)  # With the next list at the latest.
        assert scene.stored()[FIRST] != stored
        await reader.kill()
        assert (await _again(scene)).bodies == []

    streaming(story)


async def _again(scene: Scene) -> Reader:
    reader = scene.read()
    await asyncio.sleep(3)
    return reader


def test_positions_that_cannot_be_read_are_not_passed_over() -> None:
    async def story(scene: Scene) -> None:
        first = scene.read()
        await asyncio.sleep(1)
        scene.put(3)
        await asyncio.sleep(3)
        await first.kill()
        missed = scene.put(3)
        scene.disk.full = True
        second = scene.read()
        await asyncio.sleep(5)
        assert second.bodies == []
        assert "is not known, so it is not read. The disk is full." in second.troubles[0]
        scene.disk.full = False
        await asyncio.sleep(70)
        assert second.bodies == missed

    streaming(story)


def test_a_defect_does_not_end_in_silence() -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(1)

        def broken(operation: str, asked: dict[str, object]) -> None:
            raise ZeroDivisionError

        scene.wire.refuse = broken
        await asyncio.sleep(3)
        assert reader.broken()

    streaming(story)


def test_the_second_shard_is_another_one() -> None:
    async def story(scene: Scene) -> None:
        scene.read()
        await asyncio.sleep(1)
        assert sorted(scene.stored()) == [FIRST, SECOND]

    streaming(story, shards=2)
