"""The entry points of the services: `daemon-scheduler`.

The socket is bound before anything heavy is imported, so that a wrong address is told at once and a
client that comes early waits for the answer instead of being turned away.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from blox import __version__
from blox.cli.service_walls import enter, run_service

if TYPE_CHECKING:
    from blox.settings import Settings

_NAME: Final = "daemon-scheduler"
_EPILOG: Final = """\
\b
Environment:
  AWS_REGION, AWS_PROFILE, AWS_*   region, credentials and endpoints, as the
                                   aws command takes them
  AWS_ENDPOINT_URL_ECS             another ECS (also ECS_ENDPOINT, then
                                   AWS_ENDPOINT_URL; likewise _SQS and _STS)
  DS_LOG_LEVEL                     debug, info (default), warn, error, off
  DS_LOG_FILE                      append the log there, not to stderr
  BLOX_ECS_SIGNATURE_AGE           S: ECS refuses older signatures (300 s)
  BLOX_ECS_ACCEPTANCE_LAG          E: an accepted task exists after (60 s)
  BLOX_ECS_READ_LAG                V: reads show a new task after (300 s)
  BLOX_SIGNATURE_BACKDATE          B: starts and stops are dated back so far
                                   (S - 60 s)
  BLOX_AWAY_AFTER                  an agent gone for so long: away (60 s)
  BLOX_NOT_READY_AFTER             a host without a daemon for so long after it
                                   joined: told not ready (300 s)
  BLOX_NOTIFY_URL                  as --notify-url; several with spaces between
  BLOX_NOTIFY_SECRET               sign webhooks: X-Blox-Signature

\b
Try it without AWS:
  blox simulate serve --hosts 12         in one terminal; it prints what to
                                         export in the other
  daemon-scheduler --store sqlite:blox.db --queue blox-events
  blox environments create demo/logs --task-definition fluent-bit
  blox deploy demo/logs --wait

\b
Signals: SIGTERM and SIGINT finish what is under way and leave within 10 s;
a second one leaves at once. Exit codes: 0 told to leave, 1 could not begin
or is broken, 130 told twice.
"""


@click.command(
    name=_NAME,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:2000",
    show_default=True,
    help="Where the REST API answers. Port 0 takes a free one; the first line of the log names it.",
)
@click.option(
    "--store",
    metavar="sqlite:PATH",
    required=True,
    help="The file that holds what was decided. Made if it is not there, in a folder that is. Back "
    "it up; losing it loses no daemon.",
)
@click.option(
    "--queue",
    metavar="NAME",
    help="An SQS queue (NAME, sqs://NAME or its URL) that an EventBridge rule feeds with ECS's "
    "events. Without it changes are found by reading every 20 s, at 2 reads a second at most.",
)
@click.option(
    "--css-endpoint",
    "css_endpoints",
    metavar="HOST:PORT",
    multiple=True,
    help="Follow this cluster-state-service instead of reading --queue and all of ECS; may be "
    "repeated: when one fails, the next is followed.",
)
@click.option(
    "--cluster",
    "clusters",
    metavar="NAME",
    multiple=True,
    help="Watch this cluster from the start, before any environment is there; may be repeated. "
    "Restricts nothing.",
)
@click.option(
    "--observe",
    is_flag=True,
    help="Start and stop nothing; say what would be done. Read-only permissions are enough.",
)
@click.option(
    "--notify-url",
    "notify_urls",
    metavar="URL",
    multiple=True,
    envvar="BLOX_NOTIFY_URL",
    help="POST a notice there when a host is ready, or is not in time, and when an environment's "
    "health turns; may be repeated.",
)
@click.option(
    "--notify-bus",
    metavar="NAME|ARN",
    help="Put the same notices on this event bus of EventBridge: a launch hook can wait for them.",
)
@click.option(
    "--allow-unauthenticated-network",
    "allow_network",
    is_flag=True,
    help="Let --bind name an address beyond this machine, although whoever reaches it can start "
    "and stop daemons on your hosts: there are no credentials and no TLS.",
)
@click.version_option(__version__, prog_name=_NAME, message="%(prog)s %(version)s")
@click.pass_obj
def command(
    settings: "Settings | None",
    *,
    bind: str,
    store: str,
    queue: str | None,
    css_endpoints: tuple[str, ...],
    clusters: tuple[str, ...],
    observe: bool,
    notify_urls: tuple[str, ...],
    notify_bus: str | None,
    allow_network: bool,
) -> int:
    """Keep exactly one task of each daemon on every host of your Amazon ECS clusters.

    What should run where is told through the REST API, or with the `blox` command.
    """
    from blox.app.plan import Plan, cluster_named, notify_to, state_services, store_path
    from blox.clusterstate.queues import queue_named
    from blox.http.server import bind as bind_socket
    from blox.http.server import parse_address
    from blox.settings import load_assumptions, load_notices, load_settings

    path = store_path(store)
    watched = tuple(cluster_named(cluster) for cluster in clusters)
    followed = state_services(css_endpoints, queue=queue)
    source = None if queue is None else queue_named(queue, streams=False).name
    notify = notify_to(notify_urls, notify_bus, os.environ)
    known = load_settings()
    if settings is not None:
        known = replace(settings, assumptions=load_assumptions(), notices=load_notices())
    listener = bind_socket(parse_address(bind), allow_network=allow_network)

    from blox.app.serving import run

    with listener:
        return run(
            Plan(
                store=path,
                queue=source,
                css_endpoints=followed,
                clusters=watched,
                observe=observe,
                notify=notify,
                settings=known,
            ),
            listener,
        )


def run_command(arguments: Sequence[str], *, settings: "Settings | None" = None) -> int:
    """Run one command line to its end; the exit code.

    `settings`: other values than the defaults, for what neither flags nor the environment say.
    """
    return run_service(command, arguments, name=_NAME, settings=settings)


def daemon_scheduler() -> None:
    """The entry point of the `daemon-scheduler` script."""
    enter(run_command)


if __name__ == "__main__":
    daemon_scheduler()
