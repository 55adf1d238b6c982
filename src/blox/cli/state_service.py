"""The entry point of the `cluster-state-service`.

As with `blox.cli.services`, the socket is bound before anything heavy is imported.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from blox import __version__
from blox.cli.service_walls import enter, run_service

if TYPE_CHECKING:
    from blox.settings import Settings

_NAME: Final = "cluster-state-service"
_EPILOG: Final = """\
\b
Environment:
  AWS_REGION, AWS_PROFILE, AWS_*   region, credentials and endpoints, as the
                                   aws command takes them
  AWS_ENDPOINT_URL_ECS             another ECS (also ECS_ENDPOINT, then
                                   AWS_ENDPOINT_URL; likewise _SQS, _KINESIS
                                   and _STS)
  CSS_LOG_LEVEL                    debug, info (default), warn, error, off
  CSS_LOG_FILE                     append the log there, not to stderr
  BLOX_ECS_READ_LAG                V: reads show a new task after (300 s)

\b
Try it without AWS:
  blox simulate serve --hosts 12 --env-file sim.env     in one terminal; it
                                         makes a queue blox-state, too
  . ./sim.env                            in the other
  cluster-state-service --store sqlite:state.db --queue blox-state
  curl 'localhost:3000/v1/instances?status=active'
  curl -N localhost:3000/v1/stream/tasks
  blox instances                         and blox tasks, blox watch
  daemon-scheduler --store sqlite:blox.db --css-endpoint 127.0.0.1:3000

\b
Signals: SIGTERM and SIGINT store what is known and leave within 10 s; a
second one leaves at once. kill -9 loses nothing that was taken from the
queue. Exit codes: 0 told to leave, 1 could not begin or is broken, 130 told
twice.
"""


@click.command(
    name=_NAME,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:3000",
    show_default=True,
    help="Where the REST API answers. Port 0 takes a free one; the first line of the log names it.",
)
@click.option(
    "--store",
    metavar="sqlite:PATH",
    required=True,
    help="The file that holds a copy of what is known, so that a restart answers at once. Made if "
    "it is not there, in a folder that is. Not the daemon-scheduler's. Losing it loses nothing "
    "that ECS does not tell again, but watchers have to list anew.",
)
@click.option(
    "--queue",
    metavar="NAME|kinesis://NAME",
    help="An SQS queue (name, sqs://name or URL) or a Kinesis stream that an EventBridge rule "
    "feeds with ECS's events; not the daemon-scheduler's queue. Without it changes are found by "
    "reading every 20 s, at 2 reads a second at most.",
)
@click.option(
    "--cluster",
    "clusters",
    metavar="NAME|ARN",
    multiple=True,
    help="Watch this cluster and no other; may be repeated. Without it: every cluster of the "
    "account and region, new ones within a minute, or at once when an event names them.",
)
@click.option(
    "--tags",
    is_flag=True,
    help="Ask ECS for the tags of tasks and container instances, and show them in /v2.",
)
@click.option(
    "--allow-unauthenticated-network",
    "allow_network",
    is_flag=True,
    help="Let --bind name an address beyond this machine, although whoever reaches it can read "
    "all that is known of your clusters: there are no credentials and no TLS.",
)
@click.version_option(__version__, prog_name=_NAME, message="%(prog)s %(version)s")
@click.pass_obj
def command(
    settings: "Settings | None",
    *,
    bind: str,
    store: str,
    queue: str | None,
    clusters: tuple[str, ...],
    tags: bool,
    allow_network: bool,
) -> int:
    """Keep a true, current copy of your Amazon ECS clusters, to list, filter and stream.

    It reads ECS and starts or stops nothing. What it knows is told through its REST API (/v1 as
    blox 0.3 had it, /v2, /openapi.json), with the `blox` command, and to daemon-schedulers.
    """
    from blox.app.plan import cluster_named, store_path
    from blox.app.state_plan import StatePlan
    from blox.clusterstate.queues import queue_named
    from blox.http.server import bind as bind_socket
    from blox.http.server import parse_address
    from blox.settings import load_assumptions, load_settings

    path = store_path(store)
    named = tuple(dict.fromkeys(cluster_named(cluster) for cluster in clusters))
    events = None if queue is None else queue_named(queue)
    known = load_settings()
    if settings is not None:
        known = replace(settings, assumptions=load_assumptions())
    listener = bind_socket(parse_address(bind), allow_network=allow_network, reads_only=True)

    from blox.app.state_serving import run

    with listener:
        return run(
            StatePlan(store=path, queue=events, clusters=named, tags=tags, settings=known),
            listener,
        )


def run_command(arguments: Sequence[str], *, settings: "Settings | None" = None) -> int:
    """Run one command line to its end; the exit code.

    `settings`: other values than the defaults, for what neither flags nor the environment say.
    """
    return run_service(command, arguments, name=_NAME, settings=settings)


def cluster_state_service() -> None:
    """The entry point of the `cluster-state-service` script."""
    enter(run_command)


if __name__ == "__main__":
    cluster_state_service()
