"""Reading the project's documentation as data: fragments of code, links, tables, headings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_SPAN = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
"""It may go over the end of a line, but not of a paragraph."""
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>"})


class Fragment(NamedTuple):
    """A piece of code in a document: an inline span, or a line of a fenced block."""

    place: str
    """FILE:LINE, for people."""
    text: str


def documents() -> list[Path]:
    """Every document of the project."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def _lines(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line number, text, and whether it is inside a fenced block; fences themselves are left out,
    lines that end in a backslash are joined with the next."""
    fenced, begun, held = False, 0, ""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced and line.endswith("\\"):
            held, begun = held + line[:-1], begun or number
        else:
            yield begun or number, held + line, fenced
            held, begun = "", 0


def fragments(path: Path) -> list[Fragment]:
    """All code in a document."""
    name = path.relative_to(ROOT)
    found = [Fragment(f"{name}:{n}", line) for n, line, fenced in _lines(path) if fenced]
    prose = _prose(path)
    for match in _SPAN.finditer(prose):
        number = prose.count("\n", 0, match.start()) + 1
        found.append(Fragment(f"{name}:{number}", " ".join(match.group(1).split())))
    return found


def _prose(path: Path) -> str:
    """The document with its fenced blocks blanked out, so that lines keep their numbers."""
    text = path.read_text()
    return _FENCED.sub(lambda match: "\n" * match.group().count("\n"), text)


def all_fragments() -> list[Fragment]:
    """All code in all documents."""
    return [fragment for path in documents() for fragment in fragments(path)]


def all_text() -> str:
    """All documents in one text."""
    return "\n".join(path.read_text() for path in documents())


def links(path: Path) -> Iterator[tuple[str, str]]:
    """Place and target of each link outside code."""
    prose = _SPAN.sub(lambda match: "x" + "\n" * match.group().count("\n"), _prose(path))
    for match in _LINK.finditer(prose):
        number = prose.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(ROOT)}:{number}", match.group(1)


def anchors(path: Path) -> set[str]:
    """The names by which GitHub lets links point at a document's headings."""
    found: set[str] = set()
    for _, line, fenced in _lines(path):
        if not fenced and re.match(r"#{1,6} ", line):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


def block_after(path: Path, heading: str, *, number: int = 0) -> str:
    """The text of a fenced block below a heading, the first one if `number` is 0."""
    below = path.read_text().split(f"\n{heading}\n", 1)[1]
    blocks: list[str] = re.findall(r"^```\w*\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    return blocks[number]


def tables(path: Path) -> Iterator[list[list[str]]]:
    """Each table as rows of cells, without the line of dashes."""
    rows: list[list[str]] = []
    for _, line, fenced in [*_lines(path), (0, "", False)]:
        if line.startswith("|") and not fenced:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if set("".join(cells)) - set("-: "):
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def words_of(command_line: str) -> list[str]:
    """The words of a command, without prompt, assignments, folder of the program, comment, and
    whatever follows in a pipe. Empty for what is no command line."""
    try:
        words = shlex.split(command_line, comments=True)
    except ValueError:
        return []
    while words and (words[0] == "$" or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
        words = words[1:]
    end = next((i for i, word in enumerate(words) if word in _OPERATORS), len(words))
    words = words[:end]
    if words:
        words[0] = words[0].rsplit("/", 1)[-1]
    return words
