"""Why a slot, an environment or the process is as it is: one table for the planner, the API, the
CLI, metrics and documentation.

A reason's code is stable; its sentence is for people and may name what the verdict's details hold.
`who` says who acts next: blox, ECS, or you.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

Actor = Literal["blox", "ECS", "you"]


class Reason(Struct, frozen=True):
    """One row of the table."""

    code: str
    sentence: str
    """May hold {names} that the verdict's details fill."""
    who: Actor
    next_step: str

    @property
    def anchor(self) -> str:
        """Where the documentation tells more."""
        return f"docs/reasons.md#{self.code}"


def _table(*reasons: Reason) -> Mapping[str, Reason]:
    return {reason.code: reason for reason in reasons}


REASONS: Final = _table(
    Reason("current", "one daemon, target revision, healthy", "blox", "nothing to do"),
    Reason("settling", "RUNNING, not yet healthy for long enough", "blox", "looks again shortly"),
    Reason("starting", "the task was started and is {status}", "ECS", "waits for RUNNING"),
    Reason("calling", "a start call is on its way", "blox", "waits for ECS's answer"),
    Reason(
        "in-doubt",
        "a start call got no clear answer ({cause}); it may have happened",
        "blox",
        "looks for the task; starts again once it certainly does not exist",
    ),
    Reason("identifying", "a task that may be ours is being identified", "blox", "describes it"),
    Reason("start", "none here", "blox", "starts one as soon as the pacing allows"),
    Reason("outdated", "runs an older revision", "blox", "replaces it when its turn comes"),
    Reason(
        "outdated-waits",
        "runs an older revision; stops of the process before may still land for {left}",
        "blox",
        "replaces it when its turn comes after that",
    ),
    Reason(
        "outdated-kept",
        "runs an older revision; the newest deployment is {status}",
        "you",
        "deploy again to go on",
    ),
    Reason(
        "outdated-unstartable",
        "runs an older revision; the target cannot start here now: {cause}",
        "you",
        "mend what the cause names",
    ),
    Reason(
        "replace-outdated", "older revision, within the budget", "blox", "stops it, then starts"
    ),
    Reason("replace-unhealthy", "UNHEALTHY twice, 10 s apart", "blox", "replaces it"),
    Reason("replace-slow", "not healthy within its deadline", "blox", "replaces it"),
    Reason("replace-pending", "not RUNNING within its deadline", "blox", "replaces it"),
    Reason("failing-waits", "failing; replaced when back-off and budget allow", "blox", "waits"),
    Reason("stopping", "its stop is under way", "ECS", "waits for STOPPED"),
    Reason(
        "stuck", "STOPPING for far longer than its stop timeout", "you", "look at the host's agent"
    ),
    Reason("surplus", "{count} daemons here; one is kept", "blox", "stops the others"),
    Reason(
        "surplus-waits",
        "{count} daemons here; none is stopped until one is surely RUNNING",
        "blox",
        "looks again",
    ),
    Reason(
        "backoff",
        "died young ({streak} in a row), last: {cause}",
        "blox",
        "starts again at {retry}",
    ),
    Reason(
        "no-room", "{resource}: {asked} asked, {free} free", "you", "make room or shrink the task"
    ),
    Reason("refused", "ECS refused this host: {cause}", "you", "mend what the cause names"),
    Reason("agent-busy", "ECS found the agent disconnected", "ECS", "tries again shortly"),
    Reason(
        "condition",
        "ECS refuses this environment: {cause}",
        "you",
        "mend what the cause names; probed once a minute",
    ),
    Reason("occupied", "{holder} runs this daemon here already", "you", "stop it, or leave it"),
    Reason(
        "service-leaves",
        "its turn has come; {holder} still runs here",
        "ECS",
        "stops that task; then blox starts its own",
    ),
    Reason("unsure", "what the selector asks is not known of this host yet", "blox", "reads it"),
    Reason("unmatched", "the selector does not match this host", "blox", "nothing runs here"),
    Reason("unmatched-stop", "the selector does not match this host", "blox", "stops the daemon"),
    Reason(
        "ineligible", "{cause}", "you", "use a definition that can run here, or exclude the host"
    ),
    Reason(
        "draining-waits", "draining; other tasks still run here", "ECS", "the daemon leaves last"
    ),
    Reason("draining-stop", "draining; {cause}", "blox", "stops the daemon"),
    Reason("draining", "draining; nothing of ours left", "ECS", "nothing to do"),
    Reason("disconnected", "the agent is disconnected", "ECS", "waits for the agent"),
    Reason("away", "the agent has been gone for longer than the grace", "you", "look at the host"),
    Reason("lost", "the agent has been gone for 15 minutes", "you", "terminate or mend the host"),
    Reason("not-ready", "the host is {status}", "ECS", "waits for ACTIVE"),
    Reason("superseded", "an older record of the same machine", "you", "deregister it"),
    Reason("superseded-stop", "an older record of the same machine", "blox", "stops the daemon"),
    Reason("held", "somebody holds this host: {why}", "you", "blox hosts release HOST, or wait"),
    Reason("frozen", "frozen ({scope}): {why}", "you", "blox thaw, or wait until it ends"),
    Reason(
        "stop-held",
        "the selector does not match this host any more; too many at once",
        "you",
        "blox confirm if it is meant, else mend the selector or the attribute",
    ),
    Reason("ending", "the environment is being deleted", "blox", "nothing runs here"),
    Reason("ending-stop", "the environment is being deleted", "blox", "stops the daemon"),
    Reason(
        "yielded",
        "nothing but daemons ran here: ours left, so that ECS can remove the host",
        "ECS",
        "removes the host, or starts a task there, and ours comes back",
    ),
    Reason("yielded-stop", "nothing but daemons runs here", "blox", "stops the daemon"),
    Reason(
        "adopted-unseen",
        "ECS does not show every adopted task since the restart; one may be here",
        "blox",
        "starts when all are shown, or surely gone; at most 5 min after they were started",
    ),
    Reason(
        "past-open",
        "a start of the environment whose records are lost may still arrive",
        "blox",
        "starts once it certainly would have shown",
    ),
    Reason(
        "not-moved",
        "the host is the service's",
        "blox",
        "moves it when its turn comes, if hosts are being moved",
    ),
    Reason("handed-back", "the host has gone back to the service", "ECS", "the service starts one"),
    Reason("handed-back-stop", "the host goes back to the service", "blox", "stops the daemon"),
    Reason("unprimed", "the cluster has not been read completely yet", "blox", "reads it"),
    Reason(
        "view-stale",
        "what the cluster-state-service shows of the cluster is too old",
        "blox",
        "acts again once the service has read the cluster; see the endpoint's condition",
    ),
    Reason("cluster-inactive", "the cluster is not ACTIVE", "you", "create it again, or delete"),
    Reason("not-deployed", "no deployment yet", "you", "create a deployment"),
    Reason("not-served", "the environment belongs to {domain}", "you", "run a scheduler there"),
    Reason(
        "deployment-failed",
        "the deployment of revision {revision} failed: {cause}",
        "you",
        "mend what the cause names, then deploy again",
    ),
    Reason("view", "the cluster cannot be read: {cause}", "you", "mend what the cause names"),
    Reason(
        "store",
        "nothing can be started: {cause}",
        "you",
        "free space on the store's disk, or mend what the sentence names",
    ),
    Reason(
        "credentials",
        "{cause}",
        "you",
        "give this process credentials that AWS accepts; it tries again by itself",
    ),
    Reason(
        "ecs-unreachable",
        "{url}: {cause}",
        "you",
        "mend the network or the endpoint; it tries again by itself",
    ),
    Reason("queue", "{cause}", "you", "mend what the sentence names; it tries again by itself"),
    Reason(
        "state-service",
        "{cause}",
        "you",
        "mend what the sentence names; it tries again by itself, and acts for as long as what it "
        "was shown is not too old",
    ),
)


def sentence(code: str, details: Mapping[str, str]) -> str:
    """The reason in words, its {names} filled from `details` ("?" where one is missing)."""
    return REASONS[code].sentence.format_map(_Filled(details))


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"
