"""What may leave the view, what may enter it, and which record of a machine is the host.

R6: absence proves little. R7: old events raise no ghosts. R16: one machine, one host.

`read_lag` is V throughout: a read begun V after a task was created shows it. Times are seconds of
our monotonic clock unless a name says that they are ECS's.
"""

from collections.abc import Iterable

from blox.ecs.model import INACTIVE, Host


def absence_counts(*, begun: float, newest_evidence: float, read_lag: float) -> bool:
    """R6: whether a read begun then, which did not show an entity, proves that it is gone.

    `newest_evidence`: when an account last showed that it exists. It may have been created as late
    as that, and reads begun up to V later need not show it.
    """
    return begun > newest_evidence + read_lag


def event_admitted(*, event_time: float, horizon: float, read_lag: float) -> bool:
    """R7: whether an event about an ARN that the view does not hold may be applied.

    Both times are ECS's clock. `horizon`: the begin of the last complete sweep, or, before there is
    one, of the first. Whatever ended longer than V before that is not in the view any more, and an
    older event of it would bring it back to life.
    """
    return event_time >= horizon - read_lag


def ended_may_leave(
    *,
    now: float,
    ended_at: float,
    swept_at: float | None,
    kept: float,
    sweep_interval: float,
    read_lag: float,
) -> bool:
    """R6, R7: whether a task first seen STOPPED or DELETED at `ended_at`, or a host first seen
    INACTIVE then, need not be kept longer.

    Kept for `retention`, and until a complete sweep has begun more than 2 V after its end: from
    then on `event_admitted` refuses every event from before its end, however late it comes and
    however long sweeps have failed.
    """
    if swept_at is None or swept_at <= ended_at + 2 * read_lag:
        return False
    return now > ended_at + retention(kept=kept, sweep_interval=sweep_interval, read_lag=read_lag)


def retention(*, kept: float, sweep_interval: float, read_lag: float) -> float:
    """R7: how long ended entities stay at least."""
    return max(kept, sweep_interval + 2 * read_lag)


def left_with_host(*, now: float, inactive_since: float | None, read_lag: float) -> bool:
    """R6: whether a host was *seen* INACTIVE so long ago that its tasks leave the view with it.

    `inactive_since` is None for every other host, missing ones included: that a host is missing
    says nothing of its tasks.
    """
    return inactive_since is not None and now > inactive_since + read_lag


def superseded(hosts: Iterable[Host]) -> dict[str, str]:
    """R16: the older records of machines that have several, each with the ARN of the newest.

    Of records with equal ec2InstanceId that are not INACTIVE, the connected one with the latest
    registeredAt is the host; when none is connected, the one with the latest registeredAt. A record
    whose registeredAt is not known yet is taken for the oldest, because a superseded record's
    daemon is stopped and a missing time justifies no stop on the others. Equal times: the greatest
    ARN, so that every pass decides alike.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-versions.html
    """
    machines: dict[str, list[Host]] = {}
    for host in hosts:
        if host.instance_id and host.status != INACTIVE:
            machines.setdefault(host.instance_id, []).append(host)
    older: dict[str, str] = {}
    for records in machines.values():
        if len(records) > 1:
            newest = max(records, key=_standing)
            older.update({r.arn: newest.arn for r in records if r.arn != newest.arn})
    return older


def _standing(host: Host) -> tuple[bool, bool, float, str]:
    registered = host.registered_at
    return host.agent_connected, registered is not None, registered or 0.0, host.arn
