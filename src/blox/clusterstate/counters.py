"""Plain counts of what the view and its sources did since the process started."""

from msgspec import Struct


class Counters(Struct):
    """Read by whoever exports them. All count up, except `queue_lag`."""

    events_applied: int = 0
    """They told something new."""
    events_known: int = 0
    """Duplicates, and accounts older than what the view had."""
    events_too_old: int = 0
    """About an ARN that the view does not hold, from before the last sweep (R7)."""
    events_ignored: int = 0
    """Well-formed, of another type or about a cluster that is not watched."""
    messages_rejected: int = 0
    """Not understood: kept for people to see, and removed from the queue."""
    deletes_failed: int = 0
    """Calls that should have removed messages and did not, or not all: these come again."""
    queue_failures: int = 0
    """Receives that failed."""
    queue_lag: float = 0.0
    """Seconds from the time in the last event to its receipt."""
    sweeps_completed: int = 0
    sweeps_failed: int = 0
    looks_completed: int = 0
    looks_failed: int = 0
    reads_retried: int = 0
    tasks_absent: int = 0
    """Live tasks that left the view because a read proved them gone (R6)."""
    hosts_absent: int = 0
