"""Tells what happens to tasks, hosts and clusters, one line for each change."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from blox.cli.client import JsonObject
from blox.cli.output import plain, short
from blox.cli.state_changes import cluster_changes, instance_changes, task_changes
from blox.cli.state_follow import CLUSTER, INSTANCE, TASK, Changed, Gone
from blox.cli.state_words import host_names, instance_name, runs, task_host

_CHANGES: Final = {TASK: task_changes, INSTANCE: instance_changes, CLUSTER: cluster_changes}


class Happened(NamedTuple):
    """One change, as it is told."""

    at: datetime
    cluster: str
    what: str
    """Which task or host."""
    words: str

    @property
    def clock(self) -> str:
        """The time of day, to the millisecond: 10:14:42.377."""
        return self.at.strftime("%H:%M:%S.%f")[:-3]


class Teller:
    """Tells changes in words. It knows the hosts' names from those that it was told of."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}

    def learn(self, items: Iterable[JsonObject]) -> None:
        """These hosts are there."""
        self.hosts.update(host_names(items))

    def tell(self, news: Changed | Gone, at: datetime) -> Happened | None:
        """The change as a line; None when there is nothing to say of it."""
        if isinstance(news, Gone):
            parts = ["gone"]
            item = news.before
        else:
            item = news.after
            parts = _CHANGES[news.kind](news.before, item)
            if news.kind == INSTANCE:
                self.learn([item])
        if not parts:
            return None
        cluster = item["name"] if news.kind == CLUSTER else item["cluster"]
        return Happened(at, cluster, self._what(news.kind, item), plain(", ".join(parts)))

    def _what(self, kind: str, item: JsonObject) -> str:
        if kind == CLUSTER:
            return "cluster"
        if kind == INSTANCE:
            return f"host {instance_name(item)}"
        where = task_host(item, self.hosts)
        return plain(f"task {short(item['arn'])} {runs(item)}{f' on {where}' if where else ''}")
