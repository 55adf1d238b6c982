"""A cluster's indexes, kept change by change, equal those of a rebuild."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from blox.clusterstate.absence import superseded
from blox.clusterstate.merge import HostEntry, TaskEntry
from blox.clusterstate.records import Records
from blox.ecs.model import Host, Task

TASKS = st.builds(
    Task,
    arn=st.sampled_from(("t1", "t2", "t3", "t4")),
    cluster_arn=st.just("c"),
    host_arn=st.sampled_from(("", "h1", "h2", "h3")),
    started_by=st.sampled_from(("", "d1", "d2", "ecs-svc/1")),
    version=st.integers(1, 3),
)
HOSTS = st.builds(
    Host,
    arn=st.sampled_from(("h1", "h2", "h3")),
    cluster_arn=st.just("c"),
    instance_id=st.sampled_from(("", "i-1", "i-2")),
    status=st.sampled_from(("ACTIVE", "DRAINING", "INACTIVE")),
    agent_connected=st.booleans(),
    registered_at=st.sampled_from((None, 1.0, 2.0)),
)
Step = Callable[[Records, float], None]
STEPS = st.one_of(
    TASKS.map(lambda task: lambda records, now: records.put_task(TaskEntry(task=task))),
    HOSTS.map(lambda host: lambda records, now: records.put_host(HostEntry(host=host), now=now)),
    st.sampled_from(("t1", "t2", "t3")).map(
        lambda arn: lambda records, now: records.drop_task(arn)
    ),
    st.sampled_from(("h1", "h2")).map(lambda arn: lambda records, now: records.drop_host(arn)),
)


@given(st.lists(STEPS, max_size=40))
def test_indexes_kept_change_by_change_equal_a_rebuild(steps: list[Step]) -> None:
    records = Records()
    for number, step in enumerate(steps):
        step(records, float(number))

    tasks = sorted((entry.task for entry in records.all_tasks()), key=lambda task: task.arn)
    hosts = sorted((entry.host for entry in records.all_hosts()), key=lambda host: host.arn)
    for arn in ("h1", "h2", "h3"):
        assert records.tasks_on(arn) == tuple(task for task in tasks if task.host_arn == arn)
    for started_by in ("d1", "d2", "ecs-svc/1"):
        found = records.started_by(started_by)
        assert found == tuple(task for task in tasks if task.started_by == started_by)
    newer = superseded(hosts)
    listed = [host for host in hosts if host.status != "INACTIVE"]
    assert [seen.host for seen in records.listed()] == listed
    assert [seen.superseded_by for seen in records.listed()] == [newer.get(h.arn) for h in listed]


@given(st.lists(HOSTS, min_size=1, max_size=30))
def test_watching_tells_since_when(changes: list[Host]) -> None:
    records = Records()
    away: dict[str, float | None] = {}
    draining: dict[str, float | None] = {}
    for now, host in enumerate(changes):
        records.put_host(HostEntry(host=host), now=float(now))
        gone = host.status == "INACTIVE"
        for since, holds in (
            (away, not host.agent_connected),
            (draining, host.status == "DRAINING"),
        ):
            before = since.get(host.arn)
            since[host.arn] = (
                (before if before is not None else now) if holds and not gone else None
            )
    for seen in records.listed():
        assert seen.disconnected_since == away[seen.host.arn]
        assert seen.draining_since == draining[seen.host.arn]
