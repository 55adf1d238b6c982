"""The vocabulary of a workload: actions, steps, and how large it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

Value = str | int | float | bool


class Action(StrEnum):
    """What a step does. Arguments are named in brackets."""

    CLUSTER_ADD = "cluster.add"
    """[cluster]"""
    CLUSTER_DELETE = "cluster.delete"
    CLUSTER_RECREATE = "cluster.recreate"
    DEFINITION_ADD = "definition.add"
    """[family, health_check, port, stop_timeout, cpu, memory, architecture]"""
    HOST_JOIN = "host.join"
    """[cluster, machine, pool, arch, external, registering, provider]"""
    HOST_READY = "host.ready"
    """A REGISTERING host becomes ACTIVE. [machine]"""
    HOST_DRAIN = "host.drain"
    HOST_ACTIVATE = "host.activate"
    HOST_TERMINATE = "host.terminate"
    """With a connected agent: the record goes INACTIVE."""
    HOST_VANISH = "host.vanish"
    """Without its agent: the record stays ACTIVE for ever."""
    HOST_DUPLICATE = "host.duplicate"
    """The machine registers a second time."""
    HOST_REBOOT = "host.reboot"
    """The machine is away and comes back as the same record, its tasks ended. [machine, seconds]"""
    HOST_MOVE = "host.move"
    """Its pool attribute changes, and with it what matches. [machine, pool]"""
    AGENT_LOSE = "agent.lose"
    AGENT_FIND = "agent.find"
    TASK_CRASH = "task.crash"
    """A daemon's container exits. [machine, pick]"""
    TASK_KILL = "task.kill"
    """A user stops a daemon. [machine, pick]"""
    TASK_SICKEN = "task.sicken"
    """A daemon's health check fails. [machine, pick]"""
    TASK_FOREIGN = "task.foreign"
    """Somebody else starts a task of the same family. [machine, family, service]"""
    TASK_OTHER = "task.other"
    """An application's task runs on the host. [machine, family]"""
    TASK_OTHER_ENDS = "task.other-ends"
    LOOP_BEGIN = "loop.begin"
    """Tasks of a family or on a machine die young. [family or machine, seconds]"""
    LOOP_END = "loop.end"
    STALL_BEGIN = "stall.begin"
    """Tasks of a family or on a machine stay PENDING."""
    STALL_END = "stall.end"
    POISON_BEGIN = "poison.begin"
    """StartTask calls that name the machine are refused whole."""
    POISON_END = "poison.end"
    DENY_BEGIN = "deny.begin"
    """Passing a family's roles is denied. [family]"""
    DENY_END = "deny.end"
    PROVIDER_ADD = "provider.add"
    """A capacity provider whose idle hosts ECS removes. [cluster, provider]"""
    SERVICE_ADD = "service.add"
    """Somebody runs a family as a DAEMON service. [cluster, service, family]"""
    SERVICE_DELETE = "service.delete"
    """[cluster, service]"""
    FAULTS = "faults.set"
    """[rates by name]; what is not named is 0."""

    ENVIRONMENT_CREATE = "environment.create"
    """[environment, cluster, family, pool, max_unavailable, existing, when_idle]"""
    ENVIRONMENT_DELETE = "environment.delete"
    """Its tasks go on."""
    ENVIRONMENT_END = "environment.end"
    """Its tasks are stopped first."""
    ADOPT = "environment.adopt"
    """Tasks of its family that others started become its own. [environment, share, replace]"""
    CONFIRM = "environment.confirm"
    """Stops that are held are meant."""
    FREEZE = "freeze"
    """[scope, environment, seconds]"""
    THAW = "thaw"
    """Every freeze ends."""
    HOLD = "host.hold"
    """[machine, seconds]"""
    RELEASE = "host.release"
    """[machine]"""
    DEPLOY = "deploy"
    """Deploy the newest definition of its family. [environment, supersede]"""
    MOVE_POOL = "environment.select"
    """Another selector, deployed. [environment, pool]"""
    PROCESS_KILL = "process.kill"
    PROCESS_RESTART = "process.restart"
    PROCESS_PAUSE = "process.pause"
    """Nothing of it runs for so long, timers included. [seconds]"""
    CLOCK_STEP = "clock.step"
    """Its wall clock jumps. [seconds]"""
    STORE_FAIL = "store.fail"
    """Its store fails, or applies and does not answer. [applied]"""
    STORE_MEND = "store.mend"
    STORE_LOSE = "store.lose"
    """Everything stored is gone; the environments are created again. [existing]"""
    PARTITION_BEGIN = "partition.begin"
    """It reaches ECS no more. [lost: requests vanish after the first byte]"""
    PARTITION_END = "partition.end"
    QUEUE_FAIL = "queue.fail"
    """No events reach it."""
    QUEUE_MEND = "queue.mend"
    HEAL = "heal"
    """Everything that lasts is over; nothing follows."""


USER_ACTIONS: Final = frozenset(
    {
        Action.ENVIRONMENT_CREATE,
        Action.ENVIRONMENT_DELETE,
        Action.ENVIRONMENT_END,
        Action.ADOPT,
        Action.CONFIRM,
        Action.FREEZE,
        Action.THAW,
        Action.HOLD,
        Action.RELEASE,
        Action.DEPLOY,
        Action.MOVE_POOL,
    }
)
"""What a person asks of blox."""

WORLD_ACTIONS: Final = USER_ACTIONS | frozenset(
    {
        Action.PROCESS_KILL,
        Action.PROCESS_RESTART,
        Action.PROCESS_PAUSE,
        Action.CLOCK_STEP,
        Action.STORE_FAIL,
        Action.STORE_MEND,
        Action.STORE_LOSE,
        Action.PARTITION_BEGIN,
        Action.PARTITION_END,
        Action.QUEUE_FAIL,
        Action.QUEUE_MEND,
        Action.HEAL,
    }
)
"""Steps that concern the scheduler, its store, its clock or its user, not the cloud."""

EVERYWHERE: Final = ""
"""The pool of an environment that selects every host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One disturbance."""

    at: float
    action: Action
    arguments: Mapping[str, Value] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """An argument that is a name; "" when it is not given."""
        return str(self.arguments.get(name, ""))

    def number(self, name: str) -> float:
        """An argument that is a number; 0 when it is not given."""
        return float(self.arguments.get(name, 0.0))

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.at:10.3f}  {self.action.value:<18} {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a workload is. Seconds."""

    hosts: int = 6
    """Machines at the beginning."""
    most_hosts: int = 14
    """Machines that may be there at one time."""
    environments: int = 2
    clusters: int = 1
    turmoil: float = 3600.0
    """How long things happen before the healing."""
    events: float = 40.0
    """How many things happen on average, without their endings."""
