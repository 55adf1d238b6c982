"""`blox adopt`: tasks that others started become an environment's, as they are."""

from collections.abc import Sequence
from typing import Final

import click

from blox.base.errors import InvalidInput
from blox.cli.client import Client, JsonObject
from blox.cli.output import asked_to_go_on, count, plain, print_json, say, say_wrapped
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    definition_name,
    find_environment,
    full_name,
    grouped,
    named_hosts,
    path_in,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.argument("tasks", nargs=-1, metavar="[TASK…]")
@click.option("--family", metavar="FAMILY", help="Only tasks of this family of definitions.")
@click.option("--started-by", metavar="TEXT", help="Only tasks with this startedBy.")
@click.option(
    "--replace", is_flag=True, help="The next deployment replaces them, whatever they run."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be adopted.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@shared_options
@pass_session
def adopt(
    session: Session,
    environment: str,
    tasks: tuple[str, ...],
    *,
    family: str | None,
    started_by: str | None,
    replace: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """Make tasks that others started an environment's. Nothing is started or stopped.

    Without a choice: the running tasks of the environment's own family. TASK is an ARN or an id;
    all that is given must hold. It is done for all of them or for none, and may be repeated. Tasks
    of a service are refused: the service would start others in their place (see `blox migrate`).
    The exit code is 1 when tasks that were named one by one are refused.

    \b
    Example:
      blox adopt demo/logs --dry-run
      blox adopt demo/logs
      blox adopt demo/logs --started-by userdata
      blox adopt demo/logs 8f2e4a6c9d0b4f3e8a7c6b5d4e3f2a1b
    """
    client = session.client()
    found = find_environment(client, environment)
    body: JsonObject = {"replace": replace}
    if family is not None:
        body["family"] = family
    if started_by is not None:
        body["startedBy"] = started_by
    if tasks:
        body["tasks"] = list(tasks)
    if not dry_run and not yes:
        _ask(session, client, found, body)
    answer = adopted(client, found, body, dry_run=dry_run)
    if session.as_json:
        print_json(answer)
    else:
        say_adoption(found, answer, replace=replace)
        _say_next(client, found, answer)
    return 1 if tasks and answer["refused"] else 0


def adopted(
    client: Client, environment: JsonObject, body: JsonObject, *, dry_run: bool = False
) -> JsonObject:
    """The answer to an adoption. Raises BloxError's subclasses."""
    query = {"dryRun": "true"} if dry_run else None
    return client.post(path_in(environment, "adoptions"), body, query=query)


def say_adoption(environment: JsonObject, answer: JsonObject, *, replace: bool = False) -> None:
    """What became the environment's, or would; what did not, and why. The numbers add up to all
    tasks that were meant."""
    ours, refused, already = answer["adopted"], answer["refused"], answer["already"]
    verb = "to adopt" if answer["dryRun"] else "adopted"
    parts = [f"{len(ours)} {verb}"]
    if already:
        parts.append(f"{already} its own already")
    if refused:
        parts.append(f"{len(refused)} refused")
    total = len(ours) + already + len(refused)
    name = full_name(environment)
    if not total:
        say(f"{name}: no task is meant; nothing was adopted")
        return
    say(f"{name}: {count(total, 'task')} = {' + '.join(parts)}")
    for adopted_tasks in grouped(
        [{**a, "definition": a["task"]["definition"]} for a in ours], "definition"
    ).values():
        say(f"  {_fate(environment, adopted_tasks, replace=replace)}")
    for group in grouped(refused, "why", "sentence").values():
        line = f"  refused {len(group)}: {group[0]['sentence']}   {_where(group)}"
        say_wrapped(line)
    if answer["dryRun"]:
        say_wrapped(f"  {_plan(environment, ours)}")
    elif ours:
        say("  0 restarts: nothing was started or stopped")


def _plan(environment: JsonObject, ours: Sequence[JsonObject]) -> str:
    """adopt 9 (falcon:12, same definition; 0 restarts) · start 0 · stop 0 · …"""
    wanted = environment["revision"]["taskDefinition"]
    counts: dict[str, int] = {}
    for task in ours:
        counts[task["task"]["definition"]] = counts.get(task["task"]["definition"], 0) + 1
    several = len(counts) > 1
    told = [
        (f"{number} " if several else "")
        + f"{definition_name(arn)}, {'same' if arn == wanted else 'another'} definition"
        for arn, number in counts.items()
    ]
    what = f" ({'; '.join(told)}; 0 restarts)" if told else ""
    return f"adopt {len(ours)}{what} · start 0 · stop 0 · ECS calls that act 0"


def _ask(session: Session, client: Client, environment: JsonObject, body: JsonObject) -> None:
    """Ask before something is adopted that the deployment in force replaces at once."""
    deployed = _rolling(environment)
    if deployed is None:
        return
    found = adopted(client, environment, body, dry_run=True)["adopted"]
    doomed = [a for a in found if body["replace"] or a["task"]["definition"] != deployed]
    if not doomed:
        return
    question = (
        f"{full_name(environment)} is deployed: {count(len(doomed), 'adopted task')} would be "
        f"replaced by {definition_name(deployed)} at once, within the budget. Go on?"
    )
    if session.as_json:
        raise InvalidInput(f"{question} With --json nobody is asked: say --yes.")
    asked_to_go_on(question, yes=False)


def _rolling(environment: JsonObject) -> str | None:
    """What is deployed, if a deployment replaces what runs something else."""
    deployment = environment["deployment"]
    if deployment is None or deployment["status"] not in ("running", "completed"):
        return None
    return str(deployment["taskDefinition"])


def _fate(environment: JsonObject, tasks: Sequence[JsonObject], *, replace: bool) -> str:
    """What becomes of adopted tasks of one definition."""
    first = tasks[0]["task"]
    what = definition_name(first["definition"])
    same = first["definition"] == environment["revision"]["taskDefinition"]
    deployed = _rolling(environment)
    if deployed is not None and (replace or first["definition"] != deployed):
        fate = f"replaced by {definition_name(deployed)}, which is deployed, within the budget"
    elif replace:
        fate = "the next deployment replaces them, within the budget"
    elif deployed is not None:
        fate = "what is deployed: they stay as they are"
    elif same:
        fate = "what the next deployment runs: they stay as they are"
    else:
        fate = "another definition: the next deployment replaces them, within the budget"
    return plain(f"{len(tasks)} {what}: {fate}   {_where(tasks)}")


def _where(tasks: Sequence[JsonObject]) -> str:
    """Their hosts, each once."""
    hosts = {
        task["host"]: {"instanceId": task["instanceId"], "arn": task["host"]}
        for task in tasks
        if task["host"]
    }
    return named_hosts(list(hosts.values()))


def _say_next(client: Client, environment: JsonObject, answer: JsonObject) -> None:
    name = full_name(environment)
    if answer["dryRun"]:
        if answer["adopted"]:
            say(f"  next: the same without --dry-run, then blox deploy {name} --wait")
    elif environment["deployment"] is None and (answer["adopted"] or answer["already"]):
        observing = client.get("/v2/status")["mode"] == "observing"
        say(
            "  next: start the scheduler without --observe to act"
            if observing
            else f"  next: blox deploy {name} --wait"
        )
    elif answer["adopted"]:
        say(f"  next: blox hosts {name}")
