"""`blox migrate`: from a DAEMON service to an environment, host by host, and back."""

from typing import Any, Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import short_id
from blox.cli.client import Asked, Client, JsonObject, path_of
from blox.cli.migrate_watch import Watch
from blox.cli.migrate_words import say_begun, say_detached, service_of
from blox.cli.output import count, plain, print_json, say
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    definition_name,
    duration,
    find_environment,
    full_name,
    path_in,
    place,
    split_reference,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@click.argument("service", metavar="service/NAME")
@click.option(
    "--to",
    "target",
    required=True,
    metavar="[CLUSTER/]NAME",
    help="The environment that takes its place; created from the service's own task definition "
    "when it is not there.",
)
@click.option("--cluster", metavar="NAME", help="The cluster, if it is not in --to.")
@click.option(
    "--wave",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Hosts that are moved at once; 1 if not given. Never more than the environment's "
    "--max-unavailable. May be changed at any time by calling again.",
)
@click.option("--back", is_flag=True, help="Give the hosts back to the service, in waves too.")
@click.option(
    "--finish",
    is_flag=True,
    help="Say that the service is gone where blox may not ask ECS about it; or take a migration "
    "back in which nothing was deployed.",
)
@click.option(
    "--task-definition",
    metavar="FAMILY[:REV]",
    help="Create the environment with this, instead of what the service runs.",
)
@click.option(
    "--when-idle",
    type=duration,
    metavar="TIME",
    help="Create it so that its daemons leave hosts that ECS would remove when idle.",
)
@click.option(
    "--accept-no-scale-in", is_flag=True, help="Daemons may keep idle hosts from being removed."
)
@click.option("--detach", is_flag=True, help="Begin, say what is to be done, and return at once.")
@click.option(
    "--timeout", type=duration, metavar="TIME", help="Watch no longer; what is under way goes on."
)
@shared_options
@pass_session
def migrate(session: Session, /, service: str, target: str, **options: Any) -> int:
    """Take over from a DAEMON service, host by host, without running two anywhere.

    You are asked to run one command that gives the service a placement constraint. From then on
    blox marks hosts, a few at a time: ECS stops the service's task there, blox starts its own and
    waits until it is healthy before the next. Each host's gap without a daemon is measured and
    shown. In the end you delete the service.

    It goes on in the scheduler, whether you watch or not: Ctrl-C only stops watching, and the same
    command watches again. --back returns the hosts, at any time before the service is deleted.

    Exit codes: 0 done, or given back; 1 error; 3 stopped because daemons fail on moved hosts;
    5 --timeout is over; 130 Ctrl-C. After 3, 5 and 130 it goes on as soon as it can.

    \b
    Example:
      blox migrate service/fluent-bit --to demo/logs --wave 5
      blox migrate service/fluent-bit --to demo/logs --back
    """
    name = service_of(service)
    client = session.client()
    if options["back"] and options["finish"]:
        raise InvalidInput("--back and --finish contradict each other: say one of them.")
    if not options["detach"] and client.get("/v2/status")["mode"] == "observing":
        raise InvalidInput(
            "This scheduler only observes: no host would be moved. Start it without --observe, or "
            "say --detach to record what is meant."
        )
    environment = _existing(client, target, options["cluster"])
    if options["finish"]:
        return _finish(session, client, _needed(environment, target))
    if options["back"]:
        environment = _needed(environment, target)
        client.patch(path_in(environment, "migration"), _changes(options, back=True))
        return _follow(session, client, environment, options)
    if environment is None:
        cluster, wanted = _place(client, name, target, options["cluster"])
        environment = _created(session, client, name, cluster, wanted, options)
    _begin(client, environment, name, options)
    return _follow(session, client, environment, options)


# --- Beginning ------------------------------------------------------------------------------------


def _existing(client: Client, target: str, cluster: str | None) -> JsonObject | None:
    """The environment, if it is there."""
    named, name = split_reference(target)
    if named is not None and cluster is not None:
        raise InvalidInput("Name the cluster once: in --to, or with --cluster.")
    where = named or (short_id(cluster) if cluster is not None else None)
    try:
        return find_environment(client, name if where is None else f"{where}/{name}")
    except NotFound:
        return None


def _needed(environment: JsonObject | None, target: str) -> JsonObject:
    if environment is None:
        raise NotFound(f"There is no environment {target}: nothing was migrated to it.")
    return environment


def _place(client: Client, service: str, target: str, cluster: str | None) -> tuple[str, str]:
    """Cluster and name of the environment to be. Without a cluster: the one with the service, of
    those that the scheduler watches."""
    named, name = split_reference(target)
    if named or cluster:
        return named or short_id(cluster or ""), name
    found = []
    for known in client.get("/v2/status")["clusters"]:
        try:
            client.get(path_of("v2", "services", known["name"], service))
        except NotFound:
            continue
        found.append(known["name"])
    if len(found) != 1:
        told = f"stands on {', '.join(found)}" if found else "is on no cluster that blox watches"
        raise InvalidInput(f"The service {service} {told}: say which, as in --to CLUSTER/{name}.")
    return found[0], name


def _created(
    session: Session,
    client: Client,
    service: str,
    cluster: str,
    name: str,
    options: dict[str, Any],
) -> JsonObject:
    """A new environment that runs what the service runs."""
    found = client.get(path_of("v2", "services", cluster, service))
    definition = options["task_definition"] or found["taskDefinition"]
    if not definition:
        raise InvalidInput(f"The service {service} names no task definition: --task-definition.")
    policy = {} if options["when_idle"] is None else {"whenIdle": options["when_idle"]}
    body: JsonObject = {
        "name": name,
        "cluster": cluster,
        "taskDefinition": definition,
        "policy": policy,
        "acceptNoScaleIn": options["accept_no_scale_in"],
    }
    try:
        created = client.post("/v2/environments", body)
    except Asked as asked:
        # That its own tasks run there is why we are here. Anybody else's is a question.
        holders = [holder["holder"] for holder in asked.problem.get("holders", [])]
        if asked.problem["question"] != "existing" or holders != [f"service/{service}"]:
            raise
        created = client.post("/v2/environments", {**body, "existing": "wait"})
    if not session.as_json:
        what = definition_name(created["revision"]["taskDefinition"])
        whose = "" if options["task_definition"] else ", as the service"
        say(f"created {full_name(created)}: it runs {what}{whose}")
    return created


def _begin(client: Client, environment: JsonObject, service: str, options: dict[str, Any]) -> None:
    """Begin the migration, or go on with it, and deploy."""
    known = environment["migration"]
    if known is None:
        body = {"service": service, "wave": options["wave"] or 1}
        client.post(path_in(environment, "migration"), body)
    elif known["service"] != service:
        raise InvalidInput(
            f"{full_name(environment)} takes over from service/{known['service']} already."
        )
    else:
        client.patch(path_in(environment, "migration"), _changes(options, back=False))
    if environment["deployment"] is None:
        environment = client.get(path_in(environment))
        client.post(path_in(environment, "deployments"), query={"token": environment["token"]})


def _changes(options: dict[str, Any], *, back: bool) -> JsonObject:
    changes: JsonObject = {"back": back}
    if options["wave"] is not None:
        changes["wave"] = options["wave"]
    return changes


# --- Going on -------------------------------------------------------------------------------------


def _follow(
    session: Session, client: Client, environment: JsonObject, options: dict[str, Any]
) -> int:
    """Watch until there is nothing more to watch; the exit code."""
    watch = Watch(client, environment, back=options["back"], silent=session.as_json)
    report = watch.first()
    if not options["back"] and not session.as_json:
        say_begun(environment, report)
    if options["detach"]:
        if session.as_json:
            print_json(report)
        else:
            say_detached(report)
        return 0
    code = watch.run(timeout=options["timeout"])
    if session.as_json and watch.last is not None:
        print_json(watch.last)
    return code


def _finish(session: Session, client: Client, environment: JsonObject) -> int:
    answer = client.delete(path_in(environment, "migration"))
    if session.as_json:
        print_json(answer)
        return 0
    where = full_name(environment)
    if answer["state"] == "ended":
        say(plain(f"{where} does not take over from service/{answer['service']} any more"))
        say(f"  nothing was moved; next: blox environments delete {where}")
        return 0
    found = client.get(place(environment["cluster"], environment["name"]))
    hosts = count(found["counts"]["hosts"], "host")
    say(plain(f"service/{answer['service']} is gone: {where} takes every one of {hosts}"))
    say(f"  next: blox hosts {where}")
    return 0
