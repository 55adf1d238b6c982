"""What the command line asks of a daemon-scheduler. Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference
from blox.settings import Settings

_SQLITE: Final = "sqlite:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One daemon-scheduler to be."""

    store: str
    """The SQLite file's path."""
    queue: str | None = None
    """The name or URL of the SQS queue that brings ECS's events; None: sweeps are all there is."""
    clusters: Sequence[str] = ()
    """Names or ARNs of clusters to watch before any environment is there. Restricts nothing."""
    observe: bool = False
    """Judge everything, start and stop nothing."""
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
