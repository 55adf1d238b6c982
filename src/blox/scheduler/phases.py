"""What a migration's phases say to people: one table for API, CLI and documentation. Pure.

A phase's code is stable. Sentence and next step may hold {names} that the case at hand fills.
"""

from collections.abc import Mapping
from typing import Final

from blox.scheduler.migrations import Phase
from blox.scheduler.reasons import Reason


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def _table(*reasons: Reason) -> Mapping[str, Reason]:
    return {reason.code: reason for reason in reasons}


PHASES: Final = _table(
    Reason("unread", "the cluster has not been read completely yet", "blox", "reads it"),
    Reason(
        "service-unread",
        "ECS does not say how the service is: {cause}",
        "you",
        "allow ecs:DescribeServices, or mend what the cause names; blox asks again once a minute",
    ),
    Reason(
        "not-deployed",
        "the environment is not deployed: nothing would take the service's place",
        "you",
        "blox deploy {place}",
    ),
    Reason(
        "constraint",
        "the service does not have the placement constraint yet; no host is moved before",
        "you",
        "run the update-service command, once",
    ),
    Reason(
        "moving",
        "{busy} on their way, at most {limit} at once",
        "blox",
        "moves the next as these arrive",
    ),
    Reason(
        "service-stays",
        "the service still runs on hosts whose turn came more than 5 minutes ago",
        "you",
        "look at the service's events; go back with --back, or hold those hosts",
    ),
    Reason(
        "failing",
        "daemons fail on hosts that were moved; no further host is moved",
        "you",
        "blox hosts {place} says why; mend it and deploy again, hold the host, or go --back",
    ),
    Reason(
        "refused",
        "ECS refuses to mark hosts: {cause}",
        "you",
        "allow ecs:PutAttributes and ecs:DeleteAttributes, or mend what the cause names; tried "
        "again once a minute",
    ),
    Reason(
        "moved",
        "every host that can be moved has been",
        "you",
        "delete the service; a host that could not be moved has no daemon then",
    ),
    Reason(
        "service-gone",
        "ECS shows no such service any more",
        "blox",
        "takes every host once that is certain",
    ),
    Reason("done", "the environment has every host", "blox", "removes the marks that are left"),
    Reason(
        "giving-back",
        "{busy} on their way back, at most {limit} at once",
        "blox",
        "gives back the next when the service runs on these",
    ),
    Reason(
        "given-back",
        "every host within reach is the service's again",
        "you",
        "blox environments delete {place}, or go on moving hosts",
    ),
    Reason("frozen", "frozen: {why}", "you", "blox thaw, or wait until it ends"),
    Reason(
        "observing",
        "this scheduler only observes: it marks no host",
        "you",
        "start it without --observe",
    ),
    Reason(
        "restarted",
        "the process before ended in the middle; what it sent may still arrive for {left}",
        "blox",
        "goes on after that",
    ),
)


def phase_sentence(phase: Phase, details: Mapping[str, str]) -> str:
    """The phase in words, its {names} filled from `details`."""
    return PHASES[phase].sentence.format_map(_Filled(details))


def phase_step(phase: Phase, details: Mapping[str, str]) -> str:
    """What comes next, in words."""
    return PHASES[phase].next_step.format_map(_Filled(details))
