"""/v2/store/snapshot: a copy of everything that the scheduler has written down."""

from typing import Final

from blox.base.errors import NotFound
from blox.http.operations import Answer, Call, Operation, Returned
from blox.scheduler.api.context import Api

_TAGS: Final = ("process",)
_BYTES: Final = "application/octet-stream"


class Backup:
    """The handler."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def snapshot(self, _: Call) -> Answer:
        """The store's file as of now, marked as a copy."""
        copy = self._api.process.snapshot
        if copy is None:
            raise NotFound("The store of this process is not a file that could be copied.")
        return Answer(body=await copy(), media_type=_BYTES)


def operations(api: Api) -> list[Operation]:
    """The one operation."""
    return [
        Operation(
            method="GET",
            path="/v2/store/snapshot",
            id="snapshotStore",
            summary="Copy the store",
            description=(
                "A SQLite file that a daemon-scheduler can be started from. It knows that it is a "
                "copy: hosts without a daemon then wait until starts that it does not know would "
                "have shown."
            ),
            handle=Backup(api).snapshot,
            tags=_TAGS,
            answers={200: Returned(description="The file", body=bytes, media_type=_BYTES)},
            errors=(404, 503),
        ),
    ]
