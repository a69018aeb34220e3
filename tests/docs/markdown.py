"""As much of Markdown as the documentation uses: headings, links, tables, and indented blocks."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_HEADING = re.compile(r"(#{1,6}) (.+)")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")
_MARK = re.compile(r"^ *(?:[-*]|\d+\.) +")


@dataclass(frozen=True)
class Heading:
    """``level`` is 1 for a title, 2 for a chapter."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Table:
    """A table, with the heading that it stands under."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        return [row[self.header.index(name)] for row in self.rows]


class Page:
    """A file of the documentation; ``name`` from the root of the tree on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.lines = self.path.read_text(encoding="utf-8").splitlines()
        self._prose, self._blocks = _apart(self.lines)

    @property
    def prose(self) -> str:
        """Everything but the indented blocks."""
        return "\n".join(self._prose)

    @property
    def blocks(self) -> list[str]:
        """The indented blocks, without their indentation."""
        return self._blocks

    @property
    def headings(self) -> list[Heading]:
        """With their anchors, as GitHub makes them."""
        known: Counter[str] = Counter()
        headings = []
        for line in self._prose:
            if found := _HEADING.fullmatch(line):
                anchor = re.sub(r"[^\w\- ]", "", found[2].lower()).replace(" ", "-")
                again = known[anchor]
                known[anchor] += 1
                headings.append(
                    Heading(len(found[1]), found[2], f"{anchor}-{again}" if again else anchor)
                )
        return headings

    @property
    def contents(self) -> list[str]:
        """The anchors that the list before the first chapter links to."""
        before = "\n".join(self._prose).partition("\n## ")[0]
        listed = re.findall(r"^- \[.*(?:\n  .*)*", before, re.MULTILINE)
        return [link[1:] for item in listed for link in _LINK.findall(item) if link[0] == "#"]

    @property
    def links(self) -> list[str]:
        """Where links and pictures lead to."""
        without_code = _SPAN.sub("`code`", self.prose)
        pictures = re.findall(r'src(?:set)?="([^"]+)"', without_code)
        return [unquote(link) for link in (*_LINK.findall(without_code), *pictures)]

    @property
    def spans(self) -> list[str]:
        """What stands in backticks."""
        return _SPAN.findall(self.prose)

    @property
    def tables(self) -> list[Table]:
        return list(_tables(self._prose))

    def section(self, heading: str) -> str:
        """The prose below a heading, up to the next one of any level."""
        at = next(i for i, line in enumerate(self._prose) if line.lstrip("#") == f" {heading}")
        end = next(
            (i for i in range(at + 1, len(self._prose)) if _HEADING.fullmatch(self._prose[i])),
            len(self._prose),
        )
        return "\n".join(self._prose[at + 1 : end])

    def table(self, heading: str, *begin: str) -> Table:
        """The table below a heading whose first columns have these names."""
        here = [table for table in self.tables if table.heading == heading]
        [found] = [table for table in here if table.header[: len(begin)] == begin]
        return found


def code(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return _SPAN.findall(cell)


def _apart(lines: list[str]) -> tuple[list[str], list[str]]:
    """Prose and indented blocks. A block begins after an empty line, four spaces in from the text
    that it belongs to."""
    prose: list[str] = []
    blocks: list[list[str]] = []
    inside, margin = False, 0
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip():
            if inside:
                blocks[-1].append("")
            prose.append("")
            continue
        if mark := _MARK.match(line):
            margin = len(mark[0]) if not inside else margin
        elif indent == 0:
            margin = 0
        after_gap = number == 0 or not lines[number - 1].strip()
        if indent >= margin + 4 and (inside or after_gap):
            if not inside:
                blocks.append([])
            inside = True
            blocks[-1].append(line[margin + 4 :])
        else:
            inside = False
            prose.append(line)
    return prose, ["\n".join(block).strip("\n") + "\n" for block in blocks]


def _tables(lines: list[str]) -> Iterator[Table]:
    heading, rows = "", list[tuple[str, ...]]()
    for line in (*lines, ""):
        if line.startswith("|"):
            rows.append(tuple(cell.strip() for cell in _CELL.split(line.strip()[1:-1])))
            continue
        if rows:
            header, _, *body = rows
            yield Table(heading, header, tuple(body))
            rows = []
        if found := _HEADING.fullmatch(line):
            heading = found[2]
