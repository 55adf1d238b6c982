"""The first lines in the log of a cluster-state-service: what it watches, and what it has."""

from collections.abc import Sequence
from typing import Final

import structlog

import blox
from blox.app import told_aws
from blox.app.aws import Aws
from blox.app.state_plan import StatePlan
from blox.clusterstate.catalogue import Catalogue

MODE: Final = "cluster-state-service: reads, and starts or stops nothing"

_log = structlog.get_logger("blox")


def tell_beginning(plan: StatePlan, *, url: str, aws: Aws) -> None:
    """Before anything is asked of AWS."""
    _log.info(f"blox {blox.__version__}", mode=MODE, api=url, store=plan.store)
    if plan.queue is None:
        told_aws.tell_place(aws, queue=None)
    else:
        told_aws.tell_place(aws, queue=str(plan.queue), source=plan.queue.source.value)


def tell_clusters(named: Sequence[str], catalogue: Catalogue, *, seconds: float) -> None:
    """Which clusters are watched, and what the stored copy had. `seconds`: that loading it took."""
    if named:
        _log.info("clusters", named=list(named))
    else:
        _log.info("clusters", watched="all of the account and region")
    clusters = catalogue.clusters
    instances = sum(catalogue.count("instance", arn) for arn in clusters)
    tasks = sum(catalogue.count("task", arn) for arn in clusters)
    _log.info(
        f"stored copy loaded in {seconds:.1f} s",
        clusters=len(clusters),
        instances=instances,
        tasks=tasks,
        version=catalogue.last,
    )
