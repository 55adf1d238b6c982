"""One Kinesis data stream: shards, their records, and resharding.

A shard holds a range of hash keys and a sequence of records. Splitting or merging closes shards and
opens children that hold their ranges; a closed shard can be read to its end until its records are
older than the retention period, and is gone then.
https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html

Times are seconds since 1970-01-01 UTC. Nothing here reads a clock: every method is told `now`.
"""

import hashlib
from bisect import bisect_right
from collections import deque
from typing import Final

from msgspec import Struct, field

from blox.simulator.model import Fault

KEYS: Final = 2**128
"""Hash keys go from 0 to this, exclusive."""
CALLS: Final = 5
"""GetRecords a second and shard.
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"""
MOST_RECORDS: Final = 10_000
MOST_BYTES: Final = 10_485_760
"""Of one answer; after so much the shard gives nothing for five seconds."""
_REST: Final = 5.0
_SEQUENCES: Final = 10**50
"""What the sequence numbers of one stream are above the next multiple of, as long as AWS's."""


class Kept(Struct, frozen=True):
    """One record in a shard."""

    sequence: int
    data: bytes
    partition_key: str
    arrived: float


class Shard(Struct, kw_only=True):
    """One shard. Its records are those that retention has left."""

    id: str
    first_key: int
    last_key: int
    starting: int
    """The sequence number that it began with."""
    parents: tuple[str, ...] = ()
    ending: int | None = None
    """The last sequence number of a closed shard."""
    closed_at: float = 0.0
    records: list[Kept] = field(default_factory=list)
    calls: deque[float] = field(default_factory=deque)
    rest_until: float = 0.0

    def after(self, sequence: int) -> int:
        """The index of the first record above this sequence number."""
        return bisect_right(self.records, sequence, key=lambda kept: kept.sequence)


class Stream:
    """A stream and all that is in it."""

    def __init__(self, *, name: str, arn: str, shards: int, number: int, now: float) -> None:
        """`number`: how many streams there were before: sequence numbers of one are none of
        another."""
        self.name = name
        self.arn = arn
        self.created_at = now
        self.retention = 24
        """Hours."""
        self.shards: dict[str, Shard] = {}
        self.made = 0
        """How many shards there ever were."""
        self._number = number
        self._sequence = 0
        step = KEYS // shards
        for at in range(shards):
            last = KEYS - 1 if at == shards - 1 else (at + 1) * step - 1
            self._open(at * step, last)

    def _open(self, first_key: int, last_key: int, parents: tuple[str, ...] = ()) -> Shard:
        shard = Shard(
            id=f"shardId-{self.made:012d}",
            first_key=first_key,
            last_key=last_key,
            starting=self._next(),
            parents=parents,
        )
        self.made += 1
        self.shards[shard.id] = shard
        return shard

    def _next(self) -> int:
        self._sequence += 1
        return (495_000 + self._number) * _SEQUENCES + self._sequence

    def owns(self, sequence: int) -> bool:
        """Whether this stream gave out that sequence number."""
        first = (495_000 + self._number) * _SEQUENCES
        return first < sequence <= first + self._sequence

    @property
    def open(self) -> list[Shard]:
        """The shards that take records, by their hash keys."""
        found = [shard for shard in self.shards.values() if shard.ending is None]
        return sorted(found, key=lambda shard: shard.first_key)

    def shard(self, key: str) -> Shard:
        """A shard that is not forgotten. Raises Fault."""
        found = self.shards.get(key)
        if found is None:
            account = self.arn.split(":")[4]
            raise Fault(
                "ResourceNotFoundException",
                f"Shard {key} in stream {self.name} under account {account} does not exist",
            )
        return found

    # --- Records ----------------------------------------------------------------------------------

    def put(
        self, data: bytes, *, partition_key: str, now: float, hash_key: int | None = None
    ) -> tuple[Shard, Kept]:
        """Take a record. `hash_key`: instead of the partition key's own."""
        self.settle(now=now)
        if hash_key is None:
            digest = hashlib.md5(partition_key.encode(), usedforsecurity=False).digest()
            hash_key = int.from_bytes(digest, "big")
        shard = next(one for one in self.open if one.first_key <= hash_key <= one.last_key)
        kept = Kept(self._next(), data, partition_key, now)
        shard.records.append(kept)
        return shard, kept

    def get(self, shard: Shard, after: int, *, most: int, now: float) -> list[Kept]:
        """The records above a sequence number, as many as one answer holds. Raises Fault when the
        shard was asked too often or gave too much."""
        while shard.calls and shard.calls[0] <= now - 1.0:
            shard.calls.popleft()
        if len(shard.calls) >= CALLS or now < shard.rest_until:
            account = self.arn.split(":")[4]
            raise Fault(
                "ProvisionedThroughputExceededException",
                f"Rate exceeded for shard {shard.id} in stream {self.name} under account "
                f"{account}.",
            )
        shard.calls.append(now)
        found: list[Kept] = []
        size = 0
        for kept in shard.records[shard.after(after) :]:
            size += len(kept.data)
            if found and (len(found) >= most or size > MOST_BYTES):
                break
            found.append(kept)
        if size >= MOST_BYTES:
            shard.rest_until = now + _REST
        return found

    def settle(self, *, now: float) -> None:
        """Forget what is older than the retention period."""
        oldest = now - 3600.0 * self.retention
        for key, shard in list(self.shards.items()):
            old = bisect_right(shard.records, oldest, key=lambda kept: kept.arrived)
            del shard.records[:old]
            if shard.ending is not None and shard.closed_at <= oldest:
                del self.shards[key]

    # --- Resharding -------------------------------------------------------------------------------

    def split(self, key: str, at: int, *, now: float) -> list[Shard]:
        """Close a shard and open two: below the hash key `at`, and from it on. Raises Fault."""
        shard = self._of_open(key)
        if not shard.first_key < at <= shard.last_key:
            raise Fault(
                "InvalidArgumentException",
                f"NewStartingHashKey {at} is not a valid key inside the range of shard {key}.",
            )
        self._close(shard, now)
        lower = self._open(shard.first_key, at - 1, (key,))
        return [lower, self._open(at, shard.last_key, (key,))]

    def merge(self, key: str, adjacent: str, *, now: float) -> Shard:
        """Close two shards with adjacent ranges and open one. Raises Fault."""
        one, other = self._of_open(key), self._of_open(adjacent)
        low, high = sorted((one, other), key=lambda shard: shard.first_key)
        if low is high or low.last_key + 1 != high.first_key:
            raise Fault(
                "InvalidArgumentException", f"Shards {key} and {adjacent} are not adjacent."
            )
        self._close(one, now)
        self._close(other, now)
        return self._open(low.first_key, high.last_key, (key, adjacent))

    def children(self, shard: Shard) -> list[Shard]:
        """The shards that took over from a closed one."""
        return [child for child in self.shards.values() if shard.id in child.parents]

    def _of_open(self, key: str) -> Shard:
        shard = self.shard(key)
        if shard.ending is not None:
            raise Fault(
                "InvalidArgumentException", f"Shard {key} in stream {self.name} is not open."
            )
        return shard

    def _close(self, shard: Shard, now: float) -> None:
        shard.ending, shard.closed_at = self._next(), now
