"""A screen that is drawn again and again: styled lines, and whether a terminal is there for it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Span = tuple[str, str]
"""Text, and the name of its style ("" for none)."""
Line = tuple[Span, ...]


def terminal() -> bool:
    """Whether stdout is a terminal on which a screen can be drawn."""
    if not sys.stdout.isatty():
        return False
    return not console().is_dumb_terminal


def console() -> "Console":
    """Where the screen is drawn."""
    from rich.console import Console

    return Console(highlight=False)


def styled(lines: Sequence[Line], text: "type[Text]") -> "Text":
    """The lines as rich prints them."""
    result = text(no_wrap=True, overflow="crop")
    for place, line in enumerate(lines):
        if place:
            result.append("\n")
        for part, style in line:
            result.append(part, style or None)
    return result


def fit(text: str, width: int) -> str:
    """`text` in at most `width` characters: cut at the end of a clause if there is one in the
    second half, else anywhere, with an ellipsis."""
    if len(text) <= width:
        return text
    for place in range(width, width // 2, -1):
        if text[place] in ",;(" and text[:place].strip():
            return text[:place].rstrip()
    return text[: max(0, width - 1)] + "…" if width > 0 else ""


def clip(line: Line, width: int) -> Line:
    """The line without what does not fit."""
    kept: list[Span] = []
    for text, style in line:
        kept.append((text[:width], style))
        width -= len(text)
        if width <= 0:
            break
    return tuple(kept)
