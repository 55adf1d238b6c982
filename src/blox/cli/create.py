"""`blox environments create`: what the hosts run already, and what that means."""

import time
from collections.abc import Sequence
from typing import Any, Final

import click

from blox.base.errors import InvalidInput
from blox.cli.client import Asked, Client, JsonObject
from blox.cli.content import content_options, policy_of, read_task
from blox.cli.output import count, plain, print_json, say, short
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    full_name,
    grouped,
    named_hosts,
    path_in,
    revision_of,
    say_environment,
    split_reference,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_FIRST_LOOK: Final = 5.0
"""Seconds that `create` waits for the first sweep of a cluster, to tell what is there."""
_CAUSES: Final = 4
"""Causes of one kind that are told."""
_WAYS: Final = {"adopt": "adopt", "stop": "stop", "beside": "beside", "leave": "wait"}


@click.command(context_settings=_HELP)
@click.argument("name", metavar="[CLUSTER/]NAME")
@click.option("--cluster", metavar="NAME|ARN", help="The cluster, if it is not in the name.")
@click.option(
    "--task-definition",
    required=True,
    metavar="FAMILY[:REV]",
    help="What to run; a family alone means its newest revision now.",
)
@click.option("--adopt", is_flag=True, help="Tasks that run it already become ours, as they are.")
@click.option("--stop", is_flag=True, help="They become ours, and the first deployment replaces.")
@click.option("--beside", is_flag=True, help="Ours runs beside them: two on each such host.")
@click.option("--leave", is_flag=True, help="Such hosts wait as occupied, until theirs has gone.")
@click.option(
    "--accept-no-scale-in", is_flag=True, help="Daemons may keep idle hosts from being removed."
)
@content_options
@shared_options
@pass_session
def create(
    session: Session, /, name: str, cluster: str | None, task_definition: str, **options: Any
) -> int:
    """Create an environment. Nothing starts until it is deployed.

    Where hosts run the daemon already, nothing is created until you say what is meant: --adopt,
    --stop, --beside or --leave. Where ECS removes idle hosts, say --when-idle or
    --accept-no-scale-in. A deleted environment's tasks of the same name and cluster are taken over.

    \b
    Example:
      blox environments create logs --cluster demo --task-definition fluent-bit:41
      blox environments create demo/logs --task-definition fluent-bit --adopt
      blox environments create demo/gpu-metrics --task-definition dcgm \\
        --selector 'attribute:ecs.instance-type =~ p4.*' --max-unavailable 1
    """
    named, name = split_reference(name)
    if (named is None) == (cluster is None):
        raise InvalidInput("Name the cluster once: CLUSTER/NAME, or NAME with --cluster CLUSTER.")
    chosen = [way for way in _WAYS if options.pop(way)]
    if len(chosen) > 1:
        told = " and ".join(f"--{way}" for way in chosen)
        raise InvalidInput(f"{told} contradict each other: say one of them.")
    body: JsonObject = {
        "name": name,
        "cluster": named or cluster,
        "taskDefinition": task_definition,
        "policy": policy_of(options),
        "acceptNoScaleIn": options["accept_no_scale_in"],
    }
    if chosen:
        body["existing"] = _WAYS[chosen[0]]
    if options["selector"] is not None:
        body["selector"] = options["selector"]
    if options["task_file"] is not None:
        body["task"] = read_task(options["task_file"])
    client = session.client()
    try:
        created = client.post("/v2/environments", body)
    except Asked as asked:
        if session.as_json:
            print_json(asked.problem)
        else:
            _say_question(asked.problem, f"{body['cluster'].rsplit('/', 1)[-1]}/{name}")
        return 1
    if session.as_json:
        print_json(created)
    else:
        _say_created(client, created, chosen)
    return 0


# --- The questions --------------------------------------------------------------------------------


def _say_question(problem: JsonObject, name: str) -> None:
    """What is asked, the counts, and what each answer would do."""
    if problem["question"] == "scaleIn":
        _say_scale_in(problem["providers"])
    elif problem["question"] == "existing":
        _say_existing(problem, name)
    else:
        say(plain(problem["detail"]))
    say("nothing was created")


def _say_existing(problem: JsonObject, name: str) -> None:
    holders, occupied = problem["holders"], problem["occupied"]
    wanted = count(problem["hosts"], "wanted host")
    verb = "runs" if occupied == 1 else "run"
    say(f"{occupied} of {wanted} {verb} this daemon already:")
    for holder in holders:
        say(plain(f"  {holder['hosts']:>5}  {holder['holder']}"))
    of_services = sum(h["hosts"] for h in holders if h["holder"].startswith("service/"))
    of_ours = sum(h["hosts"] for h in holders if h["holder"].startswith("environment "))
    adoptable = occupied - of_services - of_ours
    left = occupied - adoptable
    kept = f"; {left} of others {'waits' if left == 1 else 'wait'} as occupied" if left else ""
    some = "1 becomes ours" if adoptable == 1 else f"{adoptable} become ours"
    replaced = "replaces it" if adoptable == 1 else "replaces them"
    ways = {
        "adopt": f"{some}, nothing restarts{kept}",
        "stop": f"{some}, and the first deployment {replaced}{kept}",
        "beside": f"ours starts beside theirs: two on {count(occupied, 'host')}",
    }
    say("say which is meant:")
    for way in problem["ways"]:
        say(f"  --{way:<8} {ways[way]}")
    free = problem["hosts"] - occupied
    rest = f"; only {count(free, 'host')} without one can get ours" if free else ""
    say(f"  --{'leave':<8} {'it waits' if occupied == 1 else 'all wait'} as occupied{rest}")
    for service in (h["holder"] for h in holders if h["holder"].startswith("service/")):
        say(plain(f"or take over from it, host by host: blox migrate {service} --to {name}"))


def _say_scale_in(providers: Sequence[JsonObject]) -> None:
    total = sum(provider["hosts"] for provider in providers)
    say(f"ECS removes {count(total, 'wanted host')} when idle (managed scaling is on):")
    for provider in providers:
        say(plain(f"  {provider['hosts']:>5}  capacity provider {provider['name']}"))
    say("a host with a daemon of ours never looks idle to ECS; say which is meant:")
    say("  --when-idle 15m        ours leaves where nothing but daemons has run for so long, and")
    say("                         comes back with the next task, which runs without it for seconds")
    say("  --accept-no-scale-in   these hosts stay until you remove them")
    say("or leave them out: --selector, or keep the DAEMON service there.")


# --- What was created -----------------------------------------------------------------------------


def _say_created(client: Client, created: JsonObject, chosen: Sequence[str]) -> None:
    took_over = created["tookOver"]
    created = _once_read(client, created)
    name, counts = full_name(created), created["counts"]
    say(
        f"created {name} (id {short(created['id'])}), revision {revision_of(created)}, not deployed"
    )
    say_environment(created)
    adopted = created["adopted"]
    if took_over:
        few = "task that a deleted environment" if took_over == 1 else "tasks that deleted ones"
        say(f"  took over {took_over}: {few} of this name left running")
    if chosen == ["stop"] and adopted:
        say(f"  adopted {adopted}: the first deployment replaces them, within the budget")
    elif adopted:
        say(f"  adopted {adopted}: started by others, not restarted")
    for slot_class in ("occupied", "ineligible"):
        if counts[slot_class]:
            _say_causes(client, created, slot_class)
    if counts["hosts"] and counts["unmatched"] == counts["hosts"]:
        say(f"  the selector matches none of the {counts['hosts']} hosts")
    if client.get("/v2/status")["mode"] == "observing":
        say("  next: start the scheduler without --observe to act; deploying now only records it")
    else:
        say(f"  next: blox deploy {name} --wait")


def _say_causes(client: Client, environment: JsonObject, slot_class: str) -> None:
    """Why hosts are in this class, a line for each cause."""
    asked = {"limit": "1000", "class": slot_class}
    groups = list(grouped(client.every(path_in(environment, "hosts"), asked), "sentence").values())
    groups.sort(key=lambda hosts: -len(hosts))
    for hosts in groups[:_CAUSES]:
        say(plain(f"  {slot_class} {len(hosts)}: {hosts[0]['sentence']}   {named_hosts(hosts)}"))
    left = groups[_CAUSES:]
    if left:
        number = sum(map(len, left))
        say(f"  {slot_class} {number}: {count(len(left), 'other cause')}")


def _once_read(client: Client, environment: JsonObject) -> JsonObject:
    """The environment once its cluster has been read, or as it is after a while."""
    until = time.monotonic() + _FIRST_LOOK
    while not environment["primed"] and environment["served"] and time.monotonic() < until:
        time.sleep(0.1)
        environment = client.get(path_in(environment))
    return environment
