"""How the entries of a stream are written: JSON lines, server-sent events, or bare items. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html, https://jsonlines.org
"""

from dataclasses import dataclass
from typing import Final, Literal

EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = "application/x-ndjson"
BYTES: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write entries."""

    media_type: str
    style: Literal["lines", "events", "items"]

    @property
    def speaks(self) -> bool:
        """It can say more than entries: heartbeats, and that a watcher must list again."""
        return self.style != "items"

    def line(self, event: str, position: str, data: bytes) -> bytes:
        """One entry. `data` is JSON; `event` and `position` are words of ours."""
        if b"\n" in data or b"\r" in data:
            # Between the parts of a value; inside of a text they are written as escapes.
            data = data.replace(b"\n", b" ").replace(b"\r", b" ")
        if self.style == "items":
            return data + b"\n"
        if self.style == "events":
            return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), position.encode(), data)
        return b'{"event":"%b","position":"%b","data":%b}\n' % (
            event.encode(),
            position.encode(),
            data,
        )


LINES: Final = Form(JSON_LINES, "lines")
EVENTS: Final = Form(EVENT_STREAM, "events")
ITEMS: Final = Form(BYTES, "items")


def asked_for(accept: str, media_type: str) -> bool:
    """Whether an Accept header names this media type, with a weight that is not 0."""
    for choice in accept.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        if name == media_type:
            return not any(p.replace(" ", "") in _NEVER for p in parameters)
    return False


_NEVER: Final = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
