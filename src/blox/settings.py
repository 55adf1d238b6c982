"""Every number that blox can be told, in one tree of frozen values.

Each field says what it is, its unit, its default and why. `docs/operating.md` repeats the table.
Loading (file, then environment, then flags) is `load_settings` here and the flags in `blox.cli`.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from blox.base.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What must hold of ECS for "never two" to hold. Seconds."""

    signature_age: float = 300.0
    """S: ECS refuses a request whose signature is older. `BLOX_ECS_SIGNATURE_AGE`."""
    acceptance_lag: float = 60.0
    """E: a task's record exists at most this long after its request was accepted.
    `BLOX_ECS_ACCEPTANCE_LAG`."""
    read_lag: float = 300.0
    """V: a read begun this long after a task was created shows it. AWS advises polling for up to
    five minutes. `BLOX_ECS_READ_LAG`."""
    backdate: float | None = None
    """B: how far StartTask and StopTask are dated back, so that they live only S - B at ECS.
    None: S - 60, or 0 if S is below 60. `BLOX_SIGNATURE_BACKDATE`."""

    def __post_init__(self) -> None:
        if not 0 <= self.dated_back < self.signature_age:
            raise InvalidInput(
                f"BLOX_SIGNATURE_BACKDATE ({self.dated_back:g} s) must be at least 0 and below "
                f"BLOX_ECS_SIGNATURE_AGE ({self.signature_age:g} s)."
            )
        if self.acceptance_lag < 0 or self.read_lag < 0:
            raise InvalidInput(
                "BLOX_ECS_ACCEPTANCE_LAG and BLOX_ECS_READ_LAG must not be negative."
            )

    @property
    def dated_back(self) -> float:
        """B."""
        return max(0.0, self.signature_age - 60.0) if self.backdate is None else self.backdate

    @property
    def request_life(self) -> float:
        """S' = S - B: how long after its signature an acting request can still be accepted."""
        return self.signature_age - self.dated_back

    @property
    def doubt_window(self) -> float:
        """W = S' + E + V: a complete look begun later than this after the signature decides."""
        return self.request_life + self.acceptance_lag + self.read_lag


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSettings:
    """How the view is kept. Seconds."""

    sweep_interval_with_queue: float = 60.0
    """Sweeps are the backstop when events flow."""
    sweep_interval_without_queue: float = 20.0
    """Sweeps are all there is; never more often than twice the time that a sweep takes."""
    stopped_kept: float = 3600.0
    """How long a stopped task stays in the view: as long as ECS shows it. Never less than the sweep
    interval + 2 V."""
    unhealthy_confirmation: float = 10.0
    """UNHEALTHY acts only when two describes this far apart agree (R15)."""
    health_poll: float = 5.0
    """How often tasks with a health check that are not yet healthy are described."""
    missed_events_alarm: float = 0.05
    """Share of changes that only a sweep found, above which somebody else eats the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingSettings:
    """Shares of the account's published request quotas that blox may use (0 to 1)."""

    repair_share: float = 0.8
    """Starts where nothing runs, surplus and drain stops."""
    rollout_share: float = 0.4
    """Replacements: their stops and starts."""
    read_share: float = 0.5
    state_read_share: float = 0.4
    """Reads of a cluster-state-service, which keeps the view of others."""
    follower_read_share: float = 0.1
    """Reads of a scheduler whose view a cluster-state-service keeps: together they are what one
    process would read."""
    read_rate_without_queue: float = 2.0
    """Reads a second when sweeps are all there is."""
    rates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Quotas raised by AWS Support: category → (burst, refill a second)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """When the scheduler waits, gives up and looks again. Seconds."""

    healthy_after: float = 10.0
    """RUNNING for so long is healthy, where the definition has no health check."""
    pending_deadline: float = 300.0
    """A daemon that is not RUNNING after so long is replaced. Below the progress deadline."""
    healthy_deadline: float = 300.0
    """A daemon with a health check that is not HEALTHY so long after RUNNING is failing."""
    away_after: float = 60.0
    """Agent disconnected for so long: the host is away. Agents flap for seconds all day long.
    `BLOX_AWAY_AFTER`."""
    lost_after: float = 900.0
    drain_deadline: float = 900.0
    """A draining host's daemon is stopped after so long even if others still run there."""
    progress_deadline: float = 600.0
    """A deployment without progress for so long is failed. Default of each environment's policy."""
    agent_wait: float = 30.0
    """Longest wait before a host that refused for AGENT is tried again."""
    resource_wait: float = 300.0
    attribute_wait: float = 900.0
    condition_probe: float = 60.0
    """How often an environment that ECS refuses as a whole is tried again."""
    backoff_max: float = 300.0
    """Longest delay of a daemon that dies young; delays double from 1 s."""
    stop_stuck_after: float = 300.0
    """Beyond stopTimeout: a stop that takes longer is called stuck."""
    recount_interval: float = 0.25
    """At most one recount of an environment in this time."""
    look_shared_for: float = 5.0
    """One look serves every stop sent this long after its begin."""
    doubt_looks: tuple[float, ...] = (2.0, 5.0, 15.0, 60.0)
    """When to look after a doubt began; then every last value, and at W."""
    breaker_probes: tuple[float, ...] = (2.0, 4.0, 8.0, 15.0)
    call_timeout: float = 60.0
    """A StartTask or StopTask without an answer for so long is in doubt."""
    intent_cleanup: float = 60.0
    """An answered intent that no later transaction took along is deleted after so long."""
    max_unsent_intents: int = 4
    deployments_kept: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.away_after <= self.lost_after:
            raise InvalidInput(
                f"BLOX_AWAY_AFTER ({self.away_after:g} s) must be above 0 and at most "
                f"{self.lost_after:g} s, after which a host is lost."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSettings:
    """When others are told, and what waits for them. Seconds."""

    not_ready_after: float = 300.0
    """A host without one of its daemons so long after it joined is told not ready. The first image
    pull of a large agent takes a minute or two. `BLOX_NOT_READY_AFTER`."""
    unhealthy_for: float = 10.0
    """An environment must be unhealthy for so long to be told: one read that fails is no news."""
    healthy_for: float = 60.0
    """… and healthy for so long: a daemon that crashes again and again looks well in between."""
    queue_limit: int = 1000
    """Notices that wait for one receiver; the oldest go first."""
    kept_for: float = 86_400.0
    """A notice that was not taken for so long is given up."""

    def __post_init__(self) -> None:
        if self.not_ready_after <= 0:
            raise InvalidInput(
                f"BLOX_NOT_READY_AFTER ({self.not_ready_after:g} s) must be above 0."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it."""

    assumptions: Assumptions = field(default_factory=Assumptions)
    view: ViewSettings = field(default_factory=ViewSettings)
    pacing: PacingSettings = field(default_factory=PacingSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    notices: NoticeSettings = field(default_factory=NoticeSettings)


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Everything that the environment can say. Raises InvalidInput for what makes no sense."""
    given = _numbers({"away_after": "BLOX_AWAY_AFTER"}, environ)
    away_after = given.get("away_after", SchedulerSettings().away_after)
    return Settings(
        assumptions=load_assumptions(environ),
        scheduler=SchedulerSettings(away_after=away_after),
        notices=load_notices(environ),
    )


def load_notices(environ: Mapping[str, str] = os.environ) -> NoticeSettings:
    """When a host is told not ready. Raises InvalidInput for what is not a number above 0."""
    given = _numbers({"not_ready_after": "BLOX_NOT_READY_AFTER"}, environ)
    return NoticeSettings(
        not_ready_after=given.get("not_ready_after", NoticeSettings().not_ready_after)
    )


def load_assumptions(environ: Mapping[str, str] = os.environ) -> Assumptions:
    """S, E, V and B from the environment. Raises InvalidInput for what is not a number."""
    names = {
        "signature_age": "BLOX_ECS_SIGNATURE_AGE",
        "acceptance_lag": "BLOX_ECS_ACCEPTANCE_LAG",
        "read_lag": "BLOX_ECS_READ_LAG",
        "backdate": "BLOX_SIGNATURE_BACKDATE",
    }
    return Assumptions(**_numbers(names, environ))


def _numbers(names: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, float]:
    """Field → number of seconds, of those whose variable is set."""
    given: dict[str, float] = {}
    for name, variable in names.items():
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            given[name] = float(text)
        except ValueError:
            given[name] = math.nan
        if not math.isfinite(given[name]):
            raise InvalidInput(f"{variable} is {text!r}: a number of seconds is needed.")
    return given
