"""The judge of a simulated run: are the promises kept, by what ECS saw?

The oracle is told only what a user asked (`expect`, `deployed`, `expect_none`) and reads the
records of the simulated cloud; it shares no code with the scheduler and believes nothing that the
scheduler says, except to compare it with the truth (`healed`, `completed`).

Call `step` after every change of the cloud: the oracle learns from it when hosts drained, agents
left and health turned. Call `expect` before the request that it describes is sent, and again with
the former wish if the request is refused: what was asked may be acted on before it is answered.

What is judged, by promise:

    1  never two            each task at its creation; each call's marker, date and target hosts
    2  never zero           each stop of a host's last daemon must have been asked for; a surplus
                            stop leaves a daemon that runs; only what was asked is started
    3  soon                 at the end every ready host has its daemon, no other has one
    4  ECS's speed          no throttled call, at most ten hosts a call
    6  within budget        our own replacements at once; replacing while too many have none
    7  honest               reports agree with the truth; nothing is completed that is not
    9  only ours            no stop of, and no start beside, what others run
    0  the table            no start where a daemon may not start

Lag is forgiven where no caller can know better (`Allowances`, `blinded`), never else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from blox.simulator.cloud import Cloud
from blox.simulator.model import CallLogged, HostRecord, TaskRecord
from blox.simulator.oracle_healing import (
    ReportedHost,
    judge_completed,
    judge_healed,
    judge_reports,
)
from blox.simulator.oracle_lives import (
    Snapshot,
    Timeline,
    describe_task,
    live_during,
    longest_gap,
)
from blox.simulator.oracle_orders import judge_orders
from blox.simulator.oracle_starts import (
    judge_definition,
    judge_signature,
    judge_start_sent,
    judge_task,
)
from blox.simulator.oracle_stops import judge_stop, judge_stop_sent
from blox.simulator.oracle_truth import (
    Allowances,
    Asked,
    HostTest,
    Ledger,
    Order,
    Violation,
    Wish,
    every_host,
)

__all__ = ["Allowances", "Oracle", "ReportedHost", "Statistics", "Violation"]

_ACTS = ("StartTask", "StopTask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a run came to: the receipt."""

    starts: int
    """Tasks that we started."""
    stops: int
    """Tasks that we stopped."""
    hosts_with_two: int
    """Hosts that ever had two live daemons of one environment."""
    most_down_for_replacement: int
    """Daemons of one environment that we had taken down, and that were not back, at one time."""
    longest_without_daemon: float
    """Seconds that one host was ready and its daemon did not run, at the worst host."""
    calls: dict[str, int]
    """Operation → calls that reached ECS, everybody's, reads included."""
    throttled: int
    violations: int


def anybody(call: CallLogged) -> bool:
    """Counts every call as ours."""
    return bool(call.operation)


@dataclass(slots=True)
class _Seen:
    """How a host looked at the last step, so that an unchanged one costs nothing."""

    record: HostRecord
    status: str = ""
    connected: bool = False
    attributes: dict[str, str | None] = field(default_factory=dict)
    new: bool = True
    """It changed, and no snapshot was made since."""

    def changed(self) -> bool:
        """Whether it looks different now; remembers the new look."""
        host = self.record
        if (
            host.status == self.status
            and host.agent_connected == self.connected
            and host.attributes == self.attributes
        ):
            return False
        self.status = host.status
        self.connected = host.agent_connected
        self.attributes = dict(host.attributes)
        self.new = True
        return True


class Oracle:
    """Judges one cloud. `ours` tells our calls from others'."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        allowances: Allowances | None = None,
        ours: Callable[[CallLogged], bool] = anybody,
    ) -> None:
        self.violations: list[Violation] = []
        """Everything found so far, in the order of finding."""
        self.tolerated: list[Violation] = []
        """Hosts with two while an assumption was broken on purpose."""
        self._cloud = cloud
        self._ours = ours
        self._ledger = Ledger(cloud, allowances or Allowances())
        self._seen: dict[str, _Seen] = {}
        self._tasks_read = 0
        self._live: list[TaskRecord] = []
        self._calls_read = 0
        self._waiting: list[CallLogged] = []
        self._unrecorded = False
        self._two: dict[str, None] = {}

    # --- What the user asks -----------------------------------------------------------------------

    def expect(
        self,
        key: str,
        *,
        now: float,
        name: str,
        cluster: str,
        definition: str = "",
        content: str = "",
        selector: HostTest = every_host,
        max_unavailable: str = "10%",
        healthy_after: float = 10.0,
        drain_deadline: float = 900.0,
        beside: bool = False,
        when_idle: float | None = None,
    ) -> None:
        """From now on the user asks this of the environment `key` (any string that is never used
        again, even if the name is). `definition` and `content` are those of the revision that is
        being *deployed*: its ARN, and whatever tells its `task` block from others'."""
        wish = Wish(
            at=now,
            cluster=cluster.rsplit("/", 1)[-1],
            definition=definition,
            content=content,
            selector=selector,
            max_unavailable=max_unavailable,
            healthy_after=healthy_after,
            drain_deadline=drain_deadline,
            beside=beside,
            when_idle=when_idle,
        )
        asked = self._ledger.asked.get(key)
        if asked is None:
            asked = self._ledger.asked[key] = Asked(key=key, name=name, wishes=[wish])
            self._meet_kin(key, now)
        else:
            asked.wishes.append(wish)
        asked.ended = asked.stopping = None
        self._ledger.timelines.setdefault(key, {})
        self._unrecorded = True
        self._see_hosts(now)

    def deployed(self, key: str, deployment_id: str, *, content: str = "") -> None:
        """Tasks whose startedBy is `deployment_id` belong to the environment `key`."""
        self._ledger.deployments[deployment_id] = (key, content)

    def expect_none(self, key: str, *, now: float) -> None:
        """The user deletes the environment: its tasks are to be left alone from now on."""
        self._ledger.asked[key].ended = now

    def ends(self, key: str, *, now: float) -> None:
        """The user deletes the environment and its tasks: every one is to be stopped."""
        self._ledger.asked[key].ended = self._ledger.asked[key].stopping = now

    def inherits(self, key: str, from_key: str, *, now: float) -> None:
        """A deleted environment's name is used again: what it left running, and whatever of it may
        still come to be, is the new environment's from now on."""
        self.step(now)
        ledger = self._ledger
        ledger.heirs[from_key] = key
        ledger.asked[key].follow(ledger.asked[from_key])
        for arn in [arn for arn, owner in ledger.owners.items() if owner == from_key]:
            ledger.give(self._cloud.tasks[arn], key)
        down = ledger.taken_down.pop(from_key, [])
        ledger.taken_down[key] = [*ledger.taken_down.get(key, []), *down]

    def adopts(
        self, key: str, task_arns: Iterable[str], *, to_replace: bool = False, now: float
    ) -> list[Violation]:
        """The user gave these tasks to the environment, whoever started them. Adopted where it has
        a daemon already, they would be a second one: returns what is wrong."""
        self.step(now)
        ledger = self._ledger
        found: list[Violation] = []
        tasks = [self._cloud.tasks[arn] for arn in task_arns]
        for task in tasks:
            here = [t for t in ledger.slot(key, task.host) if t.live and t not in tasks]
            if here and task.live:
                found.append(
                    Violation(
                        promise=1,
                        at=now,
                        environment=key,
                        host=task.host,
                        text="a task was adopted where a daemon of the environment was live",
                        evidence=tuple(describe_task(one) for one in (*here, task)),
                    )
                )
        for task in tasks:
            owner = ledger.owners.get(task.arn)
            if owner is not None:
                ledger.asked[key].follow(ledger.asked[owner])
            if owner is None:
                self._live.append(task)
            ledger.give(task, key)
            ledger.adopted[task.arn] = to_replace
        self.violations += found
        return found

    def ordered(
        self,
        scope: Literal["everything", "cluster", "environment", "host"],
        target: str = "",
        *,
        until: float,
        now: float,
    ) -> Order:
        """A freeze, or a hold of a host, was acknowledged: from now until then nothing is started
        or stopped there. `target`: the cluster's name, the environment's as CLUSTER/NAME, the
        host's ARN."""
        order = Order(scope=scope, target=target, since=now, until=until)
        self._ledger.orders.append(order)
        return order

    def taken_back(self, order: Order, *, now: float) -> None:
        """The user ends a freeze or a hold, or a newer one of the same host replaces it."""
        orders = self._ledger.orders
        if order in orders:
            orders[orders.index(order)] = replace(order, until=min(order.until, now))

    def confirmed(self, key: str, stops: int, *, now: float) -> None:
        """The user says that so many stops on hosts that no longer match are meant."""
        self._ledger.confirmed.setdefault(key, []).append((now, stops))

    def forgotten(self, *, now: float) -> None:
        """All records are lost: of every environment, deleted or not, and of every order. Their
        tasks are to be left alone, until somebody adopts them."""
        for asked in self._ledger.asked.values():
            if asked.key not in self._ledger.heirs and not asked.lost:
                asked.ended = now if asked.ended is None else asked.ended
                asked.stopping, asked.lost = None, True
        orders = self._ledger.orders
        orders[:] = [replace(order, until=min(order.until, now)) for order in orders]

    def _meet_kin(self, key: str, now: float) -> None:
        """A new environment cannot know of a lost one of its name that no read can show."""
        visible = now - self._cloud.assumptions.read_lag
        for lost in self._ledger.kin(key):
            if not any(
                live_during(task, visible, now)
                for tasks in self._ledger.slots.values()
                for task in tasks.get(lost, ())
            ):
                self._ledger.strangers[key, lost] = None

    def blinded(self, *, now: float) -> None:
        """From now on the caller cannot read: ECS does not answer it, or it does not run."""
        blind = self._ledger.blind
        if not blind or blind[-1][1] != float("inf"):
            blind.append((now, float("inf")))

    def sighted(self, *, now: float) -> None:
        """The caller can read again."""
        blind = self._ledger.blind
        if blind and blind[-1][1] == float("inf"):
            blind[-1] = (blind[-1][0], now)

    def allow(self, allowances: Allowances) -> None:
        """Judge by these from now on."""
        self._ledger.allowances = allowances

    # --- Judging ----------------------------------------------------------------------------------

    def step(self, now: float) -> list[Violation]:
        """Judge what happened since the last step; returns what is wrong with it."""
        found: list[Violation] = []
        self._see_hosts(now)
        self._see_tasks(found)
        self._see_health(now)
        self._see_calls(found)
        self.violations += found
        return found

    def completed(self, key: str, *, now: float) -> list[Violation]:
        """A deployment of the latest wish has just been reported completed: is it?"""
        self.step(now)
        found = list(judge_completed(self._ledger, key, now))
        self.violations += found
        return found

    def healed(
        self,
        now: float,
        *,
        reported: Callable[[], Iterable[ReportedHost]] | None = None,
        settle: float = 60.0,
    ) -> list[Violation]:
        """Judge the end of a run: faults are off and time has passed. `settle`: hosts that changed
        less long ago are not judged. Returns what is wrong at the end."""
        self.step(now)
        found = list(judge_healed(self._ledger, now, settle=settle))
        if reported is not None:
            found += judge_reports(self._ledger, reported(), now, settle=settle)
        if self._cloud.throttled and not self._ledger.allowances.throttles:
            text = f"{self._cloud.throttled} calls were throttled"
            found.append(Violation(promise=4, at=now, environment="", host="", text=text))
        self.violations += found
        return found

    def statistics(self, now: float) -> Statistics:
        """The receipt, as of now."""
        ledger = self._ledger
        gaps = [
            longest_gap(timeline, ledger.slot(key, host), asked.deploying_since, now)
            for key, asked in ledger.asked.items()
            if asked.ended is None
            for host, timeline in ledger.timelines[key].items()
        ]
        return Statistics(
            starts=len(ledger.owners),
            stops=len(ledger.stopped_by_us),
            hosts_with_two=len(self._two),
            most_down_for_replacement=max(ledger.most_down.values(), default=0),
            longest_without_daemon=max(gaps, default=0.0),
            calls=dict(sorted(self._cloud.counts.items())),
            throttled=self._cloud.throttled,
            violations=len(self.violations),
        )

    # --- Looking at the cloud ---------------------------------------------------------------------

    def _see_hosts(self, now: float) -> None:
        hosts = self._cloud.hosts
        if len(self._seen) != len(hosts):
            for arn, host in hosts.items():
                self._seen.setdefault(arn, _Seen(host))
        changed = [seen for seen in self._seen.values() if seen.changed()]
        if not changed and not self._unrecorded:
            return
        self._unrecorded = False
        newest = self._newest_records()
        ledger = self._ledger
        for arn, host in hosts.items():
            superseded = newest.get(host.instance_id, host) is not host
            looks = ledger.snapshots.get(arn)
            if looks is None:
                looks = ledger.snapshots[arn] = Timeline()
            elif not self._seen[arn].new and looks.last().superseded == superseded:
                continue
            self._seen[arn].new = False
            copy = replace(host, attributes=dict(host.attributes))
            looks.record(now, Snapshot(copy, superseded))
        for asked in ledger.asked.values():
            self._see_standings(asked, now)

    def _see_standings(self, asked: Asked, now: float) -> None:
        timelines = self._ledger.timelines[asked.key]
        for arn, looks in self._ledger.snapshots.items():
            look = looks.last()
            if look.host.cluster != asked.latest.cluster:
                continue
            if arn in timelines or not look.host.inactive:
                standing = self._ledger.standing(asked.latest, look)
                timelines.setdefault(arn, Timeline()).record(now, standing)

    def _newest_records(self) -> dict[str, HostRecord]:
        """Machine → of its connected records the one that registered last."""
        newest: dict[str, HostRecord] = {}
        for host in self._cloud.hosts.values():
            if host.agent_connected and not host.inactive:
                known = newest.get(host.instance_id)
                if known is None or known.registered_at <= host.registered_at:
                    newest[host.instance_id] = host
        return newest

    def _see_tasks(self, found: list[Violation]) -> None:
        tasks = self._cloud.tasks
        count = len(tasks) - self._tasks_read
        if not count:
            return
        self._tasks_read = len(tasks)
        for task in reversed(list(islice(reversed(tasks.values()), count))):
            self._see_task(task, found)

    def _see_task(self, task: TaskRecord, found: list[Violation]) -> None:
        ledger = self._ledger
        key = ledger.owner(task)
        if key is None:
            ledger.others.setdefault(task.host, []).append(task)
            return
        ledger.owners[task.arn] = key
        self._live.append(task)
        ledger.slots.setdefault(task.host, {}).setdefault(key, []).append(task)
        violation = judge_task(ledger, task)
        if violation is None:
            return
        self._two[f"{key} {task.host}"] = None
        pair = len(violation.evidence) == 2
        lawful = pair and ledger.allowances.assumption_broken
        (self.tolerated if lawful else found).append(violation)

    def _see_health(self, now: float) -> None:
        self._live = [task for task in self._live if task.live]
        for task in self._live:
            if task.health == "UNHEALTHY":
                self._ledger.unhealthy[task.arn] = now

    def _see_calls(self, found: list[Violation]) -> None:
        log = self._cloud.log
        for call in log[self._calls_read :]:
            if call.operation in _ACTS and self._ours(call):
                found += judge_signature(self._ledger, call)
                found += judge_orders(self._ledger, call)
                if call.operation == "StartTask":
                    found += judge_start_sent(self._ledger, call)
                    found += judge_definition(self._ledger, call)
                else:
                    found += judge_stop_sent(self._ledger, call)
                    self._waiting.append(call)
        self._calls_read = len(log)
        done = [call for call in self._waiting if call.outcome != "accepted"]
        if not done:
            return
        self._waiting = [call for call in self._waiting if call.outcome == "accepted"]
        for call in sorted(done, key=lambda call: call.executed_at or call.time):
            if call.outcome == "done":
                found += judge_stop(self._ledger, call)
