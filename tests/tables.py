"""Tables in the documentation that are made from the tests' own data, so that they stay true.

``UPDATE_DOCS=1 tox -e tests`` writes them anew.
"""

import os
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def assert_documented(
    file: str, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Whether ``docs/<file>`` has this table between its two marks."""
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    begin, end = f"<!-- {name}: made from the tests -->\n", f"\n<!-- end of {name} -->"
    path = DOCS / file
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    assert found, f"docs/{file} has no mark for {name}"
    documented, found, after = rest.partition(end)
    assert found, f"docs/{file} does not end {name}"
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(before + begin + table + end + after, encoding="utf-8")
        return
    assert documented == table, f"docs/{file}: {name} differs; UPDATE_DOCS=1 writes it anew"
