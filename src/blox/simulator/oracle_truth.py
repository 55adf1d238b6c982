"""What the oracle remembers of a run: who asked for what, what ECS saw, and when.

Everything here comes from two sources only: what the user asked (`Wish`) and the records of the
simulated cloud. Nothing comes from the scheduler or its view. Times are seconds since 1970-01-01
UTC by ECS's clock.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from blox.simulator.cloud import Cloud
from blox.simulator.model import CallLogged, HostRecord, TaskRecord
from blox.simulator.oracle_lives import Snapshot, Standing, Timeline, able, healthy_within

GROUP_PREFIX: Final = "blox:"
"""Every task that blox starts has the group `blox:ENVIRONMENT`."""

HostTest = Callable[[HostRecord], bool]


def every_host(host: HostRecord) -> bool:
    """The empty selector."""
    return bool(host.arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept, with what proves it."""

    promise: int
    """The number of the promise; 0 for the table of where a daemon may start and may stay."""
    at: float
    environment: str
    """The key that `Oracle.expect` was given, or "" when no environment is concerned."""
    host: str
    """The container instance's ARN, or ""."""
    text: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = " on ".join(part for part in (self.environment, self.host) if part)
        lines = [f"promise {self.promise} at {self.at:.3f} ({where or 'everywhere'}): {self.text}"]
        return "\n    ".join([*lines, *self.evidence])


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What the oracle forgives, because no caller of ECS could know or do better. Seconds."""

    news: float = 180.0
    """How long a change of a host, or the end of a task, may stay unknown to a caller that reads:
    two sweeps of a minute, with room for the reads themselves. Creations may take V more."""
    pending_deadline: float = 300.0
    healthy_deadline: float = 300.0
    away_after: float = 60.0
    """How long a host without its agent still counts as wanted."""
    clock_slack: float = 1.0
    """Between a caller's estimate of ECS's clock and that clock."""
    assumption_broken: bool = False
    """S, E or V is broken on purpose: two daemons on a host are tolerated if they are mended by
    the end, three never are."""
    throttles: bool = True
    """ThrottlingException is no fault of the caller's here: others use the quota, or the cloud
    throttles at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked of one environment, from one moment on."""

    at: float
    cluster: str
    """The cluster's name."""
    definition: str
    """The target's task definition ARN; "" while nothing was ever deployed."""
    content: str = ""
    """Tells apart revisions with one definition and different `task` blocks; "" if they do not
    matter."""
    selector: HostTest
    max_unavailable: str = "10%"
    healthy_after: float = 10.0
    drain_deadline: float = 900.0
    beside: bool = False
    """Others of its family on a host do not matter."""
    when_idle: float | None = None
    """Seconds after which it leaves a host on which nothing but daemons runs, and which ECS would
    then remove; None: never."""


def allowance(max_unavailable: str, wanted: int) -> int:
    """How many of `wanted` hosts may be unavailable: "3", or "10%" rounded up; at least 1."""
    if max_unavailable.endswith("%"):
        return max(1, math.ceil(float(max_unavailable[:-1]) * wanted / 100 - 1e-9))
    return max(1, int(max_unavailable))


@dataclass(slots=True, kw_only=True)
class Asked:
    """One environment from its creation to its deletion."""

    key: str
    name: str
    wishes: list[Wish]
    ended: float | None = None
    stopping: float | None = None
    """Since when its tasks are to be stopped, because it is deleted with them."""
    lost: bool = False
    """Its records are lost: nobody can tell its tasks by their deployment."""
    former: list["Asked"] = field(default_factory=list)
    """Those whose tasks it took over: what they asked may still be on its way."""

    @property
    def latest(self) -> Wish:
        return self.wishes[-1]

    @property
    def deploying_since(self) -> float:
        """When something was first deployed; infinity: not yet."""
        return next((wish.at for wish in self.wishes if wish.definition), math.inf)

    def follow(self, other: "Asked") -> None:
        """It has taken over tasks of the other."""
        if not self.stems_from(other) and not other.stems_from(self):
            self.former.append(other)

    def stems_from(self, other: "Asked") -> bool:
        """Whether it is the other, or took over from it, or from one that did."""
        return self is other or any(one.stems_from(other) for one in self.former)

    def during(self, since: float, until: float) -> list[Wish]:
        """Every wish in force at some moment of [since, until]."""
        if self.ended is not None and self.ended < since:
            return []
        first = bisect_right(self.wishes, since, key=lambda wish: wish.at)
        found = [w for w in self.wishes[max(0, first - 1) :] if w.at <= until]
        for asked in self.former:
            found += asked.during(since, until)
        return found


# --- All of it ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A freeze or a hold, as the user has it."""

    scope: Literal["everything", "cluster", "environment", "host"]
    target: str
    """The cluster's name, the environment's as CLUSTER/NAME, the host's ARN; "" for everything."""
    since: float
    """When it was acknowledged."""
    until: float
    """When it ends, or was taken back."""


@dataclass(slots=True)
class TakenDown:
    """A healthy daemon that we stopped to replace it."""

    host: str
    at: float
    task: str


@dataclass(slots=True)
class Ledger:
    """Everything that judging needs, kept up by `Oracle.step`."""

    cloud: Cloud
    allowances: Allowances
    asked: dict[str, Asked] = field(default_factory=dict)
    deployments: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Deployment id → (environment key, content)."""
    slots: dict[str, dict[str, list[TaskRecord]]] = field(default_factory=dict)
    """Host ARN → environment key → every task that it ever had there, oldest first."""
    owners: dict[str, str] = field(default_factory=dict)
    """Task ARN → environment key."""
    others: dict[str, list[TaskRecord]] = field(default_factory=dict)
    """Host ARN → every task there that no environment started."""
    timelines: dict[str, dict[str, Timeline[Standing]]] = field(default_factory=dict)
    """Environment key → host ARN → how the host stood to it."""
    snapshots: dict[str, Timeline[Snapshot]] = field(default_factory=dict)
    """Host ARN → how the host looked, from its registration on."""
    unhealthy: dict[str, float] = field(default_factory=dict)
    """Task ARN → when it was last seen UNHEALTHY."""
    stopped_by_us: dict[str, float] = field(default_factory=dict)
    """Task ARN → when our first StopTask for it was executed."""
    taken_down: dict[str, list[TakenDown]] = field(default_factory=dict)
    most_down: dict[str, int] = field(default_factory=dict)
    """Environment key → the most daemons ever down for replacement at once."""
    markers: dict[str, str] = field(default_factory=dict)
    """BLOX_INTENT → the request id of the StartTask that carried it."""
    blind: list[tuple[float, float]] = field(default_factory=list)
    """When the caller could not read; the last may be open (infinity)."""
    heirs: dict[str, str] = field(default_factory=dict)
    """Environment key → the key of the environment that took over its tasks."""
    adopted: dict[str, bool] = field(default_factory=dict)
    """Task ARN → whether the next deployment is to replace it: tasks that somebody else started and
    that the user gave to an environment."""
    orders: list[Order] = field(default_factory=list)
    confirmed: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """Environment key → (when, how many) stops that somebody said are meant."""
    unmatched_stops: dict[str, list[float]] = field(default_factory=dict)
    """Environment key → when stops on hosts that stopped matching were decided."""
    left_idle: dict[tuple[str, str], float] = field(default_factory=dict)
    """(environment key, host ARN) → when its daemon was stopped there because the host was idle."""
    strangers: dict[tuple[str, str], None] = field(default_factory=dict)
    """(environment key, key of a lost one of its name) when nobody could know of the lost one."""

    def known_since(self, at: float) -> float:
        """What held without a change from this moment until `at`, a caller that acts at `at` must
        know: it could read for V + `news` seconds on end."""
        need = self.cloud.assumptions.read_lag + self.allowances.news
        need += self.cloud.switches.read_overrun  # Not 0 only where V is broken on purpose.
        cursor = at
        for begin, end in reversed(self.blind):
            if begin >= cursor:
                continue
            if cursor - min(end, cursor) >= need:
                break
            cursor = begin
        return cursor - need

    def decided_at(self, call: CallLogged) -> float:
        """The earliest moment at which this call can have been decided: its signature's date,
        without the back-dating."""
        if call.signed_at is None:
            return call.time
        forward = call.signed_at + self.cloud.assumptions.dated_back
        return min(call.time, forward) if self.dated_back(call) else call.signed_at

    def dated_back(self, call: CallLogged) -> bool:
        """Whether the call's signature was dated back by B or more when it arrived."""
        if call.signed_at is None:
            return False
        age = call.time - call.signed_at
        return age >= self.cloud.assumptions.dated_back - self.allowances.clock_slack

    def owner(self, task: TaskRecord) -> str | None:
        """The key of the environment that started it: by its deployment's id, else by its group,
        where of several environments that had this name the newest at its creation counts."""
        known = self.deployments.get(task.started_by)
        if known is not None:
            return self.heir(known[0])
        if not task.group.startswith(GROUP_PREFIX):
            return None
        name = task.group.removeprefix(GROUP_PREFIX)
        named = [
            asked
            for asked in self.asked.values()
            if asked.name == name and asked.wishes[0].cluster == task.cluster
        ]
        older = [asked for asked in named if asked.wishes[0].at <= task.created_at]
        return self.heir((older or named)[-1].key) if named else None

    def key_of_start(self, call: CallLogged) -> str | None:
        """The key of the environment that a StartTask acts for."""
        task = TaskRecord(
            arn="",
            cluster=str(call.params.get("cluster", "")).rsplit("/", 1)[-1],
            host="",
            definition="",
            family="",
            created_at=call.time,
            started_by=str(call.params.get("startedBy", "")),
            group=str(call.params.get("group", "")),
        )
        return self.owner(task)

    def heir(self, key: str) -> str:
        """Whose the tasks of this environment are now."""
        while key in self.heirs:
            key = self.heirs[key]
        return key

    def give(self, task: TaskRecord, key: str) -> None:
        """The task is this environment's from now on, whosever it was."""
        owner = self.owners.get(task.arn)
        if owner is None:
            self.others[task.host].remove(task)
        else:
            self.slots[task.host][owner].remove(task)
        self.owners[task.arn] = key
        mine = self.slots.setdefault(task.host, {}).setdefault(key, [])
        mine.append(task)
        mine.sort(key=lambda one: one.created_at)

    def kin(self, key: str) -> list[str]:
        """Keys of environments of the same name and cluster, where the records of one or the other
        are lost: a daemon of one beside a daemon of the other is a second one."""
        mine = self.asked[key]
        return [
            other.key
            for other in self.asked.values()
            if (other.lost or mine.lost)
            and other.name == mine.name
            and other.latest.cluster == mine.latest.cluster
            and other is not mine
            and (key, other.key) not in self.strangers
            and (other.key, key) not in self.strangers
        ]

    def on_target(self, task: TaskRecord, wish: Wish) -> bool:
        """Whether the task runs what the wish asks. Contents are compared where both are known; of
        adopted tasks nothing but their definition is known."""
        if task.definition != wish.definition:
            return False
        if task.arn in self.adopted:
            return not self.adopted[task.arn]
        content = self.deployments.get(task.started_by, ("", ""))[1]
        return not content or not wish.content or content == wish.content

    def checked(self, task: TaskRecord) -> bool:
        """Whether a health check decides if it is healthy."""
        definition = self.cloud.definitions.get(task.definition)
        return definition is not None and definition.health_check

    def was_healthy(self, task: TaskRecord, since: float, until: float, *, after: float) -> bool:
        """Whether a caller could take it to be healthy at some moment of [since, until]: RUNNING
        for `after` seconds, or found HEALTHY at whatever moment after it ran."""
        if not self.checked(task):
            return healthy_within(task, since, until, after=after)
        found = not task.live or task.health in ("HEALTHY", "UNHEALTHY")
        return found and healthy_within(task, since, until, after=0.0)

    def slot(self, key: str, host: str) -> Sequence[TaskRecord]:
        """Every task that the environment ever had on the host, oldest first."""
        return self.slots.get(host, {}).get(key, ())

    def standing(self, wish: Wish, snapshot: Snapshot) -> Standing:
        """How a host that looked like this stands to an environment that asks this."""
        host = snapshot.host
        return Standing(
            status=host.status,
            connected=host.agent_connected,
            matches=wish.selector(host),
            able=able(self.cloud.definitions.get(wish.definition), host),
            superseded=snapshot.superseded,
        )

    def standings(self, key: str, host: str, since: float, until: float) -> list[Standing]:
        """Every way in which a caller could take the host to stand to the environment who knows
        some wish and some look of the host of [since, until]; empty if it was not there."""
        looks = self.snapshots.get(host)
        if looks is None or not host_in(looks, self.asked[key]):
            return []
        wishes = self.asked[key].during(since, until)
        return [self.standing(wish, look) for wish in wishes for look in looks.during(since, until)]

    def most_allowed(self, key: str, since: float, until: float) -> int:
        """The largest number of unavailable hosts that a caller could hold to be allowed at some
        moment of [since, until]."""
        asked = self.asked[key]
        grace = self.allowances.away_after
        wanted = sum(
            any(s.ready and s.connected for s in self.standings(key, host, since - grace, until))
            for host in self.timelines[key]
        )
        shares = [wish.max_unavailable for wish in asked.during(since, until)]
        return max((allowance(share, wanted) for share in shares), default=0)

    def occupants(
        self, key: str, host: str, family: str, *, beside: bool = False
    ) -> list[TaskRecord]:
        """Tasks on the host that do this environment's job and are not its own, living or not: of
        its family, unless it runs `beside` them, and of its name."""
        group = f"{GROUP_PREFIX}{self.asked[key].name}"
        found = list(self.others.get(host, ()))
        for env, tasks in self.slots.get(host, {}).items():
            if env != key:
                found += tasks
        return [t for t in found if (t.family == family and not beside) or t.group == group]

    def bystanders(self, host: str) -> list[TaskRecord]:
        """Tasks on the host that a draining daemon must wait for: not ours, not of a service with
        the DAEMON strategy."""
        daemons = {
            f"service:{service.name}"
            for service in self.cloud.services.values()
            if service.strategy == "DAEMON"
        }
        return [task for task in self.others.get(host, ()) if task.group not in daemons]


def host_in(looks: Timeline[Snapshot], asked: Asked) -> bool:
    """Whether the host is one of the environment's cluster."""
    return looks.last().host.cluster == asked.latest.cluster
