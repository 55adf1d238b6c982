"""`blox deploy` and `blox deployments`: bringing an environment's hosts to a revision."""

import time
from typing import IO, Final

import click

from blox.account.shared_traits import shared_traits
from blox.base.errors import InvalidInput
from blox.cli.adopt import adopted, say_adoption
from blox.cli.client import Client, JsonObject
from blox.cli.common_traits import machines_of, traits_line
from blox.cli.environments import patched
from blox.cli.output import Changing, count, plain, print_json, print_table, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    cause_lines,
    definition_name,
    duration,
    find_environment,
    frozen_line,
    full_name,
    host_name,
    path_in,
    seconds_between,
    wanted_sum,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_FAILED: Final = 3
_TIMED_OUT: Final = 5
_POLL: Final = 0.5
"""Seconds between two looks at a deployment."""
_FIRST_POLL: Final = 0.05
_OVER: Final = ("completed", "failed", "stopped", "superseded")


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option("--task-definition", metavar="FAMILY[:REV]", help="Run this from now on.")
@click.option(
    "--file",
    "task_file",
    type=click.File("rb"),
    metavar="TASK.json",
    help="StartTask's other members from now on: overrides, networkConfiguration, tags …",
)
@click.option(
    "--adopt",
    is_flag=True,
    help="First make running tasks of its family its own, as `blox adopt` does.",
)
@click.option("--supersede", is_flag=True, help="Take the place of a deployment in progress.")
@click.option("--wait", is_flag=True, help="Stay until it has completed or failed.")
@click.option(
    "--timeout",
    type=duration,
    metavar="TIME",
    default="15m",
    show_default=True,
    help="Wait no longer; the deployment goes on.",
)
@shared_options
@pass_session
def deploy(
    session: Session,
    environment: str,
    task_definition: str | None,
    task_file: IO[bytes] | None,
    *,
    adopt: bool,
    supersede: bool,
    wait: bool,
    timeout: float,
) -> int:
    """Bring an environment's hosts to its newest revision, or to what is given here.

    Hosts that run the same content already are not restarted. Exit codes with --wait: 0 completed,
    1 error, 3 failed, 5 timed out.

    \b
    Example:
      blox deploy demo/logs --task-definition fluent-bit:42 --wait
      blox deploy demo/logs --adopt --wait
    """
    client = session.client()
    if wait:
        _check_acting(client)
    found = find_environment(client, environment)
    if not supersede:
        _check_free(found)
    wanted = patched(client, found, task_definition=task_definition, task_file=task_file) or found
    adoption = adopted(client, wanted, {}) if adopt else None
    if adoption is not None and not session.as_json:
        # What becomes of them is decided by the deployment that follows, not by the one in force.
        say_adoption({**wanted, "deployment": None}, adoption)
    query = {"token": wanted["token"], "supersede": "true" if supersede else "false"}
    deployment = client.post(path_in(wanted, "deployments"), query=query)
    if not session.as_json:
        what = definition_name(deployment["taskDefinition"])
        say(
            f"deploying {full_name(wanted)}  revision {deployment['revision']} = {what}   "
            f"deployment {deployment['id']}"
        )
        if wanted["frozen"] is not None:
            say_wrapped(f"  {frozen_line(wanted['frozen'])}")
    if wait:
        return _wait(session, client, wanted, deployment["id"], timeout, adoption=adoption)
    if session.as_json:
        print_json(_with(deployment, adoption))
    else:
        say(f"  next: blox deployments {full_name(wanted)}")
    return 0


def _check_acting(client: Client) -> None:
    if client.get("/v2/status")["mode"] == "observing":
        raise InvalidInput(
            "This scheduler only observes: a deployment would stay pending. Deploy without --wait, "
            "or start the scheduler without --observe."
        )


def _check_free(environment: JsonObject) -> None:
    """Refuse before anything is changed: a revision that cannot be deployed now is not made."""
    deployment = environment["deployment"]
    if deployment is not None and deployment["status"] in ("pending", "running"):
        raise InvalidInput(
            f"Deployment {deployment['id']} of {full_name(environment)} is in progress; wait for "
            "it or supersede it (--supersede). Nothing was changed."
        )


def _wait(
    session: Session,
    client: Client,
    environment: JsonObject,
    deployment_id: str,
    timeout: float,
    *,
    adoption: JsonObject | None,
) -> int:
    """Follow a deployment to its end; the exit code."""
    path = path_in(environment, "deployments", deployment_id)
    began = time.monotonic()
    progress = Changing(silent=session.as_json)
    pause = _FIRST_POLL
    while True:
        deployment = client.get(path)
        waited = time.monotonic() - began
        if deployment["status"] in _OVER:
            progress.end()
            if session.as_json:
                print_json(_with(deployment, adoption))
                return _code(deployment)
            return _told(client, environment, deployment, adoption)
        progress.show(_state_of(deployment), beside=span(waited))
        if waited >= timeout:
            progress.end()
            return _timed_out(session, deployment, waited)
        time.sleep(min(pause, max(0.0, timeout - waited)))
        pause = min(_POLL, pause * 2)


def _with(deployment: JsonObject, adoption: JsonObject | None) -> JsonObject:
    """For programs: the deployment, and what was adopted before, if that was asked."""
    return deployment if adoption is None else {**deployment, "adoption": adoption}


def _code(deployment: JsonObject) -> int:
    """The exit code that says how it ended."""
    return {"completed": 0, "failed": _FAILED}.get(deployment["status"], 1)


def _state_of(deployment: JsonObject) -> str:
    """How far it is, in one line."""
    counts = deployment["counts"]
    state = deployment["status"] if counts is None else wanted_sum(counts)
    return f"  {deployment['status']}: {state}"


def _told(
    client: Client, environment: JsonObject, deployment: JsonObject, adoption: JsonObject | None
) -> int:
    """Say how it ended; the exit code."""
    status = deployment["status"]
    took = span(seconds_between(deployment["createdAt"], deployment["finishedAt"]))
    name, revision = full_name(deployment), deployment["revision"]
    if status == "completed":
        reused = deployment["reused"]
        more = f" · {reused} ran it already" if reused else ""
        if adoption is not None and adoption["adopted"]:
            more += f" · {len(adoption['adopted'])} adopted"
        say(f"{name}  revision {revision}  completed in {took}   {_current(deployment)}{more}")
    elif status == "failed":
        say(f"{name}  revision {revision}  FAILED after {took}   {_current(deployment)}")
        _say_causes(client, environment, deployment)
    else:
        say(
            f"{name}  revision {revision}  {status} after {took}: another deployment took its place"
        )
        say(f"  next: blox deployments {name}")
    return _code(deployment)


def _timed_out(session: Session, deployment: JsonObject, waited: float) -> int:
    if session.as_json:
        print_json(deployment)
        return _TIMED_OUT
    name = full_name(deployment)
    say(f"{name}  still {deployment['status']} after {span(waited)}; it goes on")
    for line in cause_lines(deployment["waiting"]):
        say_wrapped(f"  {line}")
    say(f"  next: blox hosts {name}")
    return _TIMED_OUT


def _current(deployment: JsonObject) -> str:
    counts = deployment["counts"]
    return "" if counts is None else f"{counts['current']} of {counts['wanted']} wanted current"


def _say_causes(client: Client, environment: JsonObject, deployment: JsonObject) -> None:
    """Each cause with its hosts, and what those have in common."""
    name = full_name(deployment)
    concerned = {h["arn"] for cause in deployment["causes"] for h in cause["hosts"]}
    machines = machines_of(client, environment["clusterArn"])
    fine = [machine for arn, machine in machines.items() if arn not in concerned]
    for cause, line in zip(deployment["causes"], cause_lines(deployment["causes"]), strict=True):
        say_wrapped(f"  {line}")
        alike = [machines[h["arn"]] for h in cause["hosts"] if h["arn"] in machines]
        shared = traits_line(shared_traits(alike, fine))
        if shared:
            say_wrapped(f"    they share: {shared}")
    hosts = [host for cause in deployment["causes"] for host in cause["hosts"]]
    if hosts:
        say(f"  next: blox explain {name} {host_name(hosts[0])}   or   blox hosts {name}")


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@shared_options
@pass_session
def deployments(session: Session, environment: str) -> None:
    """List an environment's deployments, newest first.

    \b
    Example:
      blox deployments demo/logs
    """
    client = session.client()
    found = find_environment(client, environment)
    listed = client.every(path_in(found, "deployments"), {"limit": "1000"})
    if session.as_json:
        print_json(listed)
        return
    if not listed:
        say(f"{full_name(found)} was never deployed; next: blox deploy {full_name(found)} --wait")
        return
    print_table(
        ("DEPLOYMENT", "STATUS", "REVISION", "BEGAN", "TOOK", "CAUSE"),
        [_row(deployment) for deployment in listed],
    )


def _row(deployment: JsonObject) -> tuple[object, ...]:
    took = ""
    if deployment["finishedAt"] is not None:
        took = span(seconds_between(deployment["createdAt"], deployment["finishedAt"]))
    running = deployment["status"] in ("pending", "running")
    causes = cause_lines(deployment["waiting"] if running else deployment["causes"])
    more = f" (and {count(len(causes) - 1, 'more cause')})" if len(causes) > 1 else ""
    status = deployment["status"]
    if status == "superseded" and deployment["completedOnce"]:
        status = "superseded, had completed"
    return (
        deployment["id"],
        status,
        f"{deployment['revision']} = {definition_name(deployment['taskDefinition'])}",
        f"{deployment['createdAt'][:19]}Z",
        took,
        plain(causes[0] + more) if causes else "",
    )
