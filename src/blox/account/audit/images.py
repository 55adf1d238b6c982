"""Images that differ under one tag: hosts that pulled at different times run different code.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Container.html (image, imageDigest)
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from blox.account.shared_traits import Trait, shared_traits
from blox.account.surveyed import Survey
from blox.ecs.model import Host


class Digest(Struct, frozen=True, kw_only=True):
    """One of an image's digests, and where it runs."""

    digest: str
    tasks: int
    hosts: tuple[str, ...]
    """ARNs, in order."""


class MixedImage(Struct, frozen=True, kw_only=True):
    """One image that runs with several digests."""

    image: str
    families: tuple[str, ...]
    digests: tuple[Digest, ...]
    """The one with most tasks first."""
    shared: tuple[Trait, ...]
    """What the hosts of the others have that those of the first have not."""


def mixed_images(survey: Survey) -> tuple[MixedImage, ...]:
    """Every image of a live task that runs with more than one digest, in order of name. An image
    that is named by its digest cannot."""
    tasks: dict[str, dict[str, int]] = {}
    places: dict[str, dict[str, dict[str, None]]] = {}
    families: dict[str, dict[str, None]] = {}
    for item in survey.tasks:
        if not item.task.wanted_by_ecs or not item.task.host_arn:
            continue
        for run in item.images:
            if not run.digest or "@" in run.image:
                continue
            counts = tasks.setdefault(run.image, {})
            counts[run.digest] = counts.get(run.digest, 0) + 1
            on = places.setdefault(run.image, {}).setdefault(run.digest, {})
            on[item.task.host_arn] = None
            families.setdefault(run.image, {})[item.family] = None
    known = {host.arn: host for host in survey.hosts}
    return tuple(
        _mixed(image, tasks[image], places[image], tuple(sorted(families[image])), known)
        for image in sorted(tasks)
        if len(tasks[image]) > 1
    )


def _mixed(
    image: str,
    tasks: Mapping[str, int],
    places: Mapping[str, Mapping[str, None]],
    families: tuple[str, ...],
    known: Mapping[str, Host],
) -> MixedImage:
    ordered = sorted(tasks, key=lambda digest: (-tasks[digest], digest))
    digests = tuple(
        Digest(digest=digest, tasks=tasks[digest], hosts=tuple(sorted(places[digest])))
        for digest in ordered
    )
    most = frozenset(digests[0].hosts)
    rest = dict.fromkeys(arn for digest in digests[1:] for arn in digest.hosts if arn not in most)
    return MixedImage(
        image=image,
        families=families,
        digests=digests,
        shared=shared_traits(_hosts(sorted(rest), known), _hosts(digests[0].hosts, known)),
    )


def _hosts(arns: Sequence[str], known: Mapping[str, Host]) -> list[Host]:
    return [known[arn] for arn in arns if arn in known]
