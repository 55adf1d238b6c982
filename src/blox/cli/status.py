"""`blox status`: what needs a person, what heals by itself, and one line for all that is well."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import click

from blox.cli.client import Client, JsonObject
from blox.cli.output import count, plain, print_json, print_table, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    concerns,
    frozen_line,
    full_name,
    held_line,
    migration_line,
    parse_time,
    path_in,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_HOLDS: Final = 10
"""Holds that are told one by one."""
PATIENCE: Final = 300.0
"""Seconds: what has not healed by itself for so long needs a person."""
_GONE: Final = {
    "lost": "lost, the agent has been gone for 15 min and more",
    "away": "away, the agent has been gone for longer than the grace",
}
_DAEMONS: Final = {
    "starting": "starting",
    "settling": "settling",
    "stopping": "stopping",
    "inDoubt": "in doubt",
    "missing": "waiting to start",
}
_HOSTS: Final = {"leaving": "draining", "notReady": "getting ready"}
_WAITING: Final = {
    "in-doubt": "inDoubt",
    "calling": "starting",
    "start": "missing",
    "unsure": "missing",
    "adopted-unseen": "missing",
    "past-open": "missing",
    "disconnected": "missing",
    "agent-busy": "missing",
    "unprimed": "missing",
    "frozen": "missing",
}
"""Problems that nothing but time makes of slots, and the class in which those are counted."""


class Need(NamedTuple):
    """One thing that a person has to do."""

    where: str
    """An environment, a cluster or the scheduler."""
    code: str
    sentence: str
    hosts: int
    """So many are concerned; 0: all of it."""
    since: str | None
    next_step: str
    command: str


@click.command(context_settings=_HELP)
@click.option("--clusters", is_flag=True, help="Also a line for each cluster.")
@shared_options
@pass_session
def status(session: Session, *, clusters: bool) -> None:
    """Show what needs you, what heals by itself, and that all else is well.

    What is frozen or held stands on top. What blox or ECS is mending is listed as needing you once
    it has lasted for five minutes.

    \b
    Example:
      blox status
      blox status --clusters
      blox status --json | jq '.needsYou[]'
    """
    client = session.client()
    told = client.get("/v2/status")
    environments = client.every("/v2/environments", {"limit": "1000"})
    holds = client.every("/v2/holds", {"limit": "1000"}) if told["holds"] else []
    now = parse_time(told["now"])
    needs = [*_of_scheduler(told), *_of_environments(told, environments)]
    needs += _of_hosts(client, environments, now)
    if session.as_json:
        unhealthy = [e for e in environments if e["health"]["status"] != "healthy"]
        print_json({**told, "held": holds, "needsYou": _json(needs), "unhealthy": unhealthy})
        return
    where = told["domain"] or "an account that ECS has not told yet"
    say(f"blox {told['version']}  {told['mode']} in {where}   {session.endpoint}")
    _say_orders(told, holds, environments)
    _say_needs(needs, now)
    _say_healing(told, environments)
    _say_rest(told, environments, needs)
    if clusters or any(cluster["readError"] for cluster in told["clusters"]):
        _say_clusters(told)


def _json(needs: Sequence[Need]) -> list[JsonObject]:
    return [
        {
            "where": need.where,
            "code": need.code,
            "sentence": need.sentence,
            "count": need.hosts,
            "since": need.since,
            "nextStep": need.next_step,
            "command": need.command,
        }
        for need in needs
    ]


# --- What needs a person --------------------------------------------------------------------------


def _of_scheduler(told: JsonObject) -> list[Need]:
    """Conditions of the process as a whole."""
    return [
        Need(
            "scheduler", p["code"], p["sentence"], 0, p["since"], f"{p['who']}: {p['nextStep']}", ""
        )
        for p in told["conditions"]
    ]


def _of_environments(told: JsonObject, environments: Sequence[JsonObject]) -> list[Need]:
    now = parse_time(told["now"])
    everywhere = {problem["code"] for problem in told["conditions"]}
    return [
        _need(environment, problem)
        for environment in environments
        for problem in environment["health"]["problems"]
        if problem["code"] not in everywhere
        and problem["code"] != "frozen"
        and _yours(problem, now)
    ]


def _yours(problem: JsonObject, now: datetime) -> bool:
    """Whether a person acts next, or nobody else has succeeded for too long."""
    if problem["who"] == "you":
        return True
    return problem["since"] is not None and _lasting(problem["since"], now) >= PATIENCE


def _need(environment: JsonObject, problem: JsonObject) -> Need:
    name = full_name(environment)
    step = problem["nextStep"]
    if problem["who"] != "you":
        step = f"{problem['who']} {step}, without success so far"
    request = f" (request {problem['requestId']})" if problem["requestId"] else ""
    return Need(
        name,
        problem["code"],
        problem["sentence"] + request,
        problem["count"],
        problem["since"],
        step,
        _command(name, problem),
    )


def _command(name: str, problem: JsonObject) -> str:
    """What shows more of a problem, or ends it."""
    if problem["code"] == "stop-held":
        return f"blox confirm {name}"
    if problem["code"] == "not-served":
        return f"blox environments show {name}"
    if problem["count"] == 0:
        return f"blox hosts {name}"
    return f"blox explain {name} --cause {problem['code']}"


def _of_hosts(client: Client, environments: Sequence[JsonObject], now: datetime) -> list[Need]:
    """Hosts that nothing reaches: once for each cluster, by the environment that wants most."""
    needs: list[Need] = []
    for slot_class, words in _GONE.items():
        worst: dict[str, JsonObject] = {}
        for environment in environments:
            number = environment["counts"][slot_class]
            former = worst.get(environment["cluster"])
            if number and (former is None or number > former["counts"][slot_class]):
                worst[environment["cluster"]] = environment
        needs += [_gone(client, one, slot_class, words, now) for one in worst.values()]
    return needs


def _gone(
    client: Client, environment: JsonObject, slot_class: str, words: str, now: datetime
) -> Need:
    asked = {"limit": "1000", "class": slot_class}
    listed = client.every(path_in(environment, "hosts"), asked)
    longest = max((host["sinceSeconds"] for host in listed), default=0.0)
    since = now - timedelta(seconds=longest)
    step = listed[0]["nextStep"] if listed else "look at the host"
    return Need(
        environment["cluster"],
        slot_class,
        words,
        environment["counts"][slot_class],
        since.isoformat(timespec="milliseconds"),
        step,
        f"blox hosts {full_name(environment)} --class {slot_class} --all",
    )


def _say_needs(needs: Sequence[Need], now: datetime) -> None:
    if not needs:
        return
    say(f"NEEDS YOU ({len(needs)})")
    width = max(len(need.where) for need in needs)
    for need in needs:
        number = f"{count(need.hosts, 'host')}: " if need.hosts else ""
        since = "" if need.since is None else f", for {span(_lasting(need.since, now))}"
        named = not need.command or need.command in need.next_step
        command = "" if named else f"   {need.command}"
        say_wrapped(
            f"  {need.where.ljust(width)}  {number}{need.sentence}{since} -> {need.next_step}"
            f"{command}",
            indent=width + 2,
        )


# --- What somebody ordered ------------------------------------------------------------------------


def _say_orders(
    told: JsonObject, holds: Sequence[JsonObject], environments: Sequence[JsonObject]
) -> None:
    """What is frozen and held, and who waits for it."""
    for freeze in told["freezes"]:
        say_wrapped(frozen_line(freeze))
        waiting = [
            f"{count(e['counts']['missing'], 'host')} of {full_name(e)}"
            for e in environments
            if concerns(freeze, e["cluster"], e["name"])
            and e["deployment"] is not None
            and e["counts"]["missing"]
        ]
        if waiting:
            say_wrapped(f"  without a daemon until then: {', '.join(waiting)}")
    for hold in holds[:_HOLDS]:
        say_wrapped(held_line(hold))
    if len(holds) > _HOLDS:
        say(f"HELD: {count(len(holds) - _HOLDS, 'more host')}   blox hosts held")
    if told["holding"]:
        say_wrapped(f"nothing is started at the moment: {told['holding']}")
    if not told["assumptions"]["checked"] and environments and told["mode"] == "acting":
        say("nothing is started yet: whether ECS refuses old signatures is being tried")


# --- What heals, and what is well -----------------------------------------------------------------


def _say_healing(told: JsonObject, environments: Sequence[JsonObject]) -> None:
    """One line: a number, and the parts that add up to it."""
    parts = _healing(
        [e for e in environments if e["deployment"] is not None], parse_time(told["now"])
    )
    if parts:
        told_parts = " · ".join(f"{number} {words}" for words, number in parts.items())
        say_wrapped(f"by itself ({sum(parts.values())}): {told_parts}")
    for environment in environments:
        name = full_name(environment)
        if environment["ending"]:
            left = count(environment["tasksLeft"], "task")
            say(f"{name} is being deleted: {left} left   blox environments delete {name} --wait")
        if environment["migration"] is not None:
            say_wrapped(f"{name}: {migration_line(environment['migration'])}")
    fresh = [full_name(e) for e in environments if e["deployment"] is None and not e["ending"]]
    if fresh:
        wait = "" if told["mode"] == "observing" else " --wait"
        say_wrapped(f"never deployed ({len(fresh)}): {', '.join(fresh)}   blox deploy NAME{wait}")
    for note in told["notes"]:
        say_wrapped(f"note: {note}")
    if told["orphans"]:
        few = "task of a deleted environment" if told["orphans"] == 1 else "tasks of deleted ones"
        say(f"note: {told['orphans']} {few}   blox orphans")
    if told["doublesSeen"]:
        say(f"note: hosts found with two daemons, and mended: {told['doublesSeen']}")
    if told["rejectedMessages"]:
        rejected = told["rejectedMessages"]
        say(f"note: queue messages not understood: {rejected}   GET /v2/queue/rejected")


def _healing(environments: Sequence[JsonObject], now: datetime) -> dict[str, int]:
    """What is on its way, in words → how many."""
    busy = [e for e in environments if not e["ending"]]
    counted = {name: sum(e["counts"][name] for e in busy) for name in _DAEMONS}
    counted["missing"] -= sum(e["counts"]["missing"] for e in busy if e["frozen"] is not None)
    failing = 0
    for environment in busy:
        for problem in environment["health"]["problems"]:
            slot_class = _WAITING.get(problem["code"])
            if slot_class is None:
                failing += 0 if _yours(problem, now) else problem["count"]
            elif _yours(problem, now) and problem["code"] != "frozen":
                counted[slot_class] -= problem["count"]
    updating = sum(e["counts"]["outdated"] for e in busy if _updating(e))
    parts = {_DAEMONS[name]: number for name, number in counted.items()}
    parts |= {"to be updated": updating, "failing, tried again": failing}
    for slot_class, words in _HOSTS.items():
        most: dict[str, int] = {}
        for e in environments:
            most[e["cluster"]] = max(most.get(e["cluster"], 0), e["counts"][slot_class])
        parts[words] = sum(most.values())
    return {words: number for words, number in parts.items() if number > 0}


def _updating(environment: JsonObject) -> bool:
    deployment = environment["deployment"]
    return deployment is not None and deployment["status"] == "running"


def _say_rest(told: JsonObject, environments: Sequence[JsonObject], needs: Sequence[Need]) -> None:
    """One line for all that is well; or what to do first."""
    if not told["clusters"]:
        say("no cluster is watched. Make an environment: blox environments create --help")
        return
    ill = {e["cluster"] for e in environments if e["health"]["status"] != "healthy"}
    ill |= {need.where for need in needs}
    clusters = told["clusters"]
    well = sum(c["primed"] and c["readError"] is None and c["name"] not in ill for c in clusters)
    healthy, total = told["environments"]["healthy"], told["environments"]["total"]
    hosts = sum(cluster["hosts"] for cluster in clusters)
    coverage = told["coverage"]
    wanted, available = coverage["wanted"], coverage["available"]
    share = "" if available == wanted else f" ({100 * available / wanted:.2f} %)"
    head = "all else well" if needs else "all well"
    if not needs and (available < wanted or well < len(clusters)):
        head = "well"
    if not all(c["primed"] and c["readError"] is None for c in clusters):
        head = "known to be well"
    say_wrapped(
        f"{head}: clusters {well} of {len(clusters)} · environments {healthy} of {total} · "
        f"{count(hosts, 'host')} · healthy daemons {available} of {wanted}{share}"
    )


def _say_clusters(told: JsonObject) -> None:
    say()
    print_table(
        ("CLUSTER", "STATE", "HOSTS", "ENVIRONMENTS", "LAST READ COMPLETELY", "PROBLEM"),
        [
            (
                cluster["name"],
                cluster["status"] if cluster["primed"] else f"{cluster['status']}, not read yet",
                cluster["hosts"],
                cluster["environments"],
                "not since it began"
                if cluster["ageSeconds"] is None
                else f"{span(cluster['ageSeconds'])} ago",
                "see NEEDS YOU"
                if _told(cluster["readError"], told)
                else plain(cluster["readError"]),
            )
            for cluster in told["clusters"]
        ],
    )


def _told(error: str | None, told: JsonObject) -> bool:
    """Whether a cluster cannot be read for what is told of the scheduler as a whole."""
    return error is not None and any(error in one["sentence"] for one in told["conditions"])


def _lasting(since: str, now: datetime) -> float:
    """Seconds since then, by ECS's clock as the scheduler knows it."""
    return max(0.0, (now - parse_time(since)).total_seconds())
