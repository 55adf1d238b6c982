"""The world's levers under `/_control`: what happened in truth, and what shall happen next.

    GET    /_control/state?cluster=NAME    hosts, tasks, queues: the truth, not what reads show
    GET    /_control/log?since=N           calls that changed things, from the Nth on
    GET    /_control/time                  the cloud's clock and assumptions
    GET    /_control/faults                the faults in force
    GET    /_control/rule                  the EventBridge rule that feeds the queues
    GET    /_control/events?since=N        what callers put on the event bus, from the Nth on
    GET    /_control                       this list
    POST   /_control/WHAT                  something happens; the body is JSON (see `_ACTIONS`)
    DELETE /_control/faults[/NAME]         one fault or all of them are over

Hosts are named by ARN, container instance id or machine id (`i-…`), tasks by ARN or id. Errors are
`{"error": "a sentence"}` with 400, 404 or 405, and then nothing has changed.

Everybody who can reach the port is believed. So that a web page cannot reach it through somebody's
browser, requests must name a loopback host and must not come from a page (`Origin`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from blox.simulator.control_account import AccountControl, Problem
from blox.simulator.control_shapes import (
    AddHosts,
    CrashLoop,
    Deny,
    Foreign,
    Health,
    Kill,
    Move,
    NewCluster,
    NewDefinition,
    NewProvider,
    NewService,
    OfService,
    OnHosts,
    OnTasks,
    Poison,
    Reboot,
    Route,
    SetRule,
    SetStatus,
    Stall,
    StopForeign,
    Terminate,
    shown_call,
    shown_host,
    shown_task,
)
from blox.simulator.model import Fault, Json
from blox.simulator.sqs_shapes import QueueFault
from blox.simulator.wire_faults import Rule

LOG_PAGE: Final = 1_000
"""The most log entries in one answer."""
HOSTS_AT_ONCE: Final = 10_000
T = TypeVar("T")


class Control(AccountControl):
    """Answers control requests about one cloud."""

    def answer(
        self, method: str, target: str, body: bytes, *, host: str, origin: str = ""
    ) -> tuple[int, bytes]:
        """The HTTP status and JSON of one request. `host`, `origin`: its headers of that name."""
        try:
            _check_sender(host, origin)
            result = self._dispatch(method, target, body)
        except Problem as problem:
            return problem.status, msgspec.json.encode({"error": problem.message})
        except (ValueError, KeyError) as error:
            return 400, msgspec.json.encode({"error": str(error)})
        except (Fault, QueueFault) as fault:
            return 400, msgspec.json.encode({"error": f"{fault.code}: {fault.message}"})
        return 200, msgspec.json.encode(result)

    def _dispatch(self, method: str, target: str, body: bytes) -> Json:
        parts = urlsplit(target)
        what = unquote(parts.path).removeprefix("/_control").strip("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if method == "GET":
            return self._get(what, query)
        if method == "DELETE" and what.split("/")[0] == "faults":
            return self._remove_fault(what)
        if method != "POST":
            raise Problem(f"{method} is not for /_control/{what}.", status=405)
        action = _ACTIONS.get(what)
        if action is None:
            raise Problem(f"There is no POST /_control/{what}. {_known()}", status=404)
        self._cloud.advance(self._now())
        return action(self, body)

    # --- Looking ----------------------------------------------------------------------------------

    def _get(self, what: str, query: Mapping[str, str]) -> Json:
        now = self._now()
        self._cloud.advance(now)
        if what == "":
            looks = ["state", "log", "time", "faults", "rule", "events"]
            return {"get": looks, "post": sorted(_ACTIONS)}
        if what == "state":
            return self._state(query.get("cluster"), now)
        if what == "log":
            return self._log(query)
        if what == "time":
            return {"now": now, "assumptions": asdict(self._cloud.assumptions)}
        if what == "faults":
            return {
                "faults": msgspec.to_builtins(self._book.rules),
                "rates": self._rates(),
            }
        if what == "rule":
            return self._rule()
        if what == "events":
            return self._put_events(_number(query.get("since", "0"), "since"))
        raise Problem(f"There is no GET /_control/{what}. {_known()}", status=404)

    def _state(self, cluster: str | None, now: float) -> Json:
        if cluster is not None and cluster not in self._cloud.clusters:
            raise Problem(f"There is no cluster {cluster!r}.", status=404)
        wanted = [cluster] if cluster is not None else sorted(self._cloud.clusters)
        by_host: dict[str, list[Json]] = {}
        for task in self._cloud.tasks.values():
            if task.live:
                by_host.setdefault(task.host, []).append(shown_task(task))
        scale_in = dict.fromkeys(arn for name in wanted for arn in self._cloud.could_scale_in(name))
        hosts: dict[str, list[Json]] = {name: [] for name in wanted}
        for host in self._cloud.hosts.values():
            if host.cluster in hosts:
                idle = host.arn in scale_in
                hosts[host.cluster].append(shown_host(host, by_host.get(host.arn, []), idle=idle))
        return {
            "now": now,
            "clusters": {
                name: {
                    "status": self._cloud.clusters[name].status,
                    "capacityProviders": list(self._cloud.clusters[name].providers),
                    "services": self._services(name),
                    "hosts": hosts[name],
                }
                for name in wanted
            },
            "denied": self._cloud.denied,
            "rule": self._bus.state,
            "queues": {name: self._queue(name, now) for name in self._queues.names()},
            "streams": {name: self._stream(name) for name in self._streams.names()},
            "calls": dict(sorted(self._cloud.counts.items())),
            "throttled": self._cloud.throttled,
            "logged": len(self._cloud.log),
        }

    def _services(self, cluster: str) -> list[Json]:
        return [
            {
                "serviceName": service.name,
                "status": service.status,
                "schedulingStrategy": service.strategy,
                "taskDefinition": service.definition,
                "constraints": [expression for _, expression in service.constraints],
            }
            for service in self._cloud.services.values()
            if service.cluster == cluster
        ]

    def _queue(self, name: str, now: float) -> Json:
        queue = self._queues.named(name)
        if queue is None:
            return {}
        visible, in_flight, delayed = queue.counts(now=now)
        return {
            "visible": visible,
            "inFlight": in_flight,
            "delayed": delayed,
            "polls": self._polls(name),
            "receivesEvents": name in self._routes and self._bus.state == "ENABLED",
        }

    def _stream(self, name: str) -> Json:
        stream = self._streams.named(name)
        if stream is None:
            return {}
        return {
            "shards": len(stream.open),
            "records": sum(len(shard.records) for shard in stream.shards.values()),
            "receivesEvents": name in self._stream_routes and self._bus.state == "ENABLED",
        }

    def _log(self, query: Mapping[str, str]) -> Json:
        since = _number(query.get("since", "0"), "since")
        limit = min(LOG_PAGE, _number(query.get("limit", str(LOG_PAGE)), "limit"))
        entries = self._cloud.log[since : since + limit]
        shown = [shown_call(since + offset, call) for offset, call in enumerate(entries)]
        return {"calls": shown, "next": since + len(entries), "total": len(self._cloud.log)}

    # --- Hosts ------------------------------------------------------------------------------------

    def add_hosts(self, command: AddHosts) -> Json:
        """More machines register."""
        if not 1 <= command.count <= HOSTS_AT_ONCE:
            raise Problem(f"count is from 1 to {HOSTS_AT_ONCE}.")
        if command.instance_id is not None and command.count != 1:
            raise Problem("instance_id names one machine: leave count out.")
        self._cluster(command.cluster)
        now = self._now()
        arns = [
            self._cloud.add_host(
                command.cluster,
                now=now,
                instance_id=command.instance_id,
                cpu=command.cpu,
                memory=command.memory,
                attributes=command.attributes,
                external=command.external,
                arch=command.arch,
                zone=command.zone,
                status=command.status,
                provider=command.capacity_provider,
            )
            for _ in range(command.count)
        ]
        return {"hosts": arns}

    def drain(self, command: OnHosts) -> Json:
        """ACTIVE → DRAINING."""
        return self._each_host(command, lambda arn, now: self._cloud.drain_host(arn, now=now))

    def activate(self, command: OnHosts) -> Json:
        """DRAINING → ACTIVE."""
        return self._each_host(command, lambda arn, now: self._cloud.activate_host(arn, now=now))

    def disconnect(self, command: OnHosts) -> Json:
        """Their agents go away."""
        return self._each_host(command, lambda arn, now: self._cloud.disconnect_agent(arn, now=now))

    def connect(self, command: OnHosts) -> Json:
        """Their agents come back."""
        return self._each_host(command, lambda arn, now: self._cloud.connect_agent(arn, now=now))

    def terminate(self, command: Terminate) -> Json:
        """The machines go for good."""
        return self._each_host(
            command,
            lambda arn, now: self._cloud.terminate_host(
                arn, now=now, agent_connected=command.agent_connected
            ),
        )

    def reboot(self, command: Reboot) -> Json:
        """The machines restart; their tasks die, their agents are away meanwhile."""
        return self._each_host(
            command,
            lambda arn, now: self._cloud.reboot_host(arn, now=now, seconds=command.seconds),
        )

    def set_status(self, command: SetStatus) -> Json:
        """Any status but INACTIVE."""
        if command.status == "INACTIVE":
            raise Problem("A host becomes INACTIVE by hosts/terminate.")
        return self._each_host(
            command, lambda arn, now: self._cloud.set_host_status(arn, command.status, now=now)
        )

    def poison(self, command: Poison) -> Json:
        """Every StartTask that names one of these hosts is refused whole."""
        arns = self._hosts(command.hosts)
        for arn in arns:
            self._cloud.poison_host(arn, on=command.on)
        return {"hosts": arns}

    def duplicate(self, command: OnHosts) -> Json:
        """The machines register anew, beside their old records."""
        now = self._now()
        return {
            "hosts": [
                self._cloud.duplicate_host(arn, now=now) for arn in self._hosts(command.hosts)
            ]
        }

    def _each_host(self, command: OnHosts, act: Callable[[str, float], None]) -> Json:
        arns = self._hosts(command.hosts)
        for arn in arns:
            if self._cloud.hosts[arn].inactive:
                raise Problem(f"{arn} is INACTIVE: nothing happens to it any more.")
        now = self._now()
        for arn in arns:
            act(arn, now)
        return {"hosts": arns}

    # --- Tasks ------------------------------------------------------------------------------------

    def kill(self, command: Kill) -> Json:
        """Their essential containers exit."""
        now = self._now()
        arns = self._tasks(command)
        for arn in arns:
            self._cloud.kill_task(arn, now=now, exit_code=command.exit_code)
        return {"tasks": arns}

    def set_health(self, command: Health) -> Json:
        """Their health checks change their mind."""
        now = self._now()
        arns = self._tasks(command)
        for arn in arns:
            self._cloud.set_unhealthy(arn, now=now, health=command.health)
        return {"tasks": arns}

    def crash_loop(self, command: CrashLoop) -> Json:
        """Tasks of a family or on a host die young from now on; seconds null: no more."""
        self._cloud.crash_loop(self._target(command.target), command.seconds)
        return {"target": command.target, "seconds": command.seconds}

    def stall(self, command: Stall) -> Json:
        """Tasks of a family or on a host stay PENDING."""
        target = self._target(command.target)
        self._cloud.stall_pending(target, on=command.on, now=self._now())
        return {"target": command.target, "on": command.on}

    def foreign(self, command: Foreign) -> Json:
        """Somebody else starts a task."""
        self._cluster(command.cluster)
        arn = self._cloud.start_foreign(
            command.cluster,
            self._hosts([command.host])[0],
            command.family,
            now=self._now(),
            service=command.service,
        )
        return {"task": arn}

    def stop_foreign(self, command: StopForeign) -> Json:
        """Somebody else stops a task."""
        arn = self._task(command.task)
        self._cloud.stop_foreign(arn, now=self._now(), reason=command.reason)
        return {"task": arn}

    # --- Names ------------------------------------------------------------------------------------

    def _hosts(self, names: list[str]) -> list[str]:
        """ARNs. Of several records of one machine its newest is meant."""
        known = {host.instance_id: host.arn for host in self._cloud.hosts.values()}
        known |= {arn.rsplit("/", 1)[-1]: arn for arn in self._cloud.hosts}
        known |= {arn: arn for arn in self._cloud.hosts}
        if not names:
            raise Problem("hosts names at least one host.")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise Problem(f"There is no host {', '.join(unknown)}.", status=404)
        return list(dict.fromkeys(known[name] for name in names))

    def _task(self, name: str) -> str:
        for arn in self._cloud.tasks:
            if name in (arn, arn.rsplit("/", 1)[-1]):
                return arn
        raise Problem(f"There is no task {name}.", status=404)

    def _tasks(self, command: OnTasks) -> list[str]:
        if command.tasks:
            if command.family is not None or command.host is not None:
                raise Problem("Give tasks, or family and host, not both.")
            return [self._task(name) for name in command.tasks]
        if command.family is None and command.host is None:
            raise Problem("Give tasks, or family, or host.")
        host = None if command.host is None else self._hosts([command.host])[0]
        return [
            task.arn
            for task in self._cloud.tasks.values()
            if task.live
            and (host is None or task.host == host)
            and (command.family is None or task.family == command.family)
        ]

    def _target(self, name: str) -> str:
        families = {one.family for one in self._cloud.definitions.values()}
        return name if name in families else self._hosts([name])[0]


def _check_sender(host: str, origin: str) -> None:
    if origin:
        raise Problem("Control requests are not taken from web pages.", status=403)
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name not in ("localhost", "[::1]") and not name.startswith("127."):
        raise Problem(
            f"Control requests must be made to a loopback host, not {host!r}.", status=403
        )


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Problem(f"{name} is a whole number, not {text!r}.")
    return int(text)


def _known() -> str:
    return f"POST knows: {', '.join(sorted(_ACTIONS))}."


def _action(kind: type[T], act: Callable[[Control, T], Json]) -> Callable[[Control, bytes], Json]:
    def run(control: Control, body: bytes) -> Json:
        try:
            command = msgspec.json.decode(body or b"{}", type=kind)
        except msgspec.DecodeError as error:
            raise Problem(f"The body is not as it should be: {error}") from None
        return act(control, command)

    return run


_ACTIONS: Final[dict[str, Callable[[Control, bytes], Json]]] = {
    "clusters": _action(NewCluster, Control.add_cluster),
    "clusters/delete": _action(NewCluster, Control.delete_cluster),
    "definitions": _action(NewDefinition, Control.add_definition),
    "services": _action(NewService, Control.add_service),
    "services/delete": _action(OfService, Control.delete_service),
    "providers": _action(NewProvider, Control.add_provider),
    "digests": _action(Move, Control.move_digest),
    "rule": _action(SetRule, Control.set_rule),
    "hosts": _action(AddHosts, Control.add_hosts),
    "hosts/drain": _action(OnHosts, Control.drain),
    "hosts/activate": _action(OnHosts, Control.activate),
    "hosts/disconnect": _action(OnHosts, Control.disconnect),
    "hosts/connect": _action(OnHosts, Control.connect),
    "hosts/terminate": _action(Terminate, Control.terminate),
    "hosts/reboot": _action(Reboot, Control.reboot),
    "hosts/status": _action(SetStatus, Control.set_status),
    "hosts/poison": _action(Poison, Control.poison),
    "hosts/duplicate": _action(OnHosts, Control.duplicate),
    "tasks/kill": _action(Kill, Control.kill),
    "tasks/health": _action(Health, Control.set_health),
    "tasks/foreign": _action(Foreign, Control.foreign),
    "tasks/foreign/stop": _action(StopForeign, Control.stop_foreign),
    "crash-loop": _action(CrashLoop, Control.crash_loop),
    "stall": _action(Stall, Control.stall),
    "deny": _action(Deny, Control.deny),
    "faults": _action(Rule, Control.add_fault),
    "rates": _action(dict[str, float], Control.set_rates),
    "routes": _action(Route, Control.route),
    "routes/delete": _action(Route, Control.unroute),
}
