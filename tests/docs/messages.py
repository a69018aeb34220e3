"""The texts that the program can say, taken from its source: for what the documentation quotes."""

import ast
import re
from functools import cache
from typing import NamedTuple

from tests.docs.markdown import ROOT

VARIABLE = "…"
"""Stands in a quotation for what is different each time and, at its end, for what was left out."""


class Template(NamedTuple):
    """A text of the source: pieces as they are, and None where something is put in."""

    pieces: tuple[str | None, ...]

    @property
    def longest(self) -> str:
        return max((piece for piece in self.pieces if piece), key=len, default="")


def is_said(quotation: str) -> bool:
    """Whether the program can say this: every letter of it but `VARIABLE` stands in its source.
    What is put into a text may be another text of the source."""
    return any(
        _fits(template.pieces, quotation)
        for template in _templates()
        if template.longest and _may_fit(template, quotation)
    )


@cache
def _is_put_in(text: str) -> bool:
    return text in ("", VARIABLE) or is_said(text)


def _may_fit(template: Template, quotation: str) -> bool:
    """A quick look, before everything is tried."""
    return quotation.endswith(VARIABLE) or template.longest in quotation


@cache
def _fits(pieces: tuple[str | None, ...], text: str) -> bool:
    if not pieces:
        return not text
    first, *rest = pieces
    if first is None:
        return any(
            _fits(tuple(rest), text[end:]) and _is_put_in(text[:end])
            for end in range(len(text) + 1)
        )
    if text.endswith(VARIABLE) and len(text) > 1 and first.startswith(text[:-1]):
        return True
    return text.startswith(first) and _fits(tuple(rest), text[len(first) :])


@cache
def _templates() -> tuple[Template, ...]:
    found: set[Template] = set()
    for file in sorted((ROOT / "depproxy").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documentation = set(map(id, _documentation(tree)))
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and id(node) not in documentation:
                found.update(_read(node))
    return tuple(sorted(found, key=lambda template: -len(template.longest)))


def _documentation(tree: ast.AST) -> list[ast.expr]:
    """Texts that stand alone: docstrings, of whatever."""
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]


def _read(node: ast.expr) -> list[Template]:
    match node:
        case ast.Constant(value=str(text)):
            return [Template(tuple(_logged(text)))]
        case ast.Constant(value=bytes(text)):
            return [Template((line,)) for line in text.decode("latin-1").splitlines()]
        case ast.JoinedStr() | ast.BinOp(op=ast.Add()):
            return [Template(tuple(_pieces(node)))]
    return []


def _pieces(node: ast.expr) -> list[str | None]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [piece for value in values for piece in _pieces(value)]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return [*_pieces(left), *_pieces(right)]
    return [None]


def _logged(text: str) -> list[str | None]:
    """What `logging` puts values into."""
    parts = re.split(r"(%(?:s|d|\.\df))", text)
    return [None if part.startswith("%") else part for part in parts if part]
