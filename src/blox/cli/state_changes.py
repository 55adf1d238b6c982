"""What has changed of a task, a host or a cluster between two accounts of it, in a few words."""

import json
from collections.abc import Mapping
from typing import Final

from blox.cli.client import JsonObject
from blox.cli.state_words import agent, amount, health, state, text, told

_QUIET: Final = frozenset(
    {
        "version",
        "healthStatus",
        "containers",
        "runningTasksCount",
        "pendingTasksCount",
        "updatedAt",
        "connectivity",
        "connectivityAt",
        "createdAt",
        "startedAt",
        "stoppedAt",
        "stoppingAt",
        "executionStoppedAt",
        "pullStartedAt",
        "pullStoppedAt",
        "stopCode",
        "stoppedReason",
        "clusterArn",
        "registeredResources",
    }
)
"""Members that say nothing beside those that are told, or only ever change together with them."""
_RESOURCES: Final = (("CPU", "free CPU"), ("MEMORY", "free MiB"))


def task_changes(before: JsonObject | None, after: JsonObject) -> list[str]:
    """PENDING -> RUNNING; to be stopped; UNHEALTHY; names of what else is new."""
    new = told(after)
    if before is None:
        return [f"new, {_told_task(new)}"]
    old = told(before)
    parts = _turned(old, new, "lastStatus", "")
    if _differs(old, new, "desiredStatus") and text(new, "desiredStatus") == "STOPPED":
        parts += [] if text(new, "lastStatus") == "STOPPED" else ["to be stopped"]
    if text(new, "lastStatus") == "STOPPED" and _differs(old, new, "lastStatus"):
        parts += _end(new)
    elif text(new, "stoppedReason") and _differs(old, new, "stoppedReason"):
        parts.append(text(new, "stoppedReason"))
    was, now = (health(one) or "UNKNOWN" for one in (before, after))
    parts += [f"health {was} -> {now}"] if was != now else []
    return parts or _others(old, new)


def _told_task(members: Mapping[str, object]) -> str:
    parts = [text(members, "lastStatus")]
    return ", ".join([*parts, *(_end(members) if parts == ["STOPPED"] else [])])


def _end(members: Mapping[str, object]) -> list[str]:
    """Why a task has stopped, and with which exit codes."""
    containers = members.get("containers")
    codes = [
        f"{text(one, 'name')} exit {one['exitCode']}"
        for one in (containers if isinstance(containers, list) else ())
        if one.get("exitCode") is not None
    ]
    return [part for part in (text(members, "stoppedReason"), " ".join(codes)) if part]


def instance_changes(before: JsonObject | None, after: JsonObject) -> list[str]:
    """ACTIVE -> DRAINING; agent gone; tasks 3 -> 4; names of what else is new."""
    new = told(after)
    if before is None:
        gone = ", agent gone" if agent(after) == "GONE" else ""
        return [f"new, {text(new, 'status')}{gone}"]
    old = told(before)
    parts = _turned(old, new, "status", "")
    if agent(before) != agent(after):
        parts.append("agent gone" if agent(after) == "GONE" else "agent connected")
    for resource, words in _RESOURCES:
        was, now = (amount(one, "remainingResources", resource) for one in (old, new))
        if was is not None and now is not None and was != now:
            parts.append(f"{words} {was} -> {now}")
    return parts or _others(old, new)


def cluster_changes(before: JsonObject | None, after: JsonObject) -> list[str]:
    """What is new of how well a cluster is known; nothing for one sweep more."""
    if before is None:
        return [f"watched from now on, {state(after)}"]
    parts = []
    if before["status"] != after["status"]:
        parts.append(f"{before['status']} -> {after['status']}")
    if before["primed"] != after["primed"]:
        parts.append("read completely" if after["primed"] else "not read completely yet")
    if before["readError"] != after["readError"]:
        error = after["readError"]
        parts.append(f"cannot be read: {error}" if error else "can be read again")
    return parts


def same(before: JsonObject, after: JsonObject) -> bool:
    """Whether two accounts of a task, host or cluster tell the same."""
    if "kind" in after:
        return told(before) == told(after)
    return not cluster_changes(before, after)


def _turned(
    old: Mapping[str, object], new: Mapping[str, object], member: str, words: str
) -> list[str]:
    was, now = text(old, member), text(new, member)
    if was == now:
        return []
    return [f"{words}{was} -> {now}" if was else f"{words}{now}"]


def _differs(old: Mapping[str, object], new: Mapping[str, object], member: str) -> bool:
    return old.get(member) != new.get(member)


def _others(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """The names of the other members that are not as they were."""
    names = sorted({*old, *new} - _QUIET)
    return [
        f"{name} {_value(new.get(name))}".rstrip()
        for name in names
        if old.get(name) != new.get(name)
    ]


def _value(value: object) -> str:
    """A value, if it is short."""
    if isinstance(value, str | int | float | bool):
        return json.dumps(value, ensure_ascii=False)
    return ""
