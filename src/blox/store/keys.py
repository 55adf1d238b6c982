"""Every key that blox stores, in one place.

    /blox/v1/environments/ID                     an environment, or the tombstone of a deleted one
    /blox/v1/names/CLUSTER-ARN/NAME              whose name it is: makes names unique in a cluster
    /blox/v1/deployments/ENVIRONMENT-ID/SEQUENCE a deployment; zero-padded, so keys sort by age
    /blox/v1/intents/ID                          one start call, until its outcome is history
    /blox/v1/freezes/ID                          nothing is started or stopped there for a while
    /blox/v1/holds/HOST-ARN                      a host that is left alone for a while
    /blox/v1/migrations/ENVIRONMENT-ID           the replacement of a DAEMON service
    /blox/v1/clean                               the last owner left with nothing open
    /blox/v1/copied                              this is a backup: what came after it is not in it

"v1" is the version of this layout. The format of each record is versioned by itself (`codec`).
"""

from typing import Final

ROOT: Final = "/blox/v1/"
ENVIRONMENTS: Final = ROOT + "environments/"
NAMES: Final = ROOT + "names/"
DEPLOYMENTS: Final = ROOT + "deployments/"
INTENTS: Final = ROOT + "intents/"
FREEZES: Final = ROOT + "freezes/"
HOLDS: Final = ROOT + "holds/"
MIGRATIONS: Final = ROOT + "migrations/"
CLEAN: Final = ROOT + "clean"
COPIED: Final = ROOT + "copied"

SEQUENCE_DIGITS: Final = 10


def environment(environment_id: str) -> str:
    """The key of an environment, or of its tombstone."""
    return ENVIRONMENTS + environment_id


def name(cluster_arn: str, environment_name: str) -> str:
    """The key that exists while a live environment of this cluster has this name."""
    return f"{NAMES}{cluster_arn}/{environment_name}"


def deployments(environment_id: str) -> str:
    """The prefix of an environment's deployments."""
    return f"{DEPLOYMENTS}{environment_id}/"


def deployment(environment_id: str, sequence: int) -> str:
    """The key of an environment's deployment number `sequence`, counted from 1."""
    return f"{deployments(environment_id)}{sequence:0{SEQUENCE_DIGITS}d}"


def intent(intent_id: str) -> str:
    """The key of an intent."""
    return INTENTS + intent_id


def freeze(freeze_id: str) -> str:
    """The key of a freeze."""
    return FREEZES + freeze_id


def hold(host_arn: str) -> str:
    """The key of a host's hold."""
    return HOLDS + host_arn


def migration(environment_id: str) -> str:
    """The key of the migration to an environment."""
    return MIGRATIONS + environment_id
