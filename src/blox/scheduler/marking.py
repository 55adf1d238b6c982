"""Putting marks on hosts and taking them away, and what is known of it afterwards."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from blox.ecs.errors import Meaning
from blox.ecs.port import EcsActs, InDoubt, MarkOutcome, NotDone
from blox.ecs.wire import TARGETS
from blox.scheduler.executor import Tokens
from blox.scheduler.migrations import Step
from blox.scheduler.model import MOVED, Migration
from blox.scheduler.moves import MARK_SHOWN, REFUSED_FOR, Mark, Moves
from blox.scheduler.sight import has_ours
from blox.scheduler.state import State

_AGAIN: Final = 60.0
"""Seconds until ECS is asked again for what it refuses for every host alike."""
_SOON: Final = 5.0

_log = structlog.get_logger("blox.migrations")


class Marker:
    """Makes the calls of all migrations."""

    def __init__(
        self,
        state: State,
        acts: EcsActs,
        tokens: Tokens,
        *,
        permitted: Callable[[Migration], str | None],
    ) -> None:
        """`permitted(migration)`: asked just before a call leaves, why it must not."""
        self._state = state
        self._acts = acts
        self._tokens = tokens
        self._permitted = permitted
        self._calling: dict[str, None] = {}

    @property
    def calling(self) -> bool:
        """Whether a call is on its way, or was when its caller was cancelled."""
        return bool(self._calling)

    def calls(self, environment_id: str) -> bool:
        """The same for one environment."""
        return environment_id in self._calling

    async def carry_out(self, step: Step, migration: Migration, moves: Moves) -> None:
        """Take marks away, then put them; what ECS refuses for one host does not hold up others."""
        moves.problem = ""
        for hosts, value in ((step.delete, None), (step.put, step.value)):
            for first in range(0, len(hosts), TARGETS):
                await self._change(migration, hosts[first : first + TARGETS], value, moves)

    async def _change(
        self, migration: Migration, hosts: Sequence[str], value: str | None, moves: Moves
    ) -> None:
        now = self._state.clock.monotonic()
        if now < moves.held_until:
            return
        await self._tokens(rollout=True)
        self._calling[migration.environment_id] = None
        # Cancelled in the middle, it stays marked as calling: nobody knows what comes of it.
        outcome = await self._send(migration, hosts, value)
        self._calling.pop(migration.environment_id, None)
        if isinstance(outcome, NotDone):
            await self._refused(outcome, migration, hosts, value, moves)
            return
        self._note(outcome, migration, hosts, value, moves)

    def _note(
        self,
        outcome: MarkOutcome,
        migration: Migration,
        hosts: Sequence[str],
        value: str | None,
        moves: Moves,
    ) -> None:
        now = self._state.clock.monotonic()
        until, sure = now + MARK_SHOWN, True
        if isinstance(outcome, InDoubt):
            assumed = self._state.assumptions
            until = outcome.signed_at + assumed.signature_age + assumed.acceptance_lag
            sure = False
            moves.problem = f"in doubt: {outcome.cause}"
        told = {MOVED: "moved to this environment", None: "given back to the service"}
        text = told.get(value, "about to go back to the service")
        for host in hosts:
            moves.marks[host] = Mark(value, until, sure)
            doubt = "" if sure else " (no clear answer)"
            self._state.tell(migration.environment_id, host, "called", f"marked: {text}{doubt}")
            self._state.view.recheck(host)

    async def _refused(
        self,
        outcome: NotDone,
        migration: Migration,
        hosts: Sequence[str],
        value: str | None,
        moves: Moves,
    ) -> None:
        """ECS did nothing. What is wrong with one host is found by asking for fewer at a time."""
        if outcome.code == "permit":
            return
        text = f"{outcome.code}: {outcome.message}"
        now = self._state.clock.monotonic()
        if outcome.meaning is not Meaning.BISECT:
            soon = outcome.meaning is Meaning.DID_NOT_HAPPEN
            moves.problem, moves.held_until = text, now + (_SOON if soon else _AGAIN)
            _log.warning("hosts could not be marked", problem=text, request=outcome.request_id)
            return
        if len(hosts) == 1:
            moves.refused[hosts[0]] = (now + REFUSED_FOR, text)
            self._state.tell(migration.environment_id, hosts[0], "failed", f"not marked: {text}")
            return
        middle = len(hosts) // 2
        for half in (hosts[:middle], hosts[middle:]):
            await self._change(migration, half, value, moves)

    async def _send(
        self, migration: Migration, hosts: Sequence[str], value: str | None
    ) -> MarkOutcome:
        def permit() -> str | None:
            return self._permitted(migration) or self._overtaken(migration, hosts, value)

        if value is None:
            return await self._acts.delete_attribute(
                migration.cluster_arn, hosts, name=migration.attribute, permit=permit
            )
        return await self._acts.put_attribute(
            migration.cluster_arn, hosts, name=migration.attribute, value=value, permit=permit
        )

    def _overtaken(
        self, migration: Migration, hosts: Sequence[str], value: str | None
    ) -> str | None:
        """Why what was decided a moment ago is not right any more."""
        state = self._state
        environment = state.repository.environment(migration.environment_id)
        unknown = state.unknown(migration.cluster_arn)
        if unknown:
            return f"the cluster {unknown}"
        for arn in hosts:
            seen = state.view.host(arn)
            if seen is None:
                return "a host has gone"
            if state.hold_of(seen) is not None and not migration.done:
                return "a host is held"
            if environment is None:
                return "the environment was deleted"
            if value is None and not migration.done and has_ours(state, environment, arn):
                return "a daemon of ours is there"
        return None
