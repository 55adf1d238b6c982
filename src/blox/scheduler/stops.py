"""Taking stop calls from the boards: look before you stop (R8).

A stop is given only within five seconds of the begin of a DescribeTasks that showed every live
task of its slot, and only if judging anew on that still wants it. Where another daemon must
survive, that look itself must have shown it RUNNING and wanted.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from blox.base.backoff import exponential
from blox.base.ids import short_id
from blox.ecs.errors import DENIED_CODES
from blox.ecs.model import RUNNING, TaskDocument
from blox.ecs.port import InDoubt, NotDone, StopOutcome, Stopping
from blox.scheduler.model import VerdictKind
from blox.scheduler.state import State, What
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Cost, Stop

_LOOK_LIMIT = 100
"""Tasks a DescribeTasks takes at most."""
_HOLDS_MOST = 1000
"""Holds that are remembered before those that are over are cleared away."""


class StopOrder(Struct, frozen=True, kw_only=True):
    """One StopTask call to be."""

    environment_id: str
    environment_name: str
    cluster_arn: str
    host_arn: str
    task_arn: str
    cause: str
    look_begun: float
    """The begin of the look that the stop rests on (monotonic)."""
    granted: Cost = Cost.NONE
    """As which candidate the budget allowed it."""

    @property
    def reason(self) -> str:
        """What the task's stoppedReason will say; short enough for every limit seen."""
        return f"blox {self.environment_name}: {self.cause}"[:250]


class _Look(Struct, frozen=True):
    begun: float
    shown: Mapping[str, tuple[str, str]]
    """Task → lastStatus and desiredStatus."""


def survives(shown: Mapping[str, tuple[str, str]], survivor: str) -> bool:
    """R8: whether the look itself showed the survivor running and wanted."""
    return not survivor or shown.get(survivor) == (RUNNING, RUNNING)


class Stops:
    """The stop side of acting."""

    def __init__(self, state: State, *, wake_at: Callable[[float], None]) -> None:
        self._state = state
        self._wake_at = wake_at
        self._looks: dict[tuple[str, str], _Look] = {}
        self._hold: dict[tuple[str, str], tuple[float, int]] = {}
        """Slot → until when it is left alone after a look or a stop that failed, and how often."""
        self._turn = ""
        self.replacing_allowed: Callable[[], bool] = lambda: True
        """R13: no stop that needs a start after it while no start is possible."""

    def ready(self, *, rollout: bool) -> bool:
        """Whether a stop wants to be sent."""
        return any(True for _ in self._waiting(rollout=rollout))

    def _waiting(self, *, rollout: bool) -> Iterable[tuple[Tracked, str]]:
        now = self._state.clock.monotonic()
        ids = list(self._state.tracked)
        first = ids.index(self._turn) + 1 if self._turn in self._state.tracked else 0
        for environment_id in (*ids[first:], *ids[:first]):
            tracked = self._state.tracked[environment_id]
            for host in list(tracked.board.stopping[rollout]):
                verdict = tracked.board.verdicts[host]
                if verdict.kind is VerdictKind.REPLACE and not self.replacing_allowed():
                    continue
                if self._hold.get((environment_id, host), (0.0, 0))[0] <= now:
                    yield tracked, host

    async def look(self, *, rollout: bool) -> bool:
        """Describe the live tasks of the slots whose stops come next; False if that failed."""
        cluster, tasks, slots = "", dict[str, None](), list[tuple[str, str]]()
        yields = False  # Then what else runs there matters as much as what is ours.
        for tracked, host in self._waiting(rollout=rollout):
            if cluster and tracked.cluster_arn != cluster:
                continue
            cluster = tracked.cluster_arn
            here = self._live_of(tracked, host)
            if len(tasks) + len(here) > _LOOK_LIMIT:
                break
            tasks.update(dict.fromkeys(here))
            slots.append((tracked.id, host))
            yields = yields or tracked.board.verdicts[host].reason == "yielded-stop"
        if not tasks:
            return False
        if yields and not await self._state.view.look(cluster):
            for slot in slots:
                self._wait(slot)
            return False
        read = await self._state.view.describe(cluster, tuple(tasks))
        if read is None:
            for slot in slots:
                self._wait(slot)
            return False
        shown = {task.task_arn: _statuses(task) for task in read.items}
        for slot in slots:
            self._looks[slot] = _Look(read.begun, shown)
        return True

    def _live_of(self, tracked: Tracked, host: str) -> list[str]:
        environment = self._state.repository.environment(tracked.id)
        if environment is None:
            return []
        return [
            task.arn
            for task in self._state.view.tasks_on(host)
            if task.live and environment.digest_of(task) is not None
        ][:_LOOK_LIMIT]

    def take(self, *, rollout: bool) -> StopOrder | None:
        """The next stop whose look is young enough and which is still wanted on it."""
        now = self._state.clock.monotonic()
        oldest = now - self._state.settings.scheduler.look_shared_for
        for tracked, host in self._waiting(rollout=rollout):
            look = self._looks.get((tracked.id, host))
            if look is None or look.begun < oldest:
                continue
            order = self._order(tracked, host, look)
            if order is not None:
                self._turn = tracked.id
                return order
        self._looks = {slot: look for slot, look in self._looks.items() if look.begun >= oldest}
        return None

    def _order(self, tracked: Tracked, host: str, look: _Look) -> StopOrder | None:
        environment = self._state.repository.environment(tracked.id)
        if environment is None:
            return None
        context = self._state.context(tracked, environment)
        verdict = self._state.judge(tracked, context, host)
        if verdict is None or not verdict.stops:
            return None
        if tracked.board.hand_back_if_spent(host, environment.policy.max_unavailable):
            self._state.judge(tracked, context, host)
            return None
        stop = next((s for s in verdict.stops if self._shown(s, look)), None)
        if stop is None:
            self._looks.pop((tracked.id, host), None)
            self._wait((tracked.id, host))
            return None
        granted = tracked.board.granted.get(host, Cost.NONE)
        self._state.stops.asked[stop.task_arn] = None
        if verdict.kind is VerdictKind.REPLACE:
            self._note_replacing(tracked, host, failing=verdict.reason != "replace-outdated")
        self._state.tell(
            tracked.id, host, "called", f"StopTask {short_id(stop.task_arn)}: {stop.cause}"
        )
        self._state.judge(tracked, context, host, log=False)
        tracked.touch(host)
        return StopOrder(
            environment_id=tracked.id,
            environment_name=environment.name,
            cluster_arn=environment.cluster_arn,
            host_arn=host,
            task_arn=stop.task_arn,
            cause=stop.cause,
            look_begun=look.begun,
            granted=granted,
        )

    def outdated(self, order: StopOrder) -> str | None:
        """Why a stop that was taken must not leave any more, None if it may. Asked between the
        signature and the first byte: connecting takes time, and the process may have been paused.
        """
        state = self._state
        if state.clock.monotonic() > order.look_begun + state.settings.scheduler.look_shared_for:
            return "the look before this stop is too old"
        tracked = state.tracked.get(order.environment_id)
        environment = state.repository.environment(order.environment_id)
        if tracked is None or environment is None or environment.deleted_at is not None:
            return "the environment was deleted"
        context = state.context(tracked, environment)
        del state.stops.asked[order.task_arn]
        if order.granted is not Cost.NONE:
            tracked.board.granted[order.host_arn] = order.granted
        verdict = state.judge(tracked, context, order.host_arn, log=False)
        state.stops.asked[order.task_arn] = None
        state.judge(tracked, context, order.host_arn, log=False)
        if verdict is None or all(stop.task_arn != order.task_arn for stop in verdict.stops):
            return "this stop is not wanted any more"
        return None

    @staticmethod
    def _shown(stop: Stop, look: _Look) -> bool:
        return stop.task_arn in look.shown and survives(look.shown, stop.needs_survivor)

    def _note_replacing(self, tracked: Tracked, host: str, *, failing: bool) -> None:
        notes = tracked.note(host)
        if failing:
            count = notes.replacements + 1
            wait = exponential(
                count,
                first=10.0,
                factor=2.0,
                most=self._state.settings.scheduler.backoff_max,
            )
            not_before = self._state.clock.monotonic() + wait
            notes = replace(notes, replacements=count, replace_not_before=not_before)
        tracked.keep_note(host, replace(notes, replacing=True))

    def ended(self, order: StopOrder, outcome: StopOutcome) -> None:
        """Note the outcome. A failed or unknown stop is planned anew, never sent again."""
        slot = (order.environment_id, order.host_arn)
        self._state.stops.asked.pop(order.task_arn, None)
        if isinstance(outcome, Stopping) and outcome.task is not None:
            self._hold.pop(slot, None)
            self._state.view.answer(outcome.task, outcome.signed_at)
            self._tell(order, "answered", "stopping", outcome.request_id)
        elif isinstance(outcome, NotDone):
            self._wait(slot, denied=outcome.code in DENIED_CODES)
            self._tell(order, "failed", f"{outcome.code}: {outcome.message}", outcome.request_id)
        else:
            assumptions = self._state.assumptions
            until = outcome.signed_at + assumptions.request_life + assumptions.acceptance_lag
            self._state.stops.doubted[order.task_arn] = until
            self._wait(slot)
            cause = outcome.cause if isinstance(outcome, InDoubt) else "no task in the answer"
            self._tell(order, "failed", f"in doubt: {cause}", outcome.request_id)
        self._looks.pop(slot, None)
        self._state.touch(order.environment_id, [order.host_arn])

    def _tell(self, order: StopOrder, what: What, text: str, request_id: str) -> None:
        self._state.tell(
            order.environment_id,
            order.host_arn,
            what,
            f"StopTask {short_id(order.task_arn)}: {text}",
            request=request_id,
        )

    def _wait(self, slot: tuple[str, str], *, denied: bool = False) -> None:
        """Leave the slot alone for a while, longer each time."""
        attempts = self._hold.get(slot, (0.0, 0))[1] + 1
        wait = 60.0 if denied else exponential(attempts, first=1.0, factor=2.0, most=30.0)
        until = self._state.clock.monotonic() + wait
        if len(self._hold) >= _HOLDS_MOST:
            now = self._state.clock.monotonic()
            self._hold = {slot: held for slot, held in self._hold.items() if held[0] > now}
        self._hold[slot] = (until, attempts)
        self._wake_at(until)


def _statuses(task: TaskDocument) -> tuple[str, str]:
    return str(task.last_status), str(task.desired_status)
