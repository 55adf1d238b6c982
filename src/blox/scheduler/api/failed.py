"""What a failed deployment means for its environment, for as long as it is the one in force.

A deployment never goes back from `failed`, but hosts get on: its environment is unhealthy while a
wanted host is not current, and each host leaves the list when it becomes current or unwanted.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from blox.scheduler.model import WANTED, DeploymentStatus, SlotClass
from blox.scheduler.report import EnvironmentReport, Problem
from blox.scheduler.verdicts import Verdict

CODE = "deployment-failed"


def with_failure(report: EnvironmentReport, verdicts: Mapping[str, Verdict]) -> EnvironmentReport:
    """The report, unhealthy and with the hosts concerned if its deployment has failed."""
    deployment = report.deployment
    if deployment is None or deployment.status is not DeploymentStatus.FAILED:
        return report
    behind = [
        host
        for host, verdict in verdicts.items()
        if verdict.slot_class in WANTED and verdict.slot_class is not SlotClass.CURRENT
    ]
    if not behind or not report.served:
        return report
    first = deployment.causes[0].sentence if deployment.causes else "no progress"
    more = len(deployment.causes) - 1
    why = first if more < 1 else f"{first}; and {more} more causes"
    problem = Problem(
        code=CODE,
        sentence=f"the deployment of revision {deployment.revision} failed: {why}",
        who="you",
        next_step="mend what the cause names, then deploy again",
        count=len(behind),
    )
    return replace(
        report,
        healthy=False,
        problems=(problem, *report.problems),
        failed_hosts=tuple(sorted({*report.failed_hosts, *behind})),
    )
