"""/v2/status and /v2/queue/rejected: how this process does."""

import msgspec

from blox.clusterstate.api.bodies2 import ConditionBody, QueueBody, StateStatus, StoreBody
from blox.clusterstate.api.context import Condition, StateApi
from blox.http.operations import Answer, Call, Operation, Returned
from blox.http.rejected import list_rejected
from blox.http.shapes import iso


class Status:
    """The handler."""

    def __init__(self, api: StateApi) -> None:
        self._api = api

    async def show(self, _: Call) -> Answer:
        """The process as a whole."""
        api, info, catalogue = self._api, self._api.info, self._api.catalogue
        clusters = api.clusters()
        reason = info.ready()
        store = info.store()
        body = StateStatus(
            version=info.version,
            name=catalogue.name,
            epoch=catalogue.epoch,
            started_at=iso(info.began_at),
            ready=reason is None,
            not_ready=reason,
            clusters=len(clusters),
            instances=sum(catalogue.count("instance", arn) for arn in clusters),
            tasks=sum(catalogue.count("task", arn) for arn in clusters),
            position=api.position(),
            queue=self._queue(),
            store=StoreBody(
                problem=store.problem,
                stored_version=store.stored_version,
                last_version=catalogue.last,
            ),
            watchers=info.watchers.open,
            conditions=tuple(map(_condition, info.conditions())),
            notes=info.notes(),
        )
        return Answer(body=msgspec.json.encode(body))

    def _queue(self) -> QueueBody | None:
        seen = self._api.info.queue()
        if seen is None:
            return None
        return QueueBody(
            name=seen.name,
            flowing=seen.flowing,
            lag_seconds=round(seen.lag_seconds, 3),
            depth=seen.depth,
            rejected=len(self._api.info.rejected()),
        )


def _condition(condition: Condition) -> ConditionBody:
    return ConditionBody(
        code=condition.code,
        sentence=condition.sentence,
        next_step=condition.next_step,
        since=None if condition.since is None else iso(condition.since),
    )


def operations(api: StateApi) -> list[Operation]:
    """Every operation about the process itself."""
    return [
        Operation(
            method="GET",
            path="/v2/status",
            id="status",
            summary="How this process does",
            handle=Status(api).show,
            tags=("process",),
            answers={200: Returned(description="Its state", body=StateStatus)},
            errors=(),
        ),
        list_rejected(api.info.rejected),
    ]
