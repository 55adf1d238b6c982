"""Names about which one yes-or-no question is put to ECS: in the background, a few names a call.

Who asks gets what is known at once, never waits, and thereby makes the name be looked up. A name
that somebody asked about since its last lookup is looked up again when that is an hour old, so that
no answer in use is older. One that nobody has asked about for so long is forgotten. What could not
be found out counts as no.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.clusterstate.shared import within
from blox.ecs.errors import EcsError, EcsRefused

KEPT: Final = 3600.0
"""Seconds for which an answer stands, also that the question is denied."""
UNSHOWN: Final = 300.0
"""Seconds until a name that ECS did not show is looked up again: it may just have been made."""
AGAIN: Final = 60.0
"""Seconds until a call that failed is made again."""
NAMES: Final = 10
"""Most names in a call."""
_MALFORMED: Final = "InvalidParameterException"

_log = structlog.get_logger("blox.clusterstate")

Ask = Callable[[str, Sequence[str]], Awaitable[Mapping[str, bool]]]
"""`ask(cluster_arn, names)`: the answer for each name that ECS shows. Raises EcsError."""


class _Known(Struct):
    yes: bool | None = None
    """None: nobody has tried to find out yet."""
    due: float = 0.0
    """Our monotonic time from which on it is looked up again."""
    looked: float = 0.0
    """When it was last looked up (monotonic)."""
    asked: bool = True
    """Somebody asked since the last lookup."""


class Lookup:
    """What is known of the names that somebody asked about."""

    def __init__(
        self, ask: Ask, clock: Clock, *, what: str, changed: Callable[[str], None]
    ) -> None:
        """`what`: the names' kind, for the log. `changed` is called with a cluster's ARN when an
        answer there has changed."""
        self._ask = ask
        self._clock = clock
        self._what = what
        self._changed = changed
        self._known: dict[tuple[str, str], _Known] = {}
        self._wanted = asyncio.Event()

    def known(self, cluster_arn: str, name: str) -> bool | None:
        """Whether the answer is yes, as far as known; None until the first look. Asking makes it be
        looked up."""
        known = self._known.get((cluster_arn, name))
        if known is None:
            self._known[cluster_arn, name] = _Known(due=self._clock.monotonic())
            self._wanted.set()
            return None
        if not known.asked:
            known.asked = True
            self._wanted.set()
        return known.yes

    def forget(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        for key in [key for key in self._known if key[0] == cluster_arn]:
            del self._known[key]

    async def run(self) -> None:
        """Look up what is asked, for ever."""
        while True:
            self._wanted.clear()
            now = self._clock.monotonic()
            self._forget_unused(now)
            waiting = [known.due for known in self._known.values() if known.asked]
            if not waiting:
                await self._wanted.wait()
            elif min(waiting) > now:
                await within(self._wanted, min(waiting) - now)
            else:
                await self._look_up_due(now)

    def _forget_unused(self, now: float) -> None:
        """There is no end of names that were asked about once."""
        for key, known in list(self._known.items()):
            if not known.asked and now >= known.looked + KEPT:
                del self._known[key]

    async def _look_up_due(self, now: float) -> None:
        due = sorted(key for key, known in self._known.items() if known.asked and known.due <= now)
        for cluster_arn in sorted({cluster for cluster, _ in due}):
            names = [name for cluster, name in due if cluster == cluster_arn]
            for at in range(0, len(names), NAMES):
                await self._look_up(cluster_arn, names[at : at + NAMES])

    async def _look_up(self, cluster_arn: str, names: Sequence[str]) -> None:
        try:
            shown = await self._ask(cluster_arn, names)
        except EcsError as error:
            refused = error if isinstance(error, EcsRefused) else None
            malformed = refused is not None and refused.code == _MALFORMED
            if malformed and len(names) > 1:
                # One name that ECS does not take must not keep the others from being looked up.
                for name in names:
                    await self._look_up(cluster_arn, (name,))
                return
            _log.warning(f"{self._what} not described", cluster=cluster_arn, error=error.message)
            if malformed or (refused is not None and refused.denied):
                self._answered(cluster_arn, names, {}, unshown=KEPT)
            else:
                self._unanswered(cluster_arn, names)
            return
        self._answered(cluster_arn, names, shown, unshown=UNSHOWN)

    def _unanswered(self, cluster_arn: str, names: Sequence[str]) -> None:
        due = self._clock.monotonic() + AGAIN
        for name in names:
            known = self._known.get((cluster_arn, name))
            if known is not None:
                known.yes, known.due, known.asked = known.yes or False, due, True

    def _answered(
        self, cluster_arn: str, names: Sequence[str], shown: Mapping[str, bool], *, unshown: float
    ) -> None:
        now = self._clock.monotonic()
        changed = False
        for name in names:
            known = self._known.get((cluster_arn, name))
            if known is None:
                continue
            yes = shown.get(name, False)
            changed = changed or bool(known.yes) != yes
            known.yes, known.looked, known.asked = yes, now, False
            known.due = now + (KEPT if name in shown else unshown)
        if changed:
            self._changed(cluster_arn)
