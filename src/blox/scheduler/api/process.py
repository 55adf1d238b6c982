"""What the API tells of the process that it runs in, handed in by who puts the process together."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from blox.http.rejected import RejectedMessage
from blox.scheduler.report import Problem
from blox.settings import Assumptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """Providers are called when somebody asks, on the event loop; none of them may wait."""

    version: str
    began_at: float
    """When this process began, seconds since 1970-01-01 UTC: stories go back no further."""
    ready: Callable[[], str | None] = lambda: None
    """None, or a sentence that says why this process cannot serve."""
    conditions: Callable[[], tuple[Problem, ...]] = tuple
    """What is wrong with the process as a whole: the store, credentials, the queue, the clock.
    They make every deployed environment unhealthy."""
    notes: Callable[[], tuple[str, ...]] = tuple
    """What an operator should know and that makes nothing unhealthy: a sentence each."""
    clusters: Callable[[], Sequence[str]] = tuple
    """ARNs of the clusters that are watched, those without an environment included."""
    credentials_of: Callable[[], str | None] = lambda: None
    """ACCOUNT/REGION by the credentials: told until ECS has told it; None while it is not known."""
    rejected: Callable[[], Sequence[RejectedMessage]] = tuple
    """The queue's last messages that could not be understood, oldest first."""
    environment_created: Callable[[], None] = lambda: None
    """Called after each creation: there may be a first cluster to ask ECS about now."""
    snapshot: Callable[[], Awaitable[bytes]] | None = None
    """A copy of the store's file; None: it has none."""
    assumptions: Callable[[], Assumptions] | None = None
    """What is assumed of ECS now, after the probe; None: what the settings say."""
