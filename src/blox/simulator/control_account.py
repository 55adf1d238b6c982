"""The levers that are not about single hosts and tasks: clusters, services, what is denied, faults,
where events go. `blox.simulator.control` adds the others and speaks HTTP.
"""

from collections.abc import Callable
from itertools import islice
from typing import Final

from blox.simulator import eventbridge
from blox.simulator.cloud import Cloud
from blox.simulator.control_shapes import (
    Deny,
    Move,
    NewCluster,
    NewDefinition,
    NewProvider,
    NewService,
    OfService,
    Route,
    SetRule,
)
from blox.simulator.eventbridge import EventBus
from blox.simulator.faults import Faults
from blox.simulator.kinesis import Streams
from blox.simulator.model import Json
from blox.simulator.sqs import Queues
from blox.simulator.wire_faults import FaultBook, Rule

RATES: Final = (
    "lag",
    "flicker",
    "short_page",
    "slow_task",
    "slow_stop",
    "dying_task",
    "failing_task",
    "event_lost",
    "event_doubled",
    "event_late",
    "event_ancient",
)
"""The rates of `Faults` that strike inside the cloud and on the way of events."""


class Problem(Exception):
    """A request that cannot be carried out; it changed nothing."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class AccountControl:
    """Pulls levers of one cloud and of what is around it."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        queues: Queues,
        book: FaultBook,
        routes: list[str],
        bus: EventBus,
        now: Callable[[], float],
        polls: Callable[[str], int],
        streams: Streams,
        stream_routes: list[str],
    ) -> None:
        """`routes`, `stream_routes`: names of the queues and streams that the rule of `bus` feeds.
        `polls`: how many long polls wait at a queue."""
        self._cloud = cloud
        self._queues = queues
        self._book = book
        self._routes = routes
        self._bus = bus
        self._now = now
        self._polls = polls
        self._streams = streams
        self._stream_routes = stream_routes

    # --- Clusters and what runs in them -----------------------------------------------------------

    def add_cluster(self, command: NewCluster) -> Json:
        """A cluster, new or revived."""
        return {"cluster": self._cloud.add_cluster(command.name, now=self._now())}

    def delete_cluster(self, command: NewCluster) -> Json:
        """It goes INACTIVE with everything in it."""
        self._cluster(command.name)
        self._cloud.delete_cluster(command.name, now=self._now())
        return {"cluster": command.name}

    def add_definition(self, command: NewDefinition) -> Json:
        """The next revision of a family."""
        return {
            "definition": self._cloud.add_definition(
                command.family,
                now=self._now(),
                cpu=command.cpu,
                memory=command.memory,
                host_ports=command.host_ports,
                network_mode=command.network_mode,
                health_check=command.health_check,
                stop_timeout=command.stop_timeout,
                architecture=command.architecture,
            )
        }

    def add_service(self, command: NewService) -> Json:
        """A service; one of strategy DAEMON with a family or definition acts."""
        self._cluster(command.cluster)
        arn = self._cloud.add_service(
            command.cluster,
            command.name,
            command.strategy,
            now=self._now(),
            definition=command.definition,
            constraints=command.constraints,
        )
        return {"service": arn}

    def delete_service(self, command: OfService) -> Json:
        """It ends, and its tasks with it."""
        self._cluster(command.cluster)
        self._cloud.delete_service(command.cluster, command.name, now=self._now())
        return {"service": command.name}

    def add_provider(self, command: NewProvider) -> Json:
        """A capacity provider, given to a cluster if one is named."""
        if command.cluster is not None:
            self._cluster(command.cluster)
        arn = self._cloud.add_provider(
            command.name,
            now=self._now(),
            cluster=command.cluster,
            managed_scaling=command.managed_scaling,
            termination_protection=command.termination_protection,
            managed_draining=command.managed_draining,
        )
        return {"capacityProvider": arn}

    def move_digest(self, command: Move) -> Json:
        """The tag of a family's image means something else from now on."""
        digest = self._cloud.set_digest(command.family, command.digest, now=self._now())
        return {"family": command.family, "digest": digest}

    # --- Access, faults ---------------------------------------------------------------------------

    def deny(self, command: Deny) -> Json:
        """AccessDeniedException for an action, or for `passrole:FAMILY`; `*` allows everything."""
        if command.what == "*" and not command.on:
            for what in self._cloud.denied:
                self._cloud.deny(what, on=False)
        else:
            self._cloud.deny(command.what, on=command.on)
        return {"what": command.what, "on": command.on, "denied": self._cloud.denied}

    def add_fault(self, rule: Rule) -> Json:
        """A fault on the wire."""
        longest = self._cloud.assumptions.acceptance_lag + self._cloud.switches.acceptance_overrun
        rule.struck = 0
        if rule.slow > longest:
            raise Problem(f"slow is at most E, which is {longest:g} s here.")
        return {"fault": self._book.add(rule)}

    def set_rates(self, rates: dict[str, float]) -> Json:
        """Faults inside the cloud and on the way of events, by their rates; the others are 0."""
        for name, rate in rates.items():
            if name not in RATES:
                raise Problem(
                    f"There is no rate {name!r} here. Known: {', '.join(RATES)}. Faults between "
                    "callers and ECS are rules: POST /_control/faults."
                )
            if not 0 <= rate <= 1:
                raise Problem(f"{name} is a rate from 0 to 1.")
        self._cloud.faults = Faults(**rates)
        return {"rates": self._rates()}

    def _rates(self) -> Json:
        return {name: getattr(self._cloud.faults, name) for name in RATES}

    # --- Events -----------------------------------------------------------------------------------

    def route(self, command: Route) -> Json:
        """From now on every event goes into this queue too."""
        queue = self._queues.named(command.queue)
        if queue is None:
            raise Problem(f"There is no queue {command.queue!r}.", status=404)
        queue.settings.others.setdefault("Policy", self._bus.queue_policy(command.queue))
        if command.queue not in self._routes:
            self._routes.append(command.queue)
        return {"routes": list(self._routes)}

    def unroute(self, command: Route) -> Json:
        """No more events for this queue."""
        if command.queue not in self._routes:
            raise Problem(f"No events go to a queue {command.queue!r}.", status=404)
        self._routes.remove(command.queue)
        return {"routes": list(self._routes)}

    def set_rule(self, command: SetRule) -> Json:
        """The EventBridge rule that feeds the queues changes, goes or comes back."""
        if command.pattern is not None:
            eventbridge.check_pattern(command.pattern)
            self._bus.pattern = command.pattern
        if command.state is not None:
            self._bus.exists = command.state != "GONE"
            self._bus.enabled = command.state != "DISABLED"
        return self._rule()

    def _rule(self) -> Json:
        return {
            "name": eventbridge.RULE,
            "state": self._bus.state,
            "pattern": self._bus.pattern,
            "queues": list(self._routes),
            "streams": list(self._stream_routes),
        }

    def _put_events(self, since: int) -> Json:
        """What callers put on the bus, from the one with number `since` on."""
        first = self._bus.put_total - len(self._bus.put)
        shown = list(islice(self._bus.put, max(0, since - first), None))
        return {"events": shown, "next": self._bus.put_total}

    def _remove_fault(self, what: str) -> Json:
        key = what.removeprefix("faults").strip("/") or None
        if not self._book.remove(key):
            raise Problem(f"There is no fault {key!r}.", status=404)
        return {"removed": key or "all"}

    def _cluster(self, name: str) -> None:
        if name not in self._cloud.clusters:
            known = ", ".join(sorted(self._cloud.clusters)) or "none"
            raise Problem(f"There is no cluster {name!r}. Known: {known}.", status=404)
