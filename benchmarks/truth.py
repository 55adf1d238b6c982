"""What the simulated ECS saw of a deployment: judged from outside, never by what blox believes."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from blox.settings import PacingSettings
from blox.simulator.cloud import Cloud
from blox.simulator.quotas import MODIFY, QUOTAS

HOSTS_A_CALL: Final = 10
"""StartTask names at most so many container instances
(https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One cluster's StartTask calls and daemons since a moment."""

    calls: int
    stops: int
    doubles: int
    """Hosts that had two live daemons at one time."""
    without: int
    """Hosts without a live daemon now."""
    last: float
    """ECS's time of the last StartTask; NaN when there was none."""


def seen_since(cloud: Cloud, begin: float) -> Seen:
    """What happened from `begin` (ECS's time) on."""
    calls = [call for call in cloud.log if call.time >= begin]
    starts = [call.time for call in calls if call.operation == "StartTask"]
    lives: dict[str, list[tuple[float, float]]] = {
        host.arn: [] for host in cloud.hosts.values() if not host.inactive
    }
    for task in cloud.tasks.values():
        if task.marker:
            born, died = task.lived()
            lives.setdefault(task.host, []).append((born, float("inf") if died is None else died))
    return Seen(
        calls=len(starts),
        stops=sum(call.operation == "StopTask" for call in calls),
        doubles=sum(_overlap(lived) for lived in lives.values()),
        without=sum(not any(died == float("inf") for _, died in lived) for lived in lives.values()),
        last=max(starts, default=float("nan")),
    )


def _overlap(lived: list[tuple[float, float]]) -> bool:
    return any(later < died for (_, died), (later, _) in pairwise(sorted(lived)))


def fewest_calls(hosts: int) -> int:
    """⌈N/10⌉."""
    return -(-hosts // HOSTS_A_CALL)


def quickest(calls: int, pacing: PacingSettings | None = None) -> float:
    """Seconds that so many StartTask calls take at the share that blox may use, from an empty
    bucket: calls / (share x published refill a second)."""
    share = (pacing or PacingSettings()).repair_share
    return calls / (share * QUOTAS[MODIFY][1])
