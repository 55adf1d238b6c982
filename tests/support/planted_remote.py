"""Bugs to plant in following a cluster-state-service, and in the service's own copy."""

from collections.abc import Iterable
from typing import Any, Final

from blox.clusterstate.changes import ChangeLog
from blox.clusterstate.records import Records
from blox.clusterstate.remote.follower import Follower
from blox.clusterstate.remote.port import Gone, HostTold, Listing, Told
from support.planted import Planted, Seeds, Story

VIEW: Final = "simulation.test_remote_view"
SERVICE: Final = "simulation.test_state_service"
FOLLOWER: Final = "blox.clusterstate.remote.follower"

_take, _apply = Follower._take, Follower._apply


async def _replaces(follower: Any, listing: Listing) -> None:
    tasks = {told.document.task_arn for told in listing.tasks}
    hosts = {told.document.container_instance_arn for told in listing.hosts}
    cluster = follower._cluster
    _drop(cluster, [e.task.arn for e in cluster.records.all_tasks() if e.task.arn not in tasks])
    for arn in [e.host.arn for e in cluster.records.all_hosts() if e.host.arn not in hosts]:
        cluster._drop_host(arn)
    await _take(follower, listing)


async def _forgets(follower: Any, listing: Listing) -> None:
    follower._cluster.records = Records()
    await _take(follower, listing)


def _believes(follower: Any, gone: Iterable[Gone]) -> None:
    _drop(follower._cluster, [item.arn for item in gone if item.kind == "task"])


def _drop(cluster: Any, tasks: Iterable[str]) -> None:
    for arn in tasks:
        if cluster.records.task(arn) is not None:
            cluster._drop_task(arn)


def _as_they_come(follower: Any, batch: Iterable[Told]) -> None:
    for told in sorted(batch, key=lambda one: not isinstance(one, HostTold)):
        _apply(follower, [told])


def _holds(log: ChangeLog[Any], version: int) -> bool:
    return log.floor <= version <= log.last


PLANTED_REMOTE: Final = (
    Planted(
        rule="R12",
        what="a list replaces what is known",
        where=f"{FOLLOWER}:Follower._take",
        broken=_replaces,
        noticed_by=Story(f"{VIEW}:test_another_service_that_knows_of_no_daemon_takes_none_away"),
    ),
    Planted(
        rule="R12",
        what="the same, in whole worlds",
        where=f"{FOLLOWER}:Follower._take",
        broken=_replaces,
        noticed_by=Seeds(8, 28, http=True),
    ),
    Planted(
        rule="R12",
        what="our own answers are forgotten when a list comes",
        where=f"{FOLLOWER}:Follower._take",
        broken=_forgets,
        noticed_by=Story(
            f"{VIEW}:test_a_list_that_is_older_than_our_own_answers_makes_none_of_them_unknown"
        ),
    ),
    Planted(
        rule="R12",
        what="the same, in whole worlds",
        where=f"{FOLLOWER}:Follower._take",
        broken=_forgets,
        noticed_by=Seeds(8, 28, http=True),
    ),
    Planted(
        rule="R12",
        what="any sweep that was ever complete primes",
        where=f"{FOLLOWER}:covers",
        broken=lambda told, ticket: told is not None and told.sweep > 0,
        noticed_by=Story(f"{VIEW}:test_sweeps_of_before_we_asked_prime_nothing"),
    ),
    Planted(
        rule="R12",
        what="the same, in whole worlds",
        where=f"{FOLLOWER}:covers",
        broken=lambda told, ticket: told is not None and told.sweep > 0,
        noticed_by=Seeds(16, 34, http=True),
    ),
    Planted(
        rule="R12",
        what="another run's sweeps count by their numbers",
        where=f"{FOLLOWER}:covers",
        broken=lambda told, ticket: told is not None and told.sweep >= ticket.number,
        noticed_by=Story(f"{VIEW}:test_another_runs_numbers_prime_nothing"),
    ),
    Planted(
        rule="R12",
        what="what a service told counts for ever",
        where=f"{FOLLOWER}:justifies_until",
        broken=lambda *, swept, heard: 1e12,
        noticed_by=Story(f"{VIEW}:test_a_service_whose_reads_fail_justifies_nothing_before_long"),
    ),
    Planted(
        rule="R12",
        what="what a silent service told counts for as long as its sweeps are good",
        where=f"{FOLLOWER}:justifies_until",
        broken=lambda *, swept, heard: swept,
        noticed_by=Story(
            f"{VIEW}:test_a_stop_does_not_rest_on_what_a_silent_service_told_long_ago"
        ),
    ),
    Planted(
        rule="R12",
        what="what the service has let go of is gone",
        where=f"{FOLLOWER}:Follower._let_go",
        broken=_believes,
        noticed_by=Story(f"{VIEW}:test_what_the_service_lets_go_of_is_gone_when_ecs_says_so"),
    ),
    Planted(
        rule="R12",
        what="where a service tells otherwise than a later read, nobody asks again",
        where="blox.clusterstate.remote.differing:Differing.left",
        broken=lambda differing, records, shown: ([], []),
        noticed_by=Story(
            "simulation.test_regressions_remote:"
            "test_a_host_that_drained_only_for_others_is_not_left_draining"
        ),
    ),
    Planted(
        rule="R12",
        what="hosts enter before the tasks on them",
        where=f"{FOLLOWER}:Follower._apply",
        broken=_as_they_come,
        noticed_by=Story("unit.test_follower:test_hosts_come_after_the_tasks_on_them"),
    ),
    Planted(
        rule="R7",
        what="an event of any age puts a task into a service's catalogue",
        where="blox.clusterstate.cluster:event_admitted",
        broken=lambda *, event_time, horizon, read_lag: True,
        noticed_by=Story(f"{SERVICE}:test_events_of_long_ago_put_nothing_back"),
    ),
    Planted(
        rule="R6",
        what="a task that one read does not show leaves a service's catalogue",
        where="blox.clusterstate.cluster:absence_counts",
        broken=lambda *, begun, newest_evidence, read_lag: True,
        noticed_by=Story(f"{SERVICE}:test_what_one_read_does_not_show_stays"),
    ),
    Planted(
        rule="stored copy",
        what="who has seen more than was stored may go on from there",
        where="blox.clusterstate.changes:ChangeLog.holds",
        broken=_holds,
        noticed_by=Story(f"{SERVICE}:test_who_saw_more_than_was_stored_lists_again"),
    ),
)
"""Rows like those of `support.planted`."""
