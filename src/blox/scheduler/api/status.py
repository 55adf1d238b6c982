"""/v2/status and /v2/queue/rejected: how this process does."""

from collections.abc import Iterable
from typing import Final

from blox.http.operations import Answer, Call, Operation, Returned
from blox.http.rejected import list_rejected
from blox.http.shapes import at
from blox.scheduler.api.bodies import (
    AssumptionsBody,
    ClusterBody,
    CoverageBody,
    EnvironmentsCounted,
    StatusBody,
)
from blox.scheduler.api.context import Api, answered
from blox.scheduler.api.shown import cluster_body, freeze_body, problem_body
from blox.scheduler.report import EnvironmentReport

_TAGS: Final = ("process",)


class Status:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def status(self, _: Call) -> Answer:
        """The process, its clusters, its conditions."""
        api, state = self._api, self._api.state
        environments = api.repository.environments()
        reports = [api.answers.of(environment).report for environment in environments]
        healthy = sum(report.healthy for report in reports)
        scheduler = api.scheduler
        return answered(
            StatusBody(
                version=api.process.version,
                now=at(state.stamp()),
                began_at=at(api.process.began_at),
                mode="observing" if scheduler.observing else "acting",
                domain=api.process.credentials_of() if state.domain is None else str(state.domain),
                holding=scheduler.starts.held or None,
                clusters=tuple(self._cluster(arn) for arn in api.clusters()),
                environments=EnvironmentsCounted(
                    total=len(environments),
                    healthy=healthy,
                    unhealthy=len(environments) - healthy,
                ),
                assumptions=self._assumptions(),
                conditions=tuple(problem_body(problem) for problem in api.process.conditions()),
                notes=api.process.notes(),
                doubles_seen=state.doubles_seen,
                starts_in_doubt=sum(len(state.book.doubts(arn)) for arn in api.clusters()),
                rejected_messages=len(api.process.rejected()),
                coverage=_coverage(reports),
                freezes=tuple(freeze_body(freeze) for freeze in api.service.orders.freezes()),
                holds=len(api.service.orders.holds()),
                orphans=len(api.service.orphans()),
            )
        )

    def _cluster(self, arn: str) -> ClusterBody:
        state = self._api.state
        seen = state.view.cluster(arn)
        swept = None if seen is None else seen.swept_at
        return cluster_body(
            arn,
            seen,
            age=None if swept is None else state.clock.monotonic() - swept,
            hosts=sum(host.superseded_by is None for host in state.view.hosts(arn)),
            environments=sum(e.cluster_arn == arn for e in self._api.repository.environments()),
        )

    def _assumptions(self) -> AssumptionsBody:
        state = self._api.state
        provider = self._api.process.assumptions
        assumed = state.settings.assumptions if provider is None else provider()
        return AssumptionsBody(
            signature_age=assumed.signature_age,
            acceptance_lag=assumed.acceptance_lag,
            read_lag=assumed.read_lag,
            backdate=assumed.dated_back,
            doubt_window=state.book.window,
            checked=state.fence_known,
        )


def _coverage(reports: Iterable[EnvironmentReport]) -> CoverageBody:
    """How much of what is deployed runs. What is ending is not wanted any more."""
    counted = [
        report.tally
        for report in reports
        if report.deployment is not None and report.served and not report.environment.ending
    ]
    return CoverageBody(
        wanted=sum(tally.wanted for tally in counted),
        available=sum(tally.available for tally in counted),
    )


def operations(api: Api) -> list[Operation]:
    """Every operation about the process itself."""
    handlers = Status(api)
    return [
        Operation(
            method="GET",
            path="/v2/status",
            id="status",
            summary="How this process does",
            handle=handlers.status,
            tags=_TAGS,
            answers={200: Returned(description="Its state", body=StatusBody)},
            errors=(),
        ),
        list_rejected(api.process.rejected),
    ]
