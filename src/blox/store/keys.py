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

The cluster-state-service keeps its copy of ECS under a root of its own:

    /blox/state/v1/numbering                     the name of the versions, and how far they went
    /blox/state/v1/clusters/CLUSTER-ARN          a cluster that is watched
    /blox/state/v1/instances/BUCKET/ARN          a host as ECS told of it
    /blox/state/v1/tasks/BUCKET/ARN              a task as ECS told of it
    /blox/state/v1/streams/NAME/SHARD            how far a shard of a Kinesis stream was taken

Whichever service made the file has written that down:

    /blox/owner                                  its name

A bucket is one of 64, by the ARN: so a copy of any size can be read piece by piece.

"v1" is the version of this layout. The format of each record is versioned by itself (`codec`).
"""

from typing import Final
from zlib import crc32

OWNER: Final = "/blox/owner"

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

STATE: Final = "/blox/state/v1/"
STATE_NUMBERING: Final = STATE + "numbering"
STATE_CLUSTERS: Final = STATE + "clusters/"
STATE_INSTANCES: Final = STATE + "instances/"
STATE_TASKS: Final = STATE + "tasks/"
STATE_STREAMS: Final = STATE + "streams/"
STATE_BUCKETS: Final = 64

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


def state_cluster(cluster_arn: str) -> str:
    """The key that exists while the cluster-state-service watches this cluster."""
    return STATE_CLUSTERS + _safe(cluster_arn)


def state_bucket(prefix: str, number: int) -> str:
    """The prefix of bucket `number`, counted from 0, of STATE_INSTANCES or STATE_TASKS."""
    return f"{prefix}{number:02x}/"


def state_entity(prefix: str, arn: str) -> str:
    """The key of a host or task below STATE_INSTANCES or STATE_TASKS."""
    return state_bucket(prefix, crc32(arn.encode()) % STATE_BUCKETS) + _safe(arn)


def state_stream(name: str) -> str:
    """The prefix of the positions in a Kinesis stream."""
    return f"{STATE_STREAMS}{name}/"


def state_shard(stream: str, shard: str) -> str:
    """The key of the position in one shard."""
    return state_stream(stream) + _safe(shard)


def _safe(arn: str) -> str:
    """No store takes NUL; whoever can send us events can name a task so."""
    return arn.replace("\0", "%00")
