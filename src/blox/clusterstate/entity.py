"""One task, host or cluster as of one change: what lists, streams and the stored copy are made of.

Pure.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from blox.clusterstate.whole import NOTHING, Whole
from blox.ecs.seen import ClusterSeen

Kind = Literal["task", "instance", "cluster"]


class Entity(Struct, kw_only=True, eq=False, gc=False):
    """One task, host or cluster as of one change. A later change makes a new one; only what is
    encoded of it is filled in afterwards."""

    kind: Kind
    key: str
    """Its ARN."""
    cluster_arn: str
    version: int
    whole: Whole = NOTHING
    read_at: float | None = None
    """ECS's time, seconds since 1970-01-01 UTC, when the newest read of it began that told
    anything; None when only events did."""
    told_at: float = 0.0
    """Our monotonic time when ECS told of this change."""
    seen: ClusterSeen | None = None
    """Of a cluster: how well it is known."""
    ended: bool = False
    """A task that is STOPPED or DELETED, a host that is INACTIVE."""
    deleted: bool = False
    """It is not in the view any more; `whole` is what was known last."""
    before: int = 0
    """Of one that is gone: the version in which it was known last."""
    v1: bytes | None = None
    """What /v1 shows of it, once somebody asked."""
    v2: bytes | None = None
    """What /v2 shows of it, once somebody asked."""

    @property
    def identity(self) -> str:
        """Names it in the log and in the store. ARNs of the old format name no cluster, so that
        two clusters may be told to have the same task.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html"""
        long = self.kind == "cluster" or self.key.count("/") > 1
        return self.key if long else f"{self.cluster_arn} {self.key}"

    def text(self, name: str) -> str:
        """One of its members that is a text; "" when it has none."""
        value = self.whole.get(name)
        found = None if value is None else msgspec.json.decode(value)
        return found if isinstance(found, str) else ""
