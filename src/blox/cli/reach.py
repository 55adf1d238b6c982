"""`blox logs` and `blox exec`: the aws commands that reach one daemon. Printed, never run.

What is not a command begins with #, so that the output can be pasted, or piped, into a shell.
"""

import shlex
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import parse_arn, short_id
from blox.cli.client import JsonObject
from blox.cli.output import plain, print_json, say
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import definition_name, find_environment, full_name, host_name, path_in

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_SHELL: Final = ("/bin/sh",)
_AWSLOGS: Final = "awslogs"
_PAST: Final = ("STOPPING", "DEPROVISIONING", "STOPPED", "DELETED")


class Target(NamedTuple):
    """One daemon, and what is known of how it runs."""

    environment: JsonObject
    host: JsonObject
    """As the environment sees it."""
    task: str
    """The ARN of its task there, or of the last that is known; "" for none."""
    live: bool
    definition: str
    """The ARN of what it runs, or would."""
    content: JsonObject | None
    """None: its definition is not known here."""
    exec_enabled: bool | None
    """None: not known."""
    region: str


class Reached(NamedTuple):
    """One command, for one container."""

    container: str
    command: list[str]


# --- Logs -----------------------------------------------------------------------------------------


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.argument("host", metavar="HOST")
@click.option("--since", default="1h", show_default=True, metavar="TIME", help="As aws takes it.")
@click.option("--follow", is_flag=True, help="Go on with what comes.")
@click.option("--container", metavar="NAME", help="Only this container's. Default: each one's.")
@shared_options
@pass_session
def logs(
    session: Session,
    environment: str,
    host: str,
    *,
    since: str,
    follow: bool,
    container: str | None,
) -> None:
    """Print the aws command that shows the log of an environment's daemon on a host.

    Nothing is run: the log is CloudWatch's, and your own credentials read it. If the daemon is
    gone, it is the last one's. Where its definition's log options are not known, the commands that
    find them are printed.

    \b
    Example:
      blox logs demo/logs i-0a9b8c7d6e5f40312
      blox logs demo/logs i-0a9b8c7d6e5f40312 --since 10m --follow | sh
    """
    target = _find(session, environment, host)
    containers = _containers(target, container)
    reached, remarks = [], _about(target)
    for one in containers:
        command, remark = _tail(target, one, since=since, follow=follow)
        if remark:
            remarks.append(remark)
        if command:
            reached.append(Reached(one["name"], command))
    if not reached:
        reached = _how_to_find(target, container or "CONTAINER", since=since)
        remarks.append("no container is known to log to CloudWatch; what its definition says, and")
        remarks.append("the log if the driver is awslogs (put in GROUP, PREFIX and CONTAINER):")
    _show(session, reached, remarks)


def _tail(
    target: Target, container: JsonObject, *, since: str, follow: bool
) -> tuple[list[str], str]:
    """The command, if the container logs to CloudWatch; and what is to be said of it."""
    name, driver, group = container["name"], container["logDriver"], container["logGroup"]
    if driver != _AWSLOGS or not group:
        told = (
            f"logs with the driver {driver}, not to CloudWatch"
            if driver
            else ("its definition names no log driver, or was read before blox kept it")
        )
        return [], f"container {name}: {told}"
    command = ["aws", "logs", "tail", group]
    remark = ""
    if container["logStreamPrefix"] and target.task:
        stream = f"{container['logStreamPrefix']}/{name}/{short_id(target.task)}"
        command += ["--log-stream-names", stream]
    elif container["logStreamPrefix"]:
        command += ["--log-stream-name-prefix", f"{container['logStreamPrefix']}/{name}/"]
        remark = f"container {name}: no task is known here, so this is of every host"
    else:
        remark = (
            f"container {name}: without awslogs-stream-prefix this is every stream of the group"
        )
    command += ["--since", since]
    command += ["--follow"] if follow else []
    return [*command, "--region", container["logRegion"] or target.region], remark


def _how_to_find(target: Target, container: str, *, since: str) -> list[Reached]:
    query = "taskDefinition.containerDefinitions[].[name,logConfiguration]"
    task = short_id(target.task) if target.task else "TASK"
    find = ["aws", "ecs", "describe-task-definition", "--task-definition", target.definition]
    tail = ["aws", "logs", "tail", "GROUP", "--log-stream-names", f"PREFIX/{container}/{task}"]
    return [
        Reached("", [*find, "--query", query, "--region", target.region]),
        Reached("", [*tail, "--since", since, "--region", target.region]),
    ]


# --- Exec -----------------------------------------------------------------------------------------


@click.command("exec", context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.argument("host", metavar="HOST")
@click.argument("words", metavar="[-- COMMAND…]", nargs=-1, type=click.UNPROCESSED)
@click.option("--container", metavar="NAME", help="Default: the first essential one.")
@shared_options
@pass_session
def exec_(
    session: Session, environment: str, host: str, words: tuple[str, ...], *, container: str | None
) -> None:
    """Print the aws command that opens a shell, or runs COMMAND, in a daemon's container.

    Nothing is run: it is ECS Exec with your own credentials and the Session Manager plugin. Where
    ECS Exec was not enabled when the task was started, it is a session on the host, and what to
    type there.

    \b
    Example:
      blox exec demo/logs i-0a9b8c7d6e5f40312
      blox exec demo/logs i-0a9b8c7d6e5f40312 -- tail -n 20 /var/log/agent.log
    """
    target = _find(session, environment, host)
    if not target.task or not target.live:
        raise NotFound(
            f"No task of {full_name(target.environment)} runs on {host_name(target.host)}: "
            f"{target.host['sentence']}. Its log: blox logs {full_name(target.environment)} "
            f"{host_name(target.host)}"
        )
    found = _containers(target, container)
    name = container or next(
        (c["name"] for c in found if c["essential"]), found[0]["name"] if found else "CONTAINER"
    )
    command = shlex.join(words or _SHELL)
    remarks = _about(target)
    if not found:
        remarks.append("its definition is not known here: put in the container's name")
    execute = Reached(name, _execute(target, name, command))
    if target.exec_enabled:
        _show(session, [execute], remarks, more={"execEnabled": True})
        return
    session_, on_host = _on_the_host(target, name, words or _SHELL)
    if target.exec_enabled is None:
        remarks.append(
            "whether ECS Exec was enabled is not known: somebody else started this task."
        )
        remarks.append(f"If it was: {shlex.join(execute.command)}")
    else:
        remarks.append("ECS Exec was not enabled when this task was started. For the next: put")
        remarks.append('"enableExecuteCommand": true into the task file, and deploy.')
    remarks.append("on the host (it needs the SSM agent and its role), type then:")
    remarks.append(f"  {on_host}")
    _show(session, [session_], remarks, more={"execEnabled": target.exec_enabled})


def _execute(target: Target, container: str, command: str) -> list[str]:
    return [
        "aws",
        "ecs",
        "execute-command",
        "--cluster",
        target.environment["cluster"],
        "--task",
        short_id(target.task),
        "--container",
        container,
        "--interactive",
        "--command",
        command,
        "--region",
        target.region,
    ]


def _on_the_host(target: Target, container: str, words: Sequence[str]) -> tuple[Reached, str]:
    """A session on the host, and the command that enters the container there. The labels are the
    ECS agent's: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
    """
    machine = target.host["instanceId"]
    if not machine:
        raise NotFound(f"The host {target.host['arn']} has no instance id to open a session on.")
    start = ["aws", "ssm", "start-session", "--target", machine, "--region", target.region]
    find = shlex.join(
        [
            "sudo",
            "docker",
            "ps",
            "-q",
            "--filter",
            f"label=com.amazonaws.ecs.task-arn={target.task}",
            "--filter",
            f"label=com.amazonaws.ecs.container-name={container}",
        ]
    )
    return Reached(container, start), f'sudo docker exec -it "$({find})" {shlex.join(words)}'


# --- What both need -------------------------------------------------------------------------------


def _find(session: Session, reference: str, host: str) -> Target:
    client = session.client()
    environment = find_environment(client, reference)
    told = client.get(path_in(environment, "hosts", host))
    contents = client.get(path_in(environment, "contents"))["items"]
    task = told["task"]
    definition, deployment = "", environment["deployment"]
    if deployment is not None:
        definition = deployment["taskDefinition"]
    known = task["arn"] if task else _last_task(told)
    started_by = "" if task is None else task["startedBy"]
    if task is not None:
        definition = task["definition"]
    definition = definition or environment["revision"]["taskDefinition"]
    ours = [item for item in contents if started_by and started_by in item["deployments"]]
    alike = [item for item in contents if item["taskDefinition"] == definition]
    content = next(iter([*ours, *reversed(alike)]), None)
    arn = parse_arn(environment["clusterArn"])
    return Target(
        environment=environment,
        host=told,
        task=known,
        live=task is not None and task["status"] not in _PAST,
        definition=definition,
        content=content,
        exec_enabled=ours[0]["executeCommand"] if ours else None,
        region="" if arn is None else arn.region,
    )


def _last_task(told: JsonObject) -> str:
    """The last task that the story names."""
    named = [told["details"].get("task")]
    named += [entry["details"].get("task") for entry in reversed(told["story"])]
    return next((str(arn) for arn in named if arn), "")


def _containers(target: Target, wanted: str | None) -> list[JsonObject]:
    """The containers that are meant. Raises InvalidInput for one that the definition has not."""
    known = [] if target.content is None else list(target.content["containers"])
    if wanted is None or not known:
        return known
    found = [container for container in known if container["name"] == wanted]
    if not found:
        names = ", ".join(container["name"] for container in known)
        raise InvalidInput(
            f"{definition_name(target.definition)} has no container {wanted!r}; it has {names}."
        )
    return found


def _about(target: Target) -> list[str]:
    """Which task it is about."""
    what = definition_name(target.definition)
    where = f"{full_name(target.environment)} on {host_name(target.host)}"
    if not target.task:
        return [f"{where}: no task, {target.host['sentence']}"]
    state = "" if target.live else ", which is gone or on its way out"
    return [f"{where}: task {short_id(target.task)}, {what}{state}"]


def _show(
    session: Session,
    reached: Sequence[Reached],
    remarks: Sequence[str],
    *,
    more: JsonObject | None = None,
) -> None:
    """Print them. `more`: further members of the JSON."""
    if session.as_json:
        commands = [{"container": one.container or None, "command": one.command} for one in reached]
        print_json({"commands": commands, "remarks": list(remarks), **(more or {})})
        return
    for remark in remarks:
        say(plain(f"# {remark}"))
    for one in reached:
        say(plain(shlex.join(one.command)))
