"""`blox clusters`: what the cluster-state-service watches, and how fresh that is."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import click

from blox.base.errors import Unavailable
from blox.cli.client import JsonObject, path_of
from blox.cli.groups import DefaultGroup
from blox.cli.output import Changing, count, plain, print_json, say, say_wrapped, span
from blox.cli.session import Session, pass_session, state_options
from blox.cli.state_client import StateClient
from blox.cli.state_filters import chosen
from blox.cli.state_show import about
from blox.cli.state_tables import CLUSTERS, Context, print_items
from blox.cli.state_words import ENDED, utc_now
from blox.cli.words import duration

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_POLL: Final = 0.2
_QUIET: Final = 2.0
"""Seconds of waiting without a word."""
_PATIENCE: Final = 20.0
"""Seconds for which a service that does not answer is taken to be restarting."""
_TIMED_OUT: Final = 5


@click.group(
    cls=DefaultGroup,
    default="list",
    alone=True,
    usage="[NAME …] [OPTIONS] | sweep NAME",
    context_settings=_HELP,
)
@state_options
def clusters(**_: object) -> None:
    """Show the clusters that the cluster-state-service watches, and how fresh what it knows is.

    Without a command it lists: `blox clusters` is `blox clusters list`.

    \b
    Example:
      blox clusters
      blox clusters sweep demo --wait
    """


@clusters.command("list", context_settings=_HELP, short_help="List them.")
@click.argument("names", nargs=-1, metavar="[NAME …]")
@state_options
@pass_session
def list_(session: Session, names: tuple[str, ...]) -> None:
    """List the clusters: status, hosts, tasks, when each was last read completely.

    Tasks that have stopped are not counted; with --json, "tasks" has them too.

    "not read yet" is a cluster that has not been read completely since the service began: what is
    shown of it is the stored copy, or the beginning of the first reading.

    \b
    Example:
      blox clusters list
      blox clusters list demo
    """
    client = session.state_client()
    found = about(client, None)
    if names:
        found = [one for name in names for one in chosen(found, name)]
    stopped = _stopped(client, found)
    if session.as_json:
        print_json(found)
        return
    live = [{**one, "live": one["tasks"] - stopped[one["arn"]]} for one in found]
    print_items(CLUSTERS, live, Context(now=utc_now()))
    for one in found:
        if one["readError"]:
            say_wrapped(plain(f"{one['name']}: {one['readError']}"), indent=2)
    if not found:
        say("no cluster is watched yet")
        return
    hosts = sum(one["instances"] for one in found)
    tasks = sum(one["live"] for one in live)
    waiting = sum(not one["primed"] for one in found)
    more = f" · {waiting} not read completely yet" if waiting else ""
    say(f"{count(len(found), 'cluster')} · {count(hosts, 'host')} · {count(tasks, 'task')}{more}")


def _stopped(client: StateClient, clusters: Sequence[JsonObject]) -> Counter[str]:
    """ARN of a cluster → its tasks that have stopped, which ECS shows for about an hour."""
    if not any(one["tasks"] for one in clusters):
        return Counter()
    alone = {"cluster": clusters[0]["arn"]} if len(clusters) == 1 else {}
    listed, _ = client.listing("/v2/tasks", {"status": ENDED, **alone})
    return Counter(item["clusterArn"] for item in listed)


# --- Sweeping one ---------------------------------------------------------------------------------


@clusters.command("sweep", context_settings=_HELP, short_help="Have one read again.")
@click.argument("name", metavar="NAME")
@click.option("--wait", is_flag=True, help="Come back when it is complete.")
@click.option(
    "--timeout",
    type=duration,
    metavar="TIME",
    help="Wait for so long at most, then leave with exit code 5: 90s, 5m.",
)
@state_options
@pass_session
def sweep(session: Session, name: str, *, wait: bool, timeout: float | None) -> int:
    """Have the service read a cluster completely from ECS, now.

    The sweep begins after the request has come in, so what it shows is at least as new. Events are
    applied meanwhile as ever; this is for when they are in doubt.

    \b
    Example:
      blox clusters sweep demo
      blox clusters sweep demo --wait --timeout 2m
    """
    client = session.state_client()
    ticket = client.post(path_of("v2", "clusters", name, "sweep"))
    if not wait:
        if session.as_json:
            print_json(ticket)
        else:
            say(plain(f"sweep {ticket['sweep']} of {ticket['cluster']} is asked for"))
            say(f"  to have one and wait for it: blox clusters sweep {name} --wait")
        return 0
    return _Waiting(session, client, name).run(ticket, timeout=timeout)


class _Waiting:
    """Waits for a sweep."""

    def __init__(self, session: Session, client: StateClient, name: str) -> None:
        self._session = session
        self._client = client
        self._path = path_of("v2", "clusters", name)
        self._progress = Changing(silent=session.as_json)
        self._began = time.monotonic()
        self._told = ""

    def run(self, ticket: JsonObject, *, timeout: float | None) -> int:
        """Wait until the sweep that `ticket` names is complete; the exit code."""
        while True:
            cluster = self._look()
            if cluster["sweep"]["epoch"] != ticket["epoch"]:
                self._say("the service was started anew: asked again")
                ticket = self._client.post(f"{self._path}/sweep")
            elif cluster["sweep"]["number"] >= ticket["sweep"]:
                return self._complete(cluster)
            waited = time.monotonic() - self._began
            if timeout is not None and waited >= timeout:
                self._say(f"not complete after {span(waited)}; it goes on by itself")
                if self._session.as_json:
                    print_json(cluster)
                return _TIMED_OUT
            if cluster["readError"] and cluster["readError"] != self._told:
                self._told = cluster["readError"]
                self._say(f"reading fails, it is tried again: {self._told}")
            if waited > _QUIET:
                line = f"  sweep {ticket['sweep']} of {cluster['name']} is on its way"
                self._progress.show(line, beside=span(waited))
            time.sleep(_POLL)

    def _look(self) -> JsonObject:
        """The cluster as of now. Raises Unavailable when nobody has answered for too long."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._client.get(self._path)
            except Unavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL)

    def _complete(self, cluster: JsonObject) -> int:
        self._progress.end()
        if self._session.as_json:
            print_json(cluster)
            return 0
        tasks = cluster["tasks"] - _stopped(self._client, [cluster])[cluster["arn"]]
        say_wrapped(
            f"{cluster['name']} was read completely in {span(time.monotonic() - self._began)}: "
            f"{count(cluster['instances'], 'host')}, {count(tasks, 'task')}   "
            f"sweep {cluster['sweep']['number']}"
        )
        return 0

    def _say(self, line: str) -> None:
        if not self._session.as_json:
            self._progress.end()
            say_wrapped(line)
