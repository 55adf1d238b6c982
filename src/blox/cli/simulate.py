"""`blox simulate`: serve a simulated AWS on loopback, and pull its levers from another terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from blox.cli.simulate_account import events, image, providers, rule, services
from blox.cli.simulate_shared import Command, print_json, simulator_option
from blox.cli.simulate_trouble import allow, deny, faults
from blox.cli.simulator_client import JsonObject, Simulator


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def simulate() -> None:
    """Run a simulated ECS, with the SQS, EventBridge and the like around it, to try things on.

    It speaks the real protocols, so boto3, the aws command and blox itself work against it. Real
    time is its time: tasks take seconds to start, DAEMON services place theirs by themselves,
    events arrive in a queue.

    \b
    In one terminal:
      blox simulate serve --hosts 12
    In another, after pasting the exports that it prints:
      aws ecs list-container-instances --cluster demo
      blox simulate hosts add 3 --cluster demo
      blox simulate daemons crash-loop fluent-bit --after 2
      blox simulate services create logs fluent-bit
      blox simulate deny ecs:StartTask
      blox simulate state
    """


# --- Serving --------------------------------------------------------------------------------------


@simulate.command()
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:4566",
    show_default=True,
    help="A loopback address; port 0 takes a free one.",
)
@click.option(
    "--cluster",
    "clusters",
    metavar="NAME",
    multiple=True,
    default=("demo",),
    show_default=True,
    help="A cluster to begin with. May be repeated.",
)
@click.option(
    "--hosts",
    metavar="N",
    type=click.IntRange(0, 20_000),
    default=3,
    show_default=True,
    help="Hosts in each of them.",
)
@click.option(
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    default=("blox-events", "blox-state"),
    show_default=True,
    help="An SQS queue for all ECS events; may be repeated. By default one for a "
    "daemon-scheduler and one for a cluster-state-service.",
)
@click.option(
    "--stream",
    "streams",
    metavar="NAME",
    multiple=True,
    help="A Kinesis stream of two shards for all ECS events. May be repeated.",
)
@click.option(
    "--quotas/--no-quotas",
    default=False,
    show_default=True,
    help="Throttle as ECS's published quotas do.",
)
@click.option(
    "--read-lag",
    metavar="S",
    type=click.FloatRange(0),
    default=None,
    help="Reads show new tasks and hosts up to so many seconds late.",
)
@click.option(
    "--signature-age",
    metavar="S",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="Older signatures are refused.",
)
@click.option(
    "--acceptance-lag",
    metavar="S",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="A fault may delay an accepted call so long.",
)
@click.option(
    "--service-delay",
    metavar="S",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    help="DAEMON services see a change on a host up to so many seconds late.",
)
@click.option(
    "--clock-ahead",
    metavar="S",
    type=float,
    default=0.0,
    show_default=True,
    help="How far ECS's clock is ahead of this machine's.",
)
@click.option(
    "--access-key",
    metavar="KEY",
    default="simulator",
    show_default=True,
    help="The access key that it prints.",
)
@click.option(
    "--secret",
    metavar="KEY",
    default=None,
    help="Verify every signature with this secret key. [default: only form and age]",
)
@click.option("--region", metavar="REGION", default="us-east-1", show_default=True)
@click.option("--account", metavar="ID", default="111122223333", show_default=True)
@click.option(
    "--role",
    metavar="NAME",
    default="",
    help="Who calls is a session of this role, as on a host. [default: an IAM user]",
)
@click.option(
    "--seed",
    metavar="TEXT",
    default="0",
    show_default=True,
    help="Decides all that chance decides.",
)
@click.option(
    "--env-file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    default=None,
    help="Also write the exports into this file, once it listens.",
)
def serve(**options: Any) -> None:
    """Serve a simulated AWS until Ctrl-C.

    It begins with the clusters and hosts asked for, and with task definitions to start at once:
    fluent-bit:1, node-exporter:1, vector:1, sleep:1.

    \b
    Example: twelve hosts, quotas enforced, any free port
      blox simulate serve --bind 127.0.0.1:0 --hosts 12 --quotas
    Example: the events in a Kinesis stream as well, for `--queue kinesis://ecs-events`
      blox simulate serve --stream ecs-events
    """
    from blox.cli.simulate_serve import Plan, run

    run(Plan(**options))


# --- Looking --------------------------------------------------------------------------------------


@simulate.command()
@simulator_option
@click.option("--cluster", metavar="NAME", default=None, help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def state(simulator: Simulator, cluster: str | None, *, as_json: bool) -> None:
    """Show the truth: hosts, their live tasks, queues; not what lagging reads show."""
    found = simulator.get("state", {"cluster": cluster} if cluster else None)
    if as_json:
        print_json(found)
        return
    from blox.cli.output import count, print_table

    for name, one in found["clusters"].items():
        hosts = one["hosts"]
        tasks = sum(len(host["tasks"]) for host in hosts)
        click.echo(f"{name}  {one['status']}  {count(len(hosts), 'host')}  {count(tasks, 'task')}")
        for service in one["services"]:
            click.echo(f"service {_service_line(service)}")
        if any(host["capacityProvider"] for host in hosts):
            head: tuple[str, ...] = ("HOST", "STATUS", "AGENT", "PROVIDER", "TASKS")
            print_table(head, [_host_row(host, provider=True) for host in hosts])
        else:
            print_table(("HOST", "STATUS", "AGENT", "TASKS"), [_host_row(host) for host in hosts])
    for name, queue in found["queues"].items():
        events = "receives events" if queue["receivesEvents"] else "no events"
        click.echo(
            f"queue {name}  {queue['visible']} visible  {queue['inFlight']} in flight  {events}"
        )
    for name, stream in found["streams"].items():
        events = "receives events" if stream["receivesEvents"] else "no events"
        shards = count(stream["shards"], "open shard")
        click.echo(f"stream {name}  {shards}  {count(stream['records'], 'record')}  {events}")
    if found["rule"] != "ENABLED":
        click.echo(f"the EventBridge rule is {found['rule']}: no event reaches a queue or stream")
    if found["denied"]:
        click.echo(f"denied  {', '.join(found['denied'])}")
    calls = sum(found["calls"].values())
    click.echo(f"{count(calls, 'call')}  {found['throttled']} throttled")


def _service_line(service: JsonObject) -> str:
    parts = [service["serviceName"], service["schedulingStrategy"], service["status"]]
    parts += [service["taskDefinition"].rsplit("/", 1)[-1] or "places nothing"]
    return "  ".join(parts + [f"if {text}" for text in service["constraints"] if text])


def _host_row(host: JsonObject, *, provider: bool = False) -> Sequence[object]:
    agent = "connected" if host["agentConnected"] else "away"
    row = [host["instanceId"], host["status"], agent if host["alive"] else "terminated"]
    if provider:
        idle = " (could scale in)" if host["couldScaleIn"] else ""
        row.append(host["capacityProvider"] + idle)
    tasks = ", ".join(f"{task['family']} {task['lastStatus']}" for task in host["tasks"])
    return [*row, tasks]


@simulate.command()
@simulator_option
@click.option(
    "--since",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The first entry to show, counted from 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def log(simulator: Simulator, since: int, *, as_json: bool) -> None:
    """List the calls that changed things, or tried to, as ECS saw them."""
    entries: list[JsonObject] = []
    while True:
        page = simulator.get("log", {"since": str(since + len(entries))})
        entries += page["calls"]
        if since + len(entries) >= page["total"] or not page["calls"]:
            break
    if as_json:
        print_json(entries)
        return
    from blox.cli.output import clock_time, print_table, short

    print_table(
        ("N", "TIME", "OPERATION", "CALLER", "OUTCOME", "STARTED", "FAILED", "REQUEST"),
        [
            (
                one["index"],
                clock_time(one["time"]),
                one["operation"],
                one["caller"],
                one["outcome"],
                len(one["made"]),
                len(one["failed"]),
                short(one["requestId"]),
            )
            for one in entries
        ],
    )


# --- Hosts ----------------------------------------------------------------------------------------


@simulate.group()
def hosts() -> None:
    """Let hosts join, drain, lose their agent, go.

    Hosts are named by machine id (i-…), container instance id or ARN: see `blox simulate state`.
    """


@hosts.command("add")
@click.argument("count", type=click.IntRange(1, 10_000), default=1)
@click.option("--cluster", metavar="NAME", default="demo", show_default=True)
@click.option("--arch", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True)
@click.option("--cpu", metavar="UNITS", type=click.IntRange(1), default=4096, show_default=True)
@click.option("--memory", metavar="MIB", type=click.IntRange(1), default=8192, show_default=True)
@click.option("--external", is_flag=True, help="ECS Anywhere hosts.")
@click.option("--attribute", "attributes", metavar="NAME=VALUE", multiple=True)
@click.option("--zone", metavar="ZONE", default=None, help="An availability zone. [default: any]")
@click.option(
    "--capacity-provider",
    metavar="NAME",
    default="",
    help="The capacity provider that they come from: see `blox simulate providers`.",
)
@simulator_option
def add(simulator: Simulator, attributes: tuple[str, ...], **given: Any) -> None:
    """Let COUNT more hosts register.

    \b
    Example: two hosts of another AMI, from a capacity provider
      blox simulate providers add asg
      blox simulate hosts add 2 --capacity-provider asg --attribute ecs.ami-id=ami-0123
    """
    pairs = dict(_pair(text) for text in attributes)
    for arn in simulator.post("hosts", {**given, "attributes": pairs})["hosts"]:
        click.echo(arn)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.")
    return name, value


_HOST_ACTIONS: Final = {
    "drain": "Set hosts DRAINING.",
    "activate": "Set draining hosts ACTIVE again.",
    "disconnect": "Take the agents of hosts away; tasks go on running.",
    "connect": "Let the agents of hosts come back.",
    "duplicate": "Let machines register anew, beside their old records.",
}


def _host_command(action: str, text: str) -> None:
    @hosts.command(action, help=text)
    @click.argument("names", metavar="HOST...", nargs=-1, required=True)
    @simulator_option
    def act(simulator: Simulator, names: tuple[str, ...]) -> None:
        for arn in simulator.post(f"hosts/{action}", {"hosts": names})["hosts"]:
            click.echo(arn)


for _name, _text in _HOST_ACTIONS.items():
    _host_command(_name, _text)


@hosts.command("terminate")
@click.argument("names", metavar="HOST...", nargs=-1, required=True)
@click.option(
    "--agent-away",
    is_flag=True,
    help="ECS never notices: ACTIVE, disconnected, tasks RUNNING for ever.",
)
@simulator_option
def terminate(simulator: Simulator, names: tuple[str, ...], *, agent_away: bool) -> None:
    """Let machines go for good."""
    body = {"hosts": names, "agent_connected": not agent_away}
    for arn in simulator.post("hosts/terminate", body)["hosts"]:
        click.echo(arn)


# --- Daemons --------------------------------------------------------------------------------------


@simulate.group()
def daemons() -> None:
    """Let tasks die, once or again and again, or fail their health check."""


def _choose_tasks(command: Command) -> Command:
    family = click.option("--family", metavar="NAME", help="Every live task of this family.")
    host = click.option("--host", metavar="HOST", help="Only those on this host.")
    tasks = click.argument("tasks", metavar="[TASK]...", nargs=-1)
    return simulator_option(tasks(family(host(command))))


def _act_on_tasks(simulator: Simulator, what: str, body: Mapping[str, object]) -> None:
    given = {name: value for name, value in body.items() if value not in (None, ())}
    for arn in simulator.post(what, given)["tasks"]:
        click.echo(arn)


@daemons.command("kill")
@_choose_tasks
@click.option("--exit-code", metavar="N", type=click.IntRange(0, 255), default=1, show_default=True)
def kill(simulator: Simulator, **given: Any) -> None:
    """Let containers exit: of the TASKs named, or of a family, or on a host.

    \b
    Example: one fluent-bit dies
      blox simulate daemons kill --family fluent-bit --host i-0123456789abcdef0
    """
    _act_on_tasks(simulator, "tasks/kill", given)


@daemons.command("unhealthy")
@_choose_tasks
@click.option(
    "--health", type=click.Choice(["UNHEALTHY", "HEALTHY"]), default="UNHEALTHY", show_default=True
)
def unhealthy(simulator: Simulator, **given: Any) -> None:
    """Let health checks fail, or pass again."""
    _act_on_tasks(simulator, "tasks/health", given)


@daemons.command("crash-loop")
@click.argument("target", metavar="FAMILY|HOST")
@click.option(
    "--after",
    metavar="S",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Seconds that each task runs.",
)
@click.option("--end", is_flag=True, help="No more.")
@simulator_option
def crash_loop(simulator: Simulator, target: str, after: float, *, end: bool) -> None:
    """Let every task of a family, or on a host, started from now on die young.

    \b
    Example:
      blox simulate daemons crash-loop fluent-bit --after 2
      blox simulate daemons crash-loop fluent-bit --end
    """
    simulator.post("crash-loop", {"target": target, "seconds": None if end else after})
    click.echo(f"{target}: {'no more' if end else f'every new task dies after {after:g} s'}")


@daemons.command("foreign")
@click.argument("family")
@click.argument("host")
@click.option("--cluster", metavar="NAME", default="demo", show_default=True)
@click.option("--service", metavar="NAME", default=None, help="As a task of this service.")
@simulator_option
def foreign(simulator: Simulator, **given: Any) -> None:
    """Let somebody else start a task of FAMILY on HOST."""
    click.echo(simulator.post("tasks/foreign", given)["task"])


for _command in (deny, allow, faults, services, providers, image, rule, events):
    simulate.add_command(_command)
