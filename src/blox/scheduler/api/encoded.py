"""An environment's answers, encoded once for each change that a reader could see.

Scripts and dashboards ask for environments far more often than these change. What an answer is
made from is compared by identity, or by a counter that grows with each change, so that the next
request sees a change and nothing has to be told to this cache. Only time passes without a trace:
while a slot is in a class whose meaning depends on how long it has been there, an answer is made
anew once a second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from blox.scheduler.api.preview import preview_tally
from blox.scheduler.api.shown import environment_body
from blox.scheduler.model import Environment
from blox.scheduler.report import LASTING, EnvironmentReport, Problem, environment_report
from blox.scheduler.state import State


@dataclass(slots=True)
class Encoded:
    """One environment's report, and what has been encoded of it."""

    key: tuple[object, ...]
    report: EnvironmentReport
    primed: bool
    """The environment's cluster was read completely."""
    v2: bytes | None = None

    def v2_bytes(self) -> bytes:
        """The body of `GET /v2/environments/{cluster}/{name}`."""
        if self.v2 is None:
            self.v2 = msgspec.json.encode(environment_body(self.report, primed=self.primed))
        return self.v2


class Answers:
    """The last answer about each environment."""

    def __init__(self, state: State, *, conditions: Callable[[], tuple[Problem, ...]]) -> None:
        """`conditions()`: what is wrong with the whole process."""
        self._state = state
        self._conditions = conditions
        self._held: dict[str, Encoded] = {}

    def of(self, environment: Environment) -> Encoded:
        """What is to be answered now."""
        key = self._key(environment)
        held = self._held.get(environment.id)
        if held is None or not _same(held.key, key):
            cluster = self._state.view.cluster(environment.cluster_arn)
            primed = cluster is not None and cluster.primed
            held = Encoded(key, self._report(environment), primed)
            self._held[environment.id] = held
            self._forget_deleted()
        return held

    def _key(self, environment: Environment) -> tuple[object, ...]:
        """All that the answer is made from. Parts are compared with `is` first."""
        state = self._state
        tracked = state.tracked.get(environment.id)
        deployment = state.deployment_in_force(environment)
        cluster = state.view.cluster(environment.cluster_arn)
        second: int | None = None
        version, held = -1, 0
        trouble: object = None
        active = True
        if tracked is not None:
            board = tracked.board
            version, trouble, active = board.version, tracked.trouble, tracked.definition_active
            held = tracked.guard.held
            if deployment is None or environment.ending or any(board.classes[c] for c in LASTING):
                second = int(state.clock.monotonic())
        return (
            environment,
            deployment,
            tracked,
            version,
            trouble,
            active,
            held,
            second,
            state.freeze_of(environment),
            state.repository.migration(environment.id),
            None if cluster is None else cluster.status,
            None if cluster is None else cluster.read_error,
            cluster is not None and cluster.primed,
            cluster is not None and cluster.stale(state.clock.monotonic()),
            state.domain,
            self._conditions(),
        )

    def _report(self, environment: Environment) -> EnvironmentReport:
        report = environment_report(self._state, environment, troubles=self._conditions())
        if report.deployment is None:
            tally = preview_tally(self._state, environment)
            return msgspec.structs.replace(report, tally=tally)
        return report

    def _forget_deleted(self) -> None:
        """Keep what is asked for, not what once was."""
        live = self._state.repository.environments()
        if len(self._held) > 2 * len(live) + 16:
            ids = {environment.id for environment in live}
            self._held = {id_: held for id_, held in self._held.items() if id_ in ids}


def _same(ours: tuple[object, ...], theirs: tuple[object, ...]) -> bool:
    return all(a is b or a == b for a, b in zip(ours, theirs, strict=True))
