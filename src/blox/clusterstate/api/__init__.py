"""The cluster-state-service's REST API: /v1, the contract of 0.3 word for word, and /v2, which says
more. Operations are declared here and served by `blox.http.app`; they read the catalogue, and
change nothing but which clusters are watched, and when they are swept.
"""

from blox.clusterstate.api import clusters, members, status, streams, v1
from blox.clusterstate.api.context import StateApi
from blox.http.operations import Operation

__all__ = ["operations"]


def operations(api: StateApi) -> list[Operation]:
    """Every operation of /v1 and /v2 over this view."""
    return [
        *v1.operations(api),
        *clusters.operations(api),
        *members.operations(api),
        *streams.operations(api),
        *status.operations(api),
    ]
