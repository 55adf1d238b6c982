"""`blox explain`: the story of one host, or what hosts that fail alike have in common."""

from collections.abc import Sequence
from typing import Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.cli.client import Client, JsonObject, path_of
from blox.cli.common_traits import by_traits, machines_of, traits_line
from blox.cli.explain_host import say_host
from blox.cli.output import count, plain, print_json, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.story import say_story
from blox.cli.words import (
    WANTED,
    find_environment,
    frozen_line,
    full_name,
    grouped,
    host_name,
    named_hosts,
    path_in,
    say_environment,
)
from blox.ecs.model import Host

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_NOT_WELL: Final = ("failing", "blocked", "occupied", "inDoubt", "missing", "lost", "away")
_LEFT_BEHIND: Final = "deployment-failed"
"""A problem of the environment: the wanted hosts that are not current."""


@click.command(context_settings=_HELP)
@click.argument("words", nargs=-1, metavar="[[CLUSTER/]NAME] HOST")
@click.option(
    "--cause",
    metavar="REASON",
    help="With an environment alone: all hosts for which this is the reason, and what they have in "
    "common. A code, a class (blocked), or part of the sentence (pull).",
)
@shared_options
@pass_session
def explain(session: Session, words: tuple[str, ...], *, cause: str | None) -> None:
    """Tell what happens on one host and why, for one environment or for all of its cluster; or what
    the hosts that fail alike have in common.

    HOST is an instance id (i-… or mi-…), a container instance id, or an ARN. For a host alone: each
    environment in one line, who holds its memory, CPU and ports, then what happened.

    \b
    Example:
      blox explain i-0a9b8c7d6e5f40312
      blox explain demo/logs i-0a9b8c7d6e5f40312
      blox explain demo/logs --cause no-room
    """
    client = session.client()
    if cause is not None:
        if len(words) != 1:
            raise InvalidInput(
                "--cause needs an environment alone: blox explain demo/logs --cause R"
            )
        _explain_cause(session, client, words[0], cause)
    elif len(words) == 1:
        found = client.get(path_of("v2", "hosts", words[0]))
        if session.as_json:
            print_json(found)
        else:
            say_host(found, client.every("/v2/freezes", {"limit": "1000"}))
    elif len(words) == 2:
        _explain_slot(session, client, words[0], words[1])
    else:
        raise InvalidInput("Name a host, or an environment and a host: blox explain demo/logs i-…")


def _explain_slot(session: Session, client: Client, reference: str, host: str) -> None:
    environment = find_environment(client, reference)
    told = client.get(path_in(environment, "hosts", host))
    if session.as_json:
        print_json(told)
        return
    if environment["frozen"] is not None:
        say_wrapped(frozen_line(environment["frozen"]))
    say_story(told, host_named=True)
    if told["class"] not in _NOT_WELL:
        return
    asked = {"limit": "1000", "class": told["class"]}
    alike = [
        one
        for one in client.every(path_in(environment, "hosts"), asked)
        if one["reason"] == told["reason"]
    ]
    if len(alike) > 1:
        name = full_name(environment)
        say(
            f"  {len(alike)} hosts are like this; what they share: blox explain {name} "
            f"--cause {told['reason']}"
        )


# --- One cause ------------------------------------------------------------------------------------


def _explain_cause(session: Session, client: Client, reference: str, cause: str) -> None:
    environment = find_environment(client, reference)
    listed = client.every(path_in(environment, "hosts"), {"limit": "1000"})
    meant = [host for host in listed if _means(host, cause)]
    if session.as_json:
        print_json(meant)
        return
    if not meant:
        known = dict.fromkeys(host["reason"] for host in listed)
        raise NotFound(
            f"No host of {full_name(environment)} is as it is for {cause!r}. The reasons now: "
            f"{', '.join(known) or 'none'}."
        )
    say(f"{full_name(environment)}  {environment['health']['status']}")
    say_environment(environment, look=False)
    machines = machines_of(client, environment["clusterArn"])
    concerned = {host["arn"] for host in meant}
    fine = [h for h in listed if h["class"] in WANTED and h["arn"] not in concerned]
    others = [machines[host["arn"]] for host in fine if host["arn"] in machines]
    for group in grouped(meant, "reason", "sentence").values():
        first = group[0]
        since = span(max(host["sinceSeconds"] for host in group))
        say()
        say_wrapped(
            f"{count(len(group), 'host')}: {first['sentence']}, for up to {since} -> "
            f"{first['who']}: {first['nextStep']}"
        )
        _say_shared(group, [machines[h["arn"]] for h in group if h["arn"] in machines], others)
        say(f"  next: blox explain {full_name(environment)} {host_name(first)}")


def _means(host: JsonObject, cause: str) -> bool:
    if host["class"] == "superseded":
        return False
    if cause == _LEFT_BEHIND:
        return host["class"] in WANTED and host["class"] != "current"
    if cause in (host["reason"], host["class"]):
        return True
    return cause.casefold() in str(host["sentence"]).casefold()


def _say_shared(group: Sequence[JsonObject], hosts: Sequence[Host], others: Sequence[Host]) -> None:
    """What they have in common, group by group."""
    names = {host["arn"]: host for host in group}
    if not others:
        say(f"  all wanted hosts are so: nothing to compare with   {named_hosts(group)}")
        return
    for traits, alike in by_traits(hosts, others):
        told = traits_line(traits) or "nothing that the others have not"
        members = named_hosts([names[host.arn] for host in alike])
        say_wrapped(plain(f"  {len(alike)} share: {told}   {members}"))
