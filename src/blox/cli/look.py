"""`blox hosts` and `orphans`: what every host runs and why; holding one."""

from collections.abc import Sequence
from typing import Final

import click

from blox.cli.client import JsonObject, path_of
from blox.cli.groups import DefaultGroup
from blox.cli.output import count, plain, print_json, print_table, say, say_wrapped, short, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    CLASSES,
    definition_name,
    duration,
    find_environment,
    full_name,
    grouped,
    held_line,
    held_name,
    host_name,
    path_in,
    say_environment,
    second,
    spoken,
    until,
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
    "held",
    "ineligible",
    "leaving",
    "notReady",
    "unmatched",
    "yielded",
    "superseded",
    "current",
)


@click.group(
    cls=DefaultGroup,
    default="list",
    usage="[CLUSTER/]NAME [OPTIONS] | hold HOST … | release HOST | held",
    context_settings=_HELP,
)
@shared_options
def hosts(**_: object) -> None:
    """Show every host of an environment and why it is as it is; leave one alone for a while.

    Without a command it lists: `blox hosts demo/logs` is `blox hosts list demo/logs`, which is also
    the way to list an environment that is named like one of the commands.

    \b
    Example:
      blox hosts demo/logs
      blox hosts demo/logs --class blocked --all
      blox hosts hold i-0a9b8c7d6e5f40312 --for 2h --why "disk swap, INC-812"
      blox hosts release i-0a9b8c7d6e5f40312
    """


@hosts.command("list", context_settings=_HELP, short_help="Show every host and why.")
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
def list_(
    session: Session,
    environment: str,
    slot_class: str | None,
    every: bool,  # noqa: FBT001
) -> None:
    """Show every host of an environment's cluster, grouped by cause; worst first.

    \b
    Example:
      blox hosts list demo/logs
      blox hosts list demo/logs --class blocked --all
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


# --- Holding one ----------------------------------------------------------------------------------


@hosts.command("hold", context_settings=_HELP, short_help="Leave one alone for a while.")
@click.argument("host", metavar="HOST")
@click.option(
    "--for",
    "seconds",
    type=duration,
    required=True,
    metavar="TIME",
    help="It ends by itself after so long, 30d at most: 90s, 30m, 2h, 1d.",
)
@click.option("--why", required=True, metavar="TEXT", help="For the others, who will read it.")
@shared_options
@pass_session
def hold(session: Session, host: str, *, seconds: float, why: str) -> None:
    """Leave one host as it is for a while: nothing of blox is started or stopped there.

    What runs there goes on running. The host is not wanted meanwhile: it counts as held, not as
    missing a daemon. Held again, it has a new end. HOST is an instance id (i-… or mi-…), a
    container instance id, or an ARN.

    \b
    Example:
      blox hosts hold i-0a9b8c7d6e5f40312 --for 2h --why "disk swap, INC-812"
    """
    body = {"host": host, "seconds": seconds, "why": why}
    made = session.client().post("/v2/holds", body)
    if session.as_json:
        print_json(made)
        return
    say_wrapped(held_line(made))
    say("  nothing is started and nothing is stopped there; what runs goes on running")
    say(f"  it ends by itself; see what is there: blox explain {held_name(made)}")


@hosts.command("release", context_settings=_HELP, short_help="End a hold before its time.")
@click.argument("host", metavar="HOST")
@shared_options
@pass_session
def release(session: Session, host: str) -> None:
    """End a host's hold before its time.

    \b
    Example:
      blox hosts release i-0a9b8c7d6e5f40312
    """
    ended = session.client().delete(path_of("v2", "holds", host))
    if session.as_json:
        print_json(ended)
        return
    name = held_name(ended)
    say(plain(f"released {name} on {ended['cluster']}; it was held for: {ended['why']}"))
    say(f"  next: blox explain {name}")


@hosts.command("held", context_settings=_HELP, short_help="List the hosts that are held.")
@shared_options
@pass_session
def held(session: Session) -> None:
    """List the hosts that are held, until when and why.

    \b
    Example:
      blox hosts held
    """
    found = session.client().every("/v2/holds", {"limit": "1000"})
    if session.as_json:
        print_json(found)
        return
    if not found:
        say("no host is held")
    print_table(
        ("HOST", "CLUSTER", "UNTIL", "WHY"),
        [(held_name(h), h["cluster"], until(h), h["why"]) for h in found],
    )


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
                    second(orphan["deletedAt"]),
                )
                for orphan in listed
            ],
        )
        return
    for group in grouped(listed, "environmentId").values():
        first = group[0]
        say(
            f"{count(len(group), 'task')} of {full_name(first)}, deleted "
            f"{second(first['deletedAt'])} -> you: stop them, or leave them   blox orphans --all"
        )
