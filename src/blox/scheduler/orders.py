"""What people tell a running scheduler to leave alone, and to go on with: freeze, hold, confirm.

Freezes and holds end by themselves, by ECS's clock, so that a forgotten one does no harm for ever.
"""

from typing import Final, Literal

from msgspec.structs import replace

from blox.base.ambient import Entropy
from blox.base.errors import Conflict, InvalidInput, NotFound
from blox.base.ids import short_id
from blox.scheduler.model import Confirmation, Environment, Freeze, Hold
from blox.scheduler.scheduler import Scheduler

LONGEST: Final = 30 * 86_400.0
"""Seconds: a freeze or a hold that is wanted for longer is a change of what is wanted."""
CONFIRMED_FOR: Final = 3600.0


class Orders:
    """Freezes, holds and confirmations, for every API."""

    def __init__(self, scheduler: Scheduler, entropy: Entropy) -> None:
        self._scheduler = scheduler
        self._state = scheduler.state
        self._repository = scheduler.state.repository
        self._entropy = entropy

    # --- Freeze -----------------------------------------------------------------------------------

    async def freeze(
        self,
        scope: Literal["everything", "cluster", "environment"],
        target: str,
        *,
        seconds: float,
        why: str,
    ) -> Freeze:
        """Start and stop nothing there from now on. `target`: "", a cluster's ARN or an
        environment's place. When this returns, no call leaves any more but those whose first byte
        has left already. The same freeze asked for again is renewed. Raises InvalidInput,
        StoreUnavailable."""
        now = self._state.stamp()
        freeze = Freeze(
            id=self._entropy.token(),
            scope=scope,
            target=target,
            why=_reason(why),
            until=now + _span(seconds),
            created_at=now,
            unsure=self._state.domain is None,
        )
        same = (freeze.scope, freeze.target, freeze.why)
        former = [f.id for f in self._repository.freezes() if (f.scope, f.target, f.why) == same]
        await self._repository.freeze(freeze, instead_of=former)
        self._scheduler.reconciler.orders_changed()
        return freeze

    async def thaw(self, ids: tuple[str, ...]) -> tuple[Freeze, ...]:
        """End these freezes; returns those that were in force."""
        ended = tuple(f for f in self.freezes() if f.id in ids)
        await self._repository.thaw([freeze.id for freeze in ended])
        self._scheduler.reconciler.orders_changed()
        return ended

    def freezes(self) -> tuple[Freeze, ...]:
        """Those in force, oldest first."""
        return tuple(f for f in self._repository.freezes() if self._state.in_force(f))

    # --- Hold -------------------------------------------------------------------------------------

    async def hold(self, host_arn: str, *, seconds: float, why: str) -> Hold:
        """Leave this host as it is: nothing of ours is started or stopped there. Replaces a former
        hold. Raises InvalidInput, NotFound (no such host)."""
        seen = self._state.view.host(host_arn)
        if seen is None:
            raise NotFound(f"There is no host {host_arn}.")
        now = self._state.stamp()
        hold = Hold(
            host_arn=host_arn,
            instance_id=seen.host.instance_id,
            why=_reason(why),
            until=now + _span(seconds),
            created_at=now,
            unsure=self._state.domain is None,
        )
        await self._repository.hold_host(hold)
        self._scheduler.reconciler.orders_changed(host_arn)
        return hold

    async def release(self, host_arn: str) -> Hold:
        """End a host's hold. Raises NotFound when it is not held."""
        seen = self._state.view.host(host_arn)
        held = self._repository.hold(host_arn, "" if seen is None else seen.host.instance_id)
        if held is None or held not in self.holds():
            raise NotFound("That host is not held.")
        await self._repository.release_hosts([held.host_arn])
        for host in (held.host_arn, host_arn):
            self._scheduler.reconciler.orders_changed(host)
        return held

    def holds(self) -> tuple[Hold, ...]:
        """Those in force, by host."""
        return tuple(hold for hold in self._repository.holds() if self._state.in_force(hold))

    # --- Confirm ----------------------------------------------------------------------------------

    async def confirm(self, environment: Environment) -> Confirmation:
        """The stops that are held are meant (R24). Raises Conflict when none is held."""
        tracked = self._state.tracked.get(environment.id)
        deployment = self._state.deployment_in_force(environment)
        if tracked is None or deployment is None or not tracked.guard.held:
            raise Conflict(f"No stops of {environment.name} wait to be confirmed.")
        confirmed = Confirmation(
            revision=deployment.revision,
            hosts=tuple(sorted(short_id(host) for host in tracked.guard.waiting)),
            until=self._state.stamp() + CONFIRMED_FOR,
        )
        await self._repository.replace_environment(
            replace(environment, confirmed=confirmed), was=environment
        )
        self._scheduler.reconciler.track(environment.id)
        return confirmed


def _reason(why: str) -> str:
    text = " ".join(why.split())
    if not 1 <= len(text) <= 200:
        raise InvalidInput("A reason is needed, in 1 to 200 characters: others will read it.")
    return text


def _span(seconds: float) -> float:
    if not 1 <= seconds <= LONGEST:
        raise InvalidInput(f"{seconds:g} s: a time from 1 s to 30 days is needed.")
    return seconds
