"""`blox freeze`, `thaw` and `confirm`: what an operator tells a scheduler that runs."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.cli.client import Client, JsonObject, path_of
from blox.cli.output import asked_to_go_on, count, plain, print_json, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    concerns,
    duration,
    find_environment,
    frozen_line,
    frozen_words,
    full_name,
    named_hosts,
    path_in,
    second,
    thaw_command,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_ATTRIBUTE: Final = re.compile(r"attribute:([\w.\-/]+)")
_UNDER_WAY: Final = ("starting", "stopping", "inDoubt")


# --- Freeze and thaw ------------------------------------------------------------------------------


@click.command(context_settings=_HELP)
@click.option("--everything", is_flag=True, help="All clusters of this scheduler.")
@click.option("--cluster", metavar="NAME|ARN", help="All environments of one cluster.")
@click.option("--environment", metavar="[CLUSTER/]NAME", help="One environment.")
@click.option(
    "--for",
    "seconds",
    type=duration,
    metavar="TIME",
    help="It ends by itself after so long, 30d at most: 90s, 30m, 2h, 1d.",
)
@click.option("--why", metavar="TEXT", help="For the others, who will read it on every screen.")
@click.option("--list", "listed", is_flag=True, help="Only show what is frozen.")
@shared_options
@pass_session
def freeze(
    session: Session,
    *,
    everything: bool,
    cluster: str | None,
    environment: str | None,
    seconds: float | None,
    why: str | None,
    listed: bool,
) -> None:
    """Start and stop nothing, there and for a while: no rollout, no repair, no drain.

    Daemons that run go on running. When the command returns, no call leaves the scheduler any more;
    what ECS was asked before goes on. Restarting the scheduler does not thaw. The same freeze with
    the same reason again sets a new end.

    \b
    Example:
      blox freeze --environment demo/logs --for 2h --why "bad image, INC-812"
      blox freeze --everything --for 30m --why "AWS incident"
      blox freeze --list
    """
    client = session.client()
    if listed:
        _list_freezes(session, client)
        return
    body = _scope(client, everything=everything, cluster=cluster, environment=environment)
    if body is None or seconds is None or not why:
        raise InvalidInput(
            "Nothing was frozen. Say what, for how long and why: one of --everything, --cluster C "
            'and --environment [C/]NAME; --for 2h; --why "…". What is frozen: blox freeze --list'
        )
    made = client.post("/v2/freezes", {**body, "seconds": seconds, "why": why})
    if session.as_json:
        print_json(made)
        return
    say_wrapped(frozen_line(made))
    say("  nothing is started and nothing is stopped there; daemons that run go on running")
    _say_under_way(client, made)
    say(f"  it ends by itself; to end it before: {thaw_command(made)}")


def _list_freezes(session: Session, client: Client) -> None:
    found = client.every("/v2/freezes", {"limit": "1000"})
    if session.as_json:
        print_json(found)
        return
    for made in found:
        say_wrapped(f"{frozen_line(made)}   id {made['id']}")
    if not found:
        say("nothing is frozen")


def _scope(
    client: Client, *, everything: bool, cluster: str | None, environment: str | None
) -> JsonObject | None:
    """What is meant, as the API names it; None if nothing is. Raises InvalidInput for two."""
    given = [everything, cluster is not None, environment is not None]
    if sum(given) > 1:
        raise InvalidInput("Say one of --everything, --cluster and --environment.")
    if everything:
        return {"scope": "everything"}
    if cluster is not None:
        return {"scope": "cluster", "cluster": cluster}
    if environment is None:
        return None
    found = find_environment(client, environment)
    return {"scope": "environment", "cluster": found["cluster"], "environment": found["name"]}


def _say_under_way(client: Client, made: JsonObject) -> None:
    """What was asked of ECS before, and which deployments stand still."""
    environments = [
        e
        for e in client.every("/v2/environments", {"limit": "1000"})
        if concerns(made, e["cluster"], e["name"])
    ]
    busy = {name: sum(e["counts"][name] for e in environments) for name in _UNDER_WAY}
    words = {"starting": "starting", "stopping": "stopping", "inDoubt": "in doubt"}
    parts = [f"{number} {words[name]}" for name, number in busy.items() if number]
    if parts:
        say(f"  asked of ECS before, and goes on there: {' · '.join(parts)}")
    rolling = [
        full_name(e)
        for e in environments
        if e["deployment"] is not None and e["deployment"]["status"] in ("pending", "running")
    ]
    if rolling:
        verb = "stands" if len(rolling) == 1 else "stand"
        number = count(len(rolling), "deployment")
        say_wrapped(f"  {number} {verb} still until then: {', '.join(rolling)}")


@click.command(context_settings=_HELP)
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--everything", is_flag=True, help="The freeze of everything (not those of parts).")
@click.option("--cluster", metavar="NAME|ARN", help="The freeze of one cluster.")
@click.option("--environment", metavar="[CLUSTER/]NAME", help="The freeze of one environment.")
@click.option("--all", "every", is_flag=True, help="Every freeze, whatever it is about.")
@shared_options
@pass_session
def thaw(
    session: Session,
    identifier: str | None,
    *,
    everything: bool,
    cluster: str | None,
    environment: str | None,
    every: bool,
) -> None:
    """End a freeze before its time: name it as it was made, or by its id.

    \b
    Example:
      blox thaw --environment demo/logs
      blox thaw --all
    """
    client = session.client()
    wanted = _scope(client, everything=everything, cluster=cluster, environment=environment)
    if sum((wanted is not None, identifier is not None, every)) != 1:
        raise InvalidInput(
            "Say which freeze ends: --everything, --cluster C, --environment [C/]NAME, an id, or "
            "--all. What is frozen: blox freeze --list"
        )
    in_force = client.every("/v2/freezes", {"limit": "1000"})
    meant = [f for f in in_force if every or _meant(f, wanted, identifier)]
    if not meant:
        raise NotFound(_nothing_to_thaw(in_force))
    if identifier is not None and len(meant) > 1:
        raise InvalidInput(f"{identifier} begins the ids of {len(meant)} freezes: say more of it.")
    ended = [client.delete(path_of("v2", "freezes", freeze["id"])) for freeze in meant]
    if session.as_json:
        print_json(ended)
        return
    for freeze in ended:
        say(plain(f"thawed {frozen_words(freeze)}; it was frozen for: {freeze['why']}"))
    left = [f for f in in_force if f not in meant and any(_overlap(f, e) for e in ended)]
    for freeze in left:
        say_wrapped(f"  still {frozen_line(freeze)}")
    if not left:
        say("  what waits goes on now   blox status")


def _meant(freeze: JsonObject, wanted: JsonObject | None, identifier: str | None) -> bool:
    if identifier is not None:
        return bool(str(freeze["id"]).startswith(identifier))
    if wanted is None or freeze["scope"] != wanted["scope"]:
        return False
    cluster = wanted.get("cluster")
    if cluster is not None and freeze["cluster"] != cluster.rsplit("/", 1)[-1]:
        return False
    return bool(freeze["environment"] == wanted.get("environment"))


def _overlap(one: JsonObject, other: JsonObject) -> bool:
    """Whether two freezes are about the same place, in whole or in part."""
    if "everything" in (one["scope"], other["scope"]):
        return True
    if one["cluster"] != other["cluster"]:
        return False
    return "cluster" in (one["scope"], other["scope"]) or (
        one["environment"] == other["environment"]
    )


def _nothing_to_thaw(in_force: Sequence[JsonObject]) -> str:
    if not in_force:
        return "Nothing is frozen."
    told = "\n  ".join(frozen_line(freeze) for freeze in in_force)
    return f"There is no such freeze. In force:\n  {told}"


# --- Confirm --------------------------------------------------------------------------------------


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@shared_options
@pass_session
def confirm(session: Session, environment: str, *, yes: bool) -> None:
    """Say that many stops at once are meant.

    When many hosts stop matching an environment's selector together, that looks like a typing error
    or a script gone wrong, and their daemons are kept until you say that it is meant. Here you see
    which hosts, and what of the selector they do not meet any more. A confirmation counts for as
    many stops as you were shown, for the revision in force, for an hour.

    \b
    Example:
      blox confirm demo/logs
    """
    client = session.client()
    found = find_environment(client, environment)
    name, held = full_name(found), found["stopsHeld"]
    if held and not session.as_json:
        _say_held(client, found)
    if held and not yes:
        budget = found["policy"]["maxUnavailable"]
        question = f"Stop {count(held, 'daemon')} of {name}, within its budget ({budget})?"
        if session.as_json:
            raise InvalidInput(f"{question} With --json nobody is asked: say --yes.")
        asked_to_go_on(question, yes=False)
    query = {"stops": str(held)} if held else None
    confirmed = client.post(path_in(found, "confirmations"), query=query)
    if session.as_json:
        print_json(confirmed)
        return
    say(
        f"confirmed {count(confirmed['stops'], 'stop')} of {name} for revision "
        f"{confirmed['revision']}, until {second(confirmed['until'])}"
    )
    if found["frozen"] is not None:
        say_wrapped(f"  {frozen_line(found['frozen'])}")
    say(f"  next: blox hosts {name} --class unmatched")


def _say_held(client: Client, environment: JsonObject) -> None:
    """Which daemons wait, since when, and what their hosts lack."""
    asked = {"limit": "1000", "class": "unmatched"}
    listed = client.every(path_in(environment, "hosts"), asked)
    hosts = [host for host in listed if host["reason"] == "stop-held"]
    selector = _deployed_selector(environment)
    since = max((host["sinceSeconds"] for host in hosts), default=0.0)
    few = "host does" if len(hosts) == 1 else "hosts do"
    say(
        plain(
            f"{full_name(environment)}: {len(hosts)} {few} not match any more, the first for "
            f"{span(since)}: {selector or 'the selector'}"
        )
    )
    machines = client.every("/v2/hosts", {"cluster": environment["clusterArn"], "limit": "1000"})
    attributes = {machine["arn"]: machine["attributes"] for machine in machines}
    names = dict.fromkeys(_ATTRIBUTE.findall(selector))
    groups: dict[str, list[JsonObject]] = {}
    for host in hosts:
        groups.setdefault(_values(attributes.get(host["arn"], {}), names), []).append(host)
    for values, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        say_wrapped(f"  {count(len(group), 'host')}: {values}   {named_hosts(group)}")
    still = environment["counts"]["wanted"]
    say(f"  {count(still, 'host')} still match" + ("es" if still == 1 else ""))
    say("  if it is not meant: mend the selector or the attribute, and nothing is stopped")


def _deployed_selector(environment: JsonObject) -> str:
    """The newest revision's selector, where that one is deployed."""
    revision = environment["revision"]
    if environment["deployedRevision"] != revision["number"]:
        return ""
    return str(revision["selector"])


def _values(attributes: Mapping[str, str], names: Mapping[str, None]) -> str:
    """What a host has of what the selector asks."""
    if not names:
        return "what the selector asks is no attribute"
    return ", ".join(
        f"{name} = {attributes[name]}" if name in attributes else f"{name} is not set"
        for name in names
    )
