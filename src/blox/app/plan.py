"""What the command line asks of a daemon-scheduler. Imports nothing heavy."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference
from blox.settings import Settings

_SQLITE: Final = "sqlite:"
_BUS: Final = re.compile(
    r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:\d{12}:event-bus/)?[./\w-]+", re.ASCII
)
"""https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html"""
NOTIFY_SECRET: Final = "BLOX_NOTIFY_SECRET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who is told what happens to hosts and environments."""

    urls: Sequence[str] = field(default=(), repr=False)
    """Each gets every notice. They may hold passwords."""
    bus: str | None = None
    """The name or ARN of an event bus that gets every notice."""
    secret: str = field(default="", repr=False)
    """What webhooks are signed with; "" signs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One daemon-scheduler to be."""

    store: str
    """The SQLite file's path."""
    queue: str | None = None
    """The name or URL of the SQS queue that brings ECS's events; None: sweeps are all there is."""
    css_endpoints: Sequence[str] = ()
    """HOST:PORT or URLs of cluster-state-services that keep the view instead of this process, in
    the order in which they are tried. None: it reads ECS itself."""
    clusters: Sequence[str] = ()
    """Names or ARNs of clusters to watch before any environment is there. Restricts nothing."""
    observe: bool = False
    """Judge everything, start and stop nothing."""
    notify: Notify = field(default_factory=Notify)
    settings: Settings = field(default_factory=Settings)


def store_path(text: str) -> str:
    """The path in `sqlite:PATH`. Raises InvalidInput for anything else."""
    path = text.removeprefix(_SQLITE)
    if not text.startswith(_SQLITE) or not path or "\0" in path:
        raise InvalidInput(
            f"--store {text!r}: sqlite:PATH is needed, as in sqlite:/var/lib/blox/blox.db."
        )
    if path.startswith("//"):
        raise InvalidInput(
            f"--store {text!r} is a path, not a URL: write sqlite:{path.lstrip('/')} for a path "
            f"relative to this folder, or sqlite:/{path.lstrip('/')} from the root."
        )
    return path


def cluster_named(text: str) -> str:
    """The cluster's name or ARN. Raises InvalidInput for what can be neither."""
    if not is_cluster_reference(text):
        raise InvalidInput(f"--cluster {text!r} is neither a cluster's name nor its ARN.")
    return text


def state_services(endpoints: Sequence[str], *, queue: str | None) -> tuple[str, ...]:
    """The cluster-state-services to follow. Raises InvalidInput for what is no endpoint, and where
    a queue is named too: whoever keeps the view reads it."""
    if endpoints and queue:
        raise InvalidInput(
            "--queue and --css-endpoint exclude each other: give the queue to the "
            "cluster-state-service, which reads it for everybody who follows. Two readers of one "
            "queue take each other's events."
        )
    for endpoint in endpoints:
        problem = _endpoint_problem(endpoint)
        if problem is not None:
            raise InvalidInput(f"--css-endpoint {endpoint!r}: {problem}")
    return tuple(dict.fromkeys(endpoint.rstrip("/") for endpoint in endpoints))


def _endpoint_problem(endpoint: str) -> str | None:
    """Why no service can answer there; None when one can."""
    needed = "HOST:PORT is needed, as in 127.0.0.1:3000."
    if not endpoint.isprintable() or " " in endpoint or "\\" in endpoint:
        return "it has characters that no endpoint has."
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        port = parts.port
    except ValueError:
        return needed
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return needed
    if port is None and "://" not in endpoint:
        return needed
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "an endpoint has no user, query or fragment."
    return None


def notify_to(urls: Sequence[str], bus: str | None, environ: Mapping[str, str]) -> Notify:
    """Who is told, checked. The secret comes from `BLOX_NOTIFY_SECRET`.

    Raises InvalidInput for what is no URL that can be posted to, or no event bus. Nothing of a URL
    is repeated in the error but where it stood in the list: it may hold a password.
    """
    for number, url in enumerate(urls, start=1):
        problem = _url_problem(url)
        if problem is not None:
            which = "" if len(urls) == 1 else f", number {number} of {len(urls)}"
            raise InvalidInput(f"--notify-url{which}: {problem}")
    if bus is not None and (len(bus) > 1600 or not _BUS.fullmatch(bus)):
        raise InvalidInput(f"--notify-bus {bus!r} is neither an event bus's name nor its ARN.")
    return Notify(
        urls=tuple(dict.fromkeys(urls)), bus=bus, secret=environ.get(NOTIFY_SECRET, "").strip()
    )


def _url_problem(url: str) -> str | None:
    """Why notices cannot be posted there; None when they can."""
    if not url.isprintable() or " " in url or "\\" in url:
        return "it has characters that no URL has."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is not a URL."
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "an http or https URL is needed, as in https://hooks.example.com/blox."
    if "@" in parts.netloc:
        return (
            "it holds a user name or a password, and notices are not sent with any. Let the "
            f"receiver check their signature ({NOTIFY_SECRET}), or give it a token in the URL's "
            "path, in BLOX_NOTIFY_URL so that no list of processes shows it."
        )
    if parts.fragment:
        return "it has a part behind a #, which is never sent."
    return None
