"""Every header that handlers set is in a table of ``docs/reference.md``, and no other."""

import ast
import re
from collections import Counter
from collections.abc import Iterable

from tests.docs.markdown import ROOT, Page, code

HEADER = re.compile(r"ETag|[A-Z]+[a-z]*(?:-[A-Z]+[a-z]*)*")
ALONE = {"Server", "Date", "Link", "Warning", "Allow", "Connection", "ETag", "Location"}
"""Headers of one word; other words in capitals are no headers."""

BY_TORNADO = {"Connection", "Location", "Set-Cookie"}
"""What its connections, and its methods for redirects and cookies, set."""


def is_header(text: object) -> bool:
    return isinstance(text, str) and bool(HEADER.fullmatch(text)) and ("-" in text or text in ALONE)


def words(nodes: Iterable[ast.AST]) -> Counter[str]:
    return Counter(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_header(node.value)
    )


def set_by_handlers() -> set[str]:
    """Names of headers in the handlers' code, but for those that are only looked at."""
    found: Counter[str] = Counter()
    for file in (ROOT / "depproxy" / "handlers").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found.update(words([node]))
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get":
                found.subtract(words(node.args))
            elif isinstance(node, ast.Compare):
                found.subtract(words([node.left]))
    return {name for name, times in found.items() if times > 0}


def documented() -> set[str]:
    tables = [table for table in Page("docs/reference.md").tables if table.header[0] == "header"]
    return {name for table in tables for cell in table.column("header") for name in code(cell)}


def test_every_header_of_answers_is_documented_and_no_other() -> None:
    assert documented() == set_by_handlers() | BY_TORNADO
