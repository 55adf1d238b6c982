"""What some hosts have in common that the others have not: the first question about a failure.

Works for any set of hosts: those without a daemon, those that failed the same way.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from blox.ecs.model import Host

_MOST: Final = 0.75
"""A trait of so many of the hosts is worth telling, if it is rare among the others."""
_RARE: Final = 0.1
_ENOUGH: Final = 4
"""Hosts from which on "most of them" means anything."""


class Trait(Struct, frozen=True, kw_only=True):
    """One thing that hosts may have in common, and how many do."""

    name: str
    """`ami`, `capacityProvider`, `type`, `zone`, `architecture`, `os`, `agent` or `external`."""
    value: str
    hosts: int
    """How many of the hosts in question have it."""
    of: int
    """How many hosts are in question."""
    others: int
    """How many of the others have it."""
    of_others: int

    @property
    def only_here(self) -> bool:
        """All in question have it and none of the others."""
        return self.hosts == self.of and self.others == 0


def _attribute(name: str) -> Callable[[Host], str]:
    return lambda host: host.attributes.get(name, "")


TRAITS: Final[tuple[tuple[str, Callable[[Host], str]], ...]] = (
    ("ami", _attribute("ecs.ami-id")),
    ("architecture", _attribute("ecs.cpu-architecture")),
    ("capacityProvider", lambda host: host.capacity_provider),
    ("type", _attribute("ecs.instance-type")),
    ("zone", _attribute("ecs.availability-zone")),
    (
        "os",
        lambda host: host.attributes.get("ecs.os-family", host.attributes.get("ecs.os-type", "")),
    ),
    ("agent", lambda host: host.agent_version),
    ("external", lambda host: "yes" if host.external else ""),
)
"""The traits that are compared, in the order in which they explain most. "" is not known, and is
never something in common. Built-in attributes:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html"""


def traits_of(host: Host) -> dict[str, str]:
    """What is known of a host, by the names of the traits."""
    known = ((name, value(host)) for name, value in TRAITS)
    return {name: text for name, text in known if text}


def shared_traits(hosts: Sequence[Host], others: Sequence[Host]) -> tuple[Trait, ...]:
    """What `hosts` have in common and `others` have not, the most telling first.

    A trait is told when all of `hosts` have it and at most half of the others; or most of at least
    four have it and nearly none of the others. Of one host alone, only what no other has. Without
    others nothing sets the hosts apart, so nothing is told. The order of the hosts does not matter.
    """
    if not hosts or not others:
        return ()
    found = []
    for name, value in TRAITS:
        trait = _commonest(name, [value(host) for host in hosts], [value(host) for host in others])
        if trait is not None and _telling(trait):
            found.append(trait)
    return tuple(sorted(found, key=_rank))


def _commonest(name: str, ours: Sequence[str], theirs: Sequence[str]) -> Trait | None:
    counts: dict[str, int] = {}
    for text in ours:
        if text:
            counts[text] = counts.get(text, 0) + 1
    if not counts:
        return None
    value = max(counts, key=lambda text: (counts[text], text))
    return Trait(
        name=name,
        value=value,
        hosts=counts[value],
        of=len(ours),
        others=sum(1 for text in theirs if text == value),
        of_others=len(theirs),
    )


def _telling(trait: Trait) -> bool:
    if trait.of == 1:
        return trait.others == 0
    if trait.hosts == trait.of:
        return trait.others <= trait.of_others / 2
    return (
        trait.of >= _ENOUGH
        and trait.hosts >= _MOST * trait.of
        and trait.others <= _RARE * trait.of_others
    )


def _rank(trait: Trait) -> tuple[float, float]:
    """Lower tells more: few of the others have it, all of ours have. The sort keeps the order of
    `TRAITS` among equals."""
    return (trait.others / trait.of_others, 1 - trait.hosts / trait.of)
