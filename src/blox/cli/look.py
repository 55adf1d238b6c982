"""`blox hosts`, `explain`, `orphans` and `status`: what is, and why."""

from collections.abc import Sequence
from typing import Final

import click

from blox.base.errors import InvalidInput
from blox.cli.client import JsonObject, path_of
from blox.cli.output import count, plain, print_json, print_table, say, short, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    CLASSES,
    definition_name,
    find_environment,
    full_name,
    grouped,
    host_name,
    parse_time,
    path_in,
    problem_line,
    say_environment,
    spoken,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_EXAMPLES: Final = 2
_WORST_FIRST: Final = (
    "failing",
    "blocked",
    "occupied",
    "inDoubt",
    "missing",
    "stopping",
    "starting",
    "settling",
    "outdated",
    "lost",
    "away",
    "ineligible",
    "leaving",
    "notReady",
    "unmatched",
    "superseded",
    "current",
)


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option(
    "--class",
    "slot_class",
    type=click.Choice(CLASSES),
    metavar="CLASS",
    help=f"Only hosts in this class: {', '.join(CLASSES)}.",
)
@click.option("--all", "every", is_flag=True, help="A line for each host, not for each cause.")
@shared_options
@pass_session
def hosts(
    session: Session,
    environment: str,
    slot_class: str | None,
    every: bool,  # noqa: FBT001
) -> None:
    """Show every host of an environment's cluster, grouped by cause; worst first.

    \b
    Example:
      blox hosts demo/logs
      blox hosts demo/logs --class blocked --all
    """
    client = session.client()
    found = find_environment(client, environment)
    asked = {"limit": "1000"} if slot_class is None else {"limit": "1000", "class": slot_class}
    listed = client.every(path_in(found, "hosts"), asked)
    if session.as_json:
        print_json(listed)
        return
    say(f"{full_name(found)}  {found['health']['status']}")
    say_environment(found, look=False)
    if every:
        _print_each(listed)
    else:
        _print_groups(listed)


def _print_each(listed: Sequence[JsonObject]) -> None:
    print_table(
        ("HOST", "CLASS", "VERDICT", "FOR", "TASK", "WHY", "NEXT"),
        [
            (
                host_name(host),
                spoken(host["class"]),
                host.get("would") or host["verdict"],
                span(host["sinceSeconds"]),
                _task(host),
                host["sentence"],
                f"{host['who']}: {host['nextStep']}",
            )
            for host in _sorted(listed)
        ],
    )


def _task(host: JsonObject) -> str:
    task = host["task"]
    if task is None:
        return ""
    return f"{short(task['arn'])} {definition_name(task['definition'])} {task['status']}"


def _print_groups(listed: Sequence[JsonObject]) -> None:
    rows = []
    for group in _causes(_sorted(listed)):
        first = group[0]
        alike = all(host["sentence"] == first["sentence"] for host in group)
        names = [host_name(host) for host in group[:_EXAMPLES]]
        rows.append(
            (
                len(group),
                spoken(first["class"]),
                first.get("would") or first["verdict"],
                first["sentence"] + ("" if alike else " (others alike)"),
                f"{first['who']}: {first['nextStep']}",
                ", ".join(names) + (" …" if len(group) > _EXAMPLES else ""),
            )
        )
    print_table(("HOSTS", "CLASS", "VERDICT", "WHY", "NEXT", "FOR EXAMPLE"), rows)


def _causes(listed: Sequence[JsonObject]) -> list[list[JsonObject]]:
    """Hosts that are as they are for the same cause, though their numbers may differ."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for host in listed:
        details = host["details"]
        told = [details.get(name, "") for name in ("cause", "resource", "holder", "status")]
        key = (host["class"], host["reason"], host.get("would", ""), *told)
        groups.setdefault(key, []).append(host)
    return list(groups.values())


def _sorted(listed: Sequence[JsonObject]) -> list[JsonObject]:
    ranks = {slot_class: rank for rank, slot_class in enumerate(_WORST_FIRST)}
    return sorted(listed, key=lambda host: (ranks[host["class"]], host["reason"], host["arn"]))


# --- One host -------------------------------------------------------------------------------------


@click.command(context_settings=_HELP)
@click.argument("words", nargs=-1, metavar="[[CLUSTER/]NAME] HOST")
@shared_options
@pass_session
def explain(session: Session, words: tuple[str, ...]) -> None:
    """Tell what happens on one host and why, for one environment or for all of its cluster.

    HOST is an instance id (i-… or mi-…), a container instance id, or an ARN.

    \b
    Example:
      blox explain i-0a9b8c7d6e5f40312
      blox explain demo/logs i-0a9b8c7d6e5f40312
    """
    client = session.client()
    if len(words) == 1:
        found = client.get(path_of("v2", "hosts", words[0]))
        if session.as_json:
            print_json(found)
            return
        _say_machine(found["host"])
        if not found["environments"]:
            say(f"  no environment is on the cluster {found['host']['cluster']}")
        for told in found["environments"]:
            say()
            _say_story(told, host_named=False)
        return
    if len(words) != 2:
        raise InvalidInput("Name a host, or an environment and a host: blox explain demo/logs i-…")
    environment = find_environment(client, words[0])
    told = client.get(path_in(environment, "hosts", words[1]))
    if session.as_json:
        print_json(told)
        return
    _say_story(told, host_named=True)


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
    say(plain(f"{host_name(host)}  on {host['cluster']}  {host['status']}, {agent}   {shown}"))
    say(f"  {host['arn']}")


def _say_story(told: JsonObject, *, host_named: bool) -> None:
    host = f"{host_name(told)}  " if host_named else ""
    verdict = str(told.get("would") or told["verdict"]).upper()
    say(
        plain(
            f"{host}{full_name(told)}  {spoken(told['class'])} for {span(told['sinceSeconds'])}   "
            f"verdict {verdict}: {told['sentence']}"
        )
    )
    say(plain(f"  next: {told['who']}: {told['nextStep']}"))
    if told["task"] is not None:
        task = told["task"]
        wanted = "" if task["desiredStatus"] == task["status"] else f" -> {task['desiredStatus']}"
        say(
            f"  task {task['arn'].rsplit('/', 1)[-1]}  {definition_name(task['definition'])}  "
            f"{task['status']}{wanted}"
        )
    if not told["story"]:
        say(f"  nothing happened here since this scheduler began at {_second(told['storySince'])}")
        return
    for entry in told["story"]:
        say(f"  {_moment(entry['at'])}  {entry['what'].ljust(8)}  {_said(entry)}")


def _said(entry: JsonObject) -> str:
    request = entry["details"].get("request")
    return plain(entry["text"]) + (f"   request {request}" if request else "")


def _moment(text: str) -> str:
    return parse_time(text).strftime("%H:%M:%S.%f")[:-3]


def _second(text: str) -> str:
    return parse_time(text).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- Everything -----------------------------------------------------------------------------------


@click.command(context_settings=_HELP)
@click.option("--all", "every", is_flag=True, help="A line for each task.")
@shared_options
@pass_session
def orphans(session: Session, every: bool) -> None:  # noqa: FBT001
    """List tasks that deleted environments left running. Nothing stops them but you.

    \b
    Example:
      blox orphans --all
      aws ecs stop-task --cluster demo --task ARN
    """
    listed = session.client().every("/v2/orphans", {"limit": "1000"})
    if session.as_json:
        print_json(listed)
        return
    if not listed:
        say("no orphans: no deleted environment has a task running")
        return
    if every:
        print_table(
            ("TASK", "HOST", "STATUS", "DEFINITION", "ENVIRONMENT", "DELETED"),
            [
                (
                    orphan["task"]["arn"],
                    orphan["instanceId"] or orphan["host"].rsplit("/", 1)[-1],
                    orphan["task"]["status"],
                    definition_name(orphan["task"]["definition"]),
                    full_name(orphan),
                    _second(orphan["deletedAt"]),
                )
                for orphan in listed
            ],
        )
        return
    for group in grouped(listed, "environmentId").values():
        first = group[0]
        say(
            f"{count(len(group), 'task')} of {full_name(first)}, deleted "
            f"{_second(first['deletedAt'])} -> you: stop them, or leave them   blox orphans --all"
        )


@click.command(context_settings=_HELP)
@shared_options
@pass_session
def status(session: Session) -> None:
    """Show what needs you, and how the scheduler and its clusters do.

    \b
    Example:
      blox status
    """
    client = session.client()
    told = client.get("/v2/status")
    environments = client.every("/v2/environments", {"limit": "1000"})
    if session.as_json:
        print_json({**told, "unhealthy": [e for e in environments if not _healthy(e)]})
        return
    where = told["domain"] or "an account that ECS has not told yet"
    say(f"blox {told['version']}  {told['mode']} in {where}   {session.endpoint}")
    _say_needs(told, environments)
    _say_rest(told, environments)
    _say_clusters(told)


def _healthy(environment: JsonObject) -> bool:
    return bool(environment["health"]["status"] == "healthy")


def _updating(environment: JsonObject) -> bool:
    deployment = environment["deployment"]
    return deployment is not None and deployment["status"] == "running"


def _say_needs(told: JsonObject, environments: Sequence[JsonObject]) -> None:
    lines = [plain(f"scheduler: {_condition(problem)}") for problem in told["conditions"]]
    codes = {problem["code"] for problem in told["conditions"]}
    for environment in environments:
        name = full_name(environment)
        lines += [
            f"{name}: {problem_line(problem, look=f'blox hosts {name}')}"
            for problem in environment["health"]["problems"]
            if problem["code"] not in codes
        ]
    if lines:
        say(f"NEEDS A LOOK ({len(lines)})")
        for line in lines:
            say(f"  {line}")
    if told["holding"]:
        say(f"nothing is started at the moment: {told['holding']}")
    if not told["assumptions"]["checked"] and environments and told["mode"] == "acting":
        say("nothing is started yet: whether ECS refuses old signatures is being tried")
    for note in told["notes"]:
        say(f"note: {plain(note)}")


def _condition(problem: JsonObject) -> str:
    return f"{problem['sentence']} -> {problem['who']}: {problem['nextStep']}"


def _say_rest(told: JsonObject, environments: Sequence[JsonObject]) -> None:
    """One line for all that is well, one for what is under way."""
    busy = {
        slot_class: sum(environment["counts"][slot_class] for environment in environments)
        for slot_class in ("starting", "settling", "stopping", "inDoubt")
    }
    busy["outdated"] = sum(e["counts"]["outdated"] for e in environments if _updating(e))
    parts = [f"{number} {spoken(slot_class)}" for slot_class, number in busy.items() if number]
    if parts:
        say(f"under way: {' · '.join(parts)}")
    current = sum(environment["counts"]["current"] for environment in environments)
    healthy, total = told["environments"]["healthy"], told["environments"]["total"]
    hosts = sum(cluster["hosts"] for cluster in told["clusters"])
    say(
        f"well: {healthy} of {count(total, 'environment')} healthy · "
        f"{count(current, 'daemon')} current · {count(hosts, 'host')} on "
        f"{count(len(told['clusters']), 'cluster')}"
    )
    if told["doublesSeen"]:
        say(f"hosts found with two daemons, and mended: {told['doublesSeen']}")
    if told["rejectedMessages"]:
        say(f"queue messages not understood: {told['rejectedMessages']}   GET /v2/queue/rejected")


def _say_clusters(told: JsonObject) -> None:
    if not told["clusters"]:
        say("no cluster is watched. Make an environment: blox environments create --help")
        return
    say()
    print_table(
        ("CLUSTER", "STATE", "HOSTS", "ENVIRONMENTS", "LAST READ COMPLETELY", "PROBLEM"),
        [
            (
                cluster["name"],
                cluster["status"] if cluster["primed"] else f"{cluster['status']}, not read yet",
                cluster["hosts"],
                cluster["environments"],
                "never" if cluster["ageSeconds"] is None else f"{span(cluster['ageSeconds'])} ago",
                cluster["readError"],
            )
            for cluster in told["clusters"]
        ],
    )
