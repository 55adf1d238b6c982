"""`blox explain HOST`: every daemon of the host, and who holds what there is of it."""

from collections.abc import Sequence
from typing import Final

from blox.cli.client import JsonObject
from blox.cli.output import count, plain, print_table, say, say_wrapped, span
from blox.cli.story import say_story
from blox.cli.words import (
    ago,
    concerns,
    definition_name,
    frozen_line,
    full_name,
    held_line,
    host_name,
    spoken,
)

_TASKS: Final = 20
"""Tasks that are listed one by one."""


def say_host(found: JsonObject, freezes: Sequence[JsonObject]) -> None:
    """The machine, what is decided about it, who holds it, and then each environment's story."""
    host, environments = found["host"], found["environments"]
    _say_machine(host)
    for freeze in freezes:
        names = [environment["environment"] for environment in environments]
        if any(concerns(freeze, host["cluster"], name) for name in names or [None]):
            say_wrapped(f"  {frozen_line(freeze)}")
    if found["hold"] is not None:
        say_wrapped(f"  {held_line(found['hold'])}")
    if not environments:
        say(f"  no environment is on the cluster {host['cluster']}")
    else:
        say()
        print_table(
            ("ENVIRONMENT", "HERE", "FOR", "VERDICT", "WHY", "NEXT"), list(map(_row, environments))
        )
    _say_resources(found["resources"], host["cluster"])
    _say_tasks(found["tasks"], host["cluster"])
    for told in environments:
        say()
        say_story(told, host_named=False)


def _say_machine(host: JsonObject) -> None:
    attributes = host["attributes"]
    facts = [
        attributes.get("ecs.instance-type"),
        attributes.get("ecs.availability-zone"),
        attributes.get("ecs.ami-id"),
        host["capacityProvider"],
    ]
    agent = "agent connected" if host["agentConnected"] else "AGENT DISCONNECTED"
    shown = "  ".join(fact for fact in facts if fact)
    say_wrapped(f"{host_name(host)}  on {host['cluster']}  {host['status']}, {agent}   {shown}")
    say(f"  {host['arn']}")
    registered = (
        "" if host["registeredAt"] is None else f"registered {ago(host['registeredAt'])} ago"
    )
    version = f"agent {host['agentVersion']}" if host["agentVersion"] else ""
    told = " · ".join(part for part in (registered, version) if part)
    if told:
        say(plain(f"  {told}"))


def _row(told: JsonObject) -> tuple[object, ...]:
    return (
        full_name(told),
        spoken(told["class"]),
        span(told["sinceSeconds"]),
        told.get("would") or told["verdict"],
        told["sentence"],
        f"{told['who']}: {told['nextStep']}",
    )


# --- Who holds it ---------------------------------------------------------------------------------


def _say_resources(resources: Sequence[JsonObject], cluster: str) -> None:
    # What the host has always kept for itself (SSH, Docker, the agent) explains nothing.
    resources = [one for one in resources if one["unit"] or one["registered"] != 0]
    if not resources:
        return
    say()
    width = max(len(resource["name"]) for resource in resources)
    for resource in resources:
        told = _amount(resource, cluster) if resource["unit"] else _port(resource, cluster)
        say_wrapped(plain(f"  {resource['name'].ljust(width)}  {told}"), indent=width + 2)


def _amount(resource: JsonObject, cluster: str) -> str:
    """8192 MiB = 512 demo/logs agent:1 + 7470 not accounted for + 210 free."""
    registered, remaining = resource["registered"], resource["remaining"]
    shares: dict[str, list[int]] = {}
    unknown: dict[str, int] = {}
    for holder in resource["holders"]:
        whose = _whose(holder, cluster)
        if holder["share"] is None:
            unknown[whose] = unknown.get(whose, 0) + 1
        else:
            shares.setdefault(whose, []).append(holder["share"])
    parts = [f"{sum(held)} {whose}{_times(len(held))}" for whose, held in shares.items()]
    if resource["unaccounted"]:
        names = ", ".join(f"{whose}{_times(number)}" for whose, number in unknown.items())
        parts.append(f"{resource['unaccounted']} {names or 'nobody who is known'}")
    parts.append("? free" if remaining is None else f"{remaining} free")
    total = "?" if registered is None else registered
    return f"{total} {resource['unit']} = {' + '.join(parts)}"


def _port(resource: JsonObject, cluster: str) -> str:
    if resource["holders"]:
        return ", ".join(_whose(holder, cluster) for holder in resource["holders"])
    return "taken, not known by whom"


def _whose(holder: JsonObject, cluster: str) -> str:
    """Who a task belongs to, and what it runs."""
    what = definition_name(holder["definition"])
    if holder["environment"] is not None:
        return f"{cluster}/{holder['environment']} {what}"
    if holder["group"].startswith("service:"):
        return f"service/{holder['group'].removeprefix('service:')} {what}"
    return what


def _times(number: int) -> str:
    return f" in {number} tasks" if number > 1 else ""


def _say_tasks(tasks: Sequence[JsonObject], cluster: str) -> None:
    if not tasks:
        return
    say()
    print_table(
        ("TASK", "RUNS", "WHOSE", "STATUS", "FOR"),
        [
            (
                task["task"].rsplit("/", 1)[-1],
                definition_name(task["definition"]),
                task["holder"]
                if task["environment"] is None
                else f"{cluster}/{task['environment']}",
                _status(task),
                "" if task["since"] is None else ago(task["since"]),
            )
            for task in tasks[:_TASKS]
        ],
    )
    if len(tasks) > _TASKS:
        say(f"and {count(len(tasks) - _TASKS, 'more task')}")


def _status(task: JsonObject) -> str:
    wanted = "" if task["desiredStatus"] == task["status"] else f" -> {task['desiredStatus']}"
    health = f", {task['health']}" if task["health"] not in ("", "UNKNOWN") else ""
    return f"{task['status']}{wanted}{health}"
