"""/v2/reasons: the table of all reasons, for programs that show them."""

from typing import Final

from blox.http.operations import Answer, Call, Operation, Returned
from blox.http.shapes import AnswerBody
from blox.scheduler.api.context import answered
from blox.scheduler.reasons import REASONS, Actor

_TAGS: Final = ("process",)


class ReasonBody(AnswerBody, frozen=True, kw_only=True):
    """Why a slot, or an environment, is as it is."""

    code: str
    """Stable; `reason` of a host and `code` of a problem."""
    sentence: str
    """May hold {names} that the details of the single case fill."""
    who: Actor
    """Who acts next."""
    next_step: str
    """May hold {names}, too."""
    anchor: str
    """Where the documentation tells more."""


class ReasonsBody(AnswerBody, frozen=True, kw_only=True):
    """All of them."""

    items: tuple[ReasonBody, ...]


async def _reasons(_: Call) -> Answer:
    return answered(
        ReasonsBody(
            items=tuple(
                ReasonBody(
                    code=reason.code,
                    sentence=reason.sentence,
                    who=reason.who,
                    next_step=reason.next_step,
                    anchor=reason.anchor,
                )
                for reason in REASONS.values()
            )
        )
    )


def operations() -> list[Operation]:
    """The one operation."""
    return [
        Operation(
            method="GET",
            path="/v2/reasons",
            id="listReasons",
            summary="List every reason that a host or an environment can have",
            handle=_reasons,
            tags=_TAGS,
            answers={200: Returned(description="The table", body=ReasonsBody)},
            errors=(),
        ),
    ]
