"""Positions: what a reader has come to, as a token that stands for itself."""

from typing import Final

from blox.clusterstate.catalogue import Catalogue

LONGEST_VERSION: Final = 18
"""Digits."""


def position_of(catalogue: Catalogue, version: int) -> str:
    """The resume token of a version: everything up to it has been seen."""
    return f"{catalogue.name}.{version}"


class Expired(Exception):
    """A position that cannot be followed from: another numbering's, or no longer kept."""


def version_at(catalogue: Catalogue, position: str) -> int | None:
    """The version that a resume token stands for; None for what is no token at all. Raises Expired
    when what has changed since is not known here any more."""
    name, dot, digits = position.rpartition(".")
    if not (dot and digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_VERSION):
        return None
    version = int(digits)
    if name != catalogue.name or not catalogue.log.holds(version):
        raise Expired
    return version
