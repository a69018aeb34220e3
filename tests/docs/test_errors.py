"""The table of errors in ``docs/reference.md`` has every status, code and kind of failure."""

import ast

import pytest

from depproxy import errors
from depproxy.handlers.answers import VERDICTS, Verdict, verdict
from tests.docs.markdown import ROOT, Page, code

PAGE = Page("docs/reference.md")

WORDS: dict[type[errors.DepproxyError], str] = {
    errors.NameInvalid: "name breaks the grammar",
    errors.TagInvalid: "neither a tag nor a digest",
    errors.DigestInvalid: "a digest is malformed",
    errors.NameUnknown: "an upstream that the group does not have",
    errors.GroupUnknown: "no such group, or a private one",
    errors.NothingHere: "the URL is not one of this server",
    errors.NoMirror: "a path of the mirror without `mirror.group`",
    errors.ManifestUnknown: "no such tag or digest",
    errors.BlobUnknown: "no such blob",
    errors.RangeUnsatisfiable: "begins behind the blob's end",
    errors.ShuttingDown: "the server is shutting down",
    errors.Denied: "a `deny` rule of the group",
    errors.Unauthenticated: "nobody in particular asked",
    errors.TooManyAttempts: "too many wrong passwords",
    errors.UpstreamNotFound: "`tags/list` of an image that the upstream does not have",
    errors.UpstreamRefused: "refuses the image to anonymous users",
    errors.UpstreamLimited: "the upstream limits the rate",
    errors.UpstreamFailed: "fails with 5xx",
    errors.UpstreamUnreachable: "cannot be reached",
    errors.UpstreamTimeout: "sent nothing, in the time allowed",
    errors.UpstreamCannotResume: "does not go on where a transfer broke",
    errors.UpstreamSenseless: "makes no sense",
    errors.ManifestRefused: "no manifest that may be handed on",
    errors.ContentMismatch: "not what their digest says",
    errors.StoreError: "the disk is full or fails",
    errors.StoreFull: "the disk is full",
    errors.StorePurged: "the cache was cleared in that moment",
}
"""What the table says of each kind. Those that only the API and the pages answer are not in it."""

ELSEWHERE = {errors.NotPermitted: "Clearing a cache"}
"""Kinds that are never answered below ``/v2/``, and the chapter that has them."""


def rows() -> list[tuple[Verdict, str]]:
    found = []
    for row in PAGE.table("Errors", "status, code").rows:
        [name] = code(row[0])
        found.append((Verdict(int(row[0].split()[0]), name), row[1]))
    return found


def raised_by(file: str) -> set[int]:
    """The statuses that handlers give by themselves."""
    tree = ast.parse((ROOT / "depproxy" / "handlers" / file).read_text(encoding="utf-8"))
    return {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HTTPError"
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    }


def test_every_kind_of_error_is_told_and_no_other() -> None:
    assert {*WORDS, *ELSEWHERE} == set(VERDICTS)


@pytest.mark.parametrize("kind", WORDS)
def test_a_kind_of_error_is_in_a_row_with_its_status_and_code(
    kind: type[errors.DepproxyError],
) -> None:
    told = [when for found, when in rows() if found == VERDICTS[kind]]
    assert any(WORDS[kind] in when for when in told)


@pytest.mark.parametrize(("kind", "chapter"), ELSEWHERE.items())
def test_a_kind_of_error_of_another_surface_is_told_there(
    kind: type[errors.DepproxyError], chapter: str
) -> None:
    statuses = PAGE.table(chapter, "status").column("status")
    assert str(VERDICTS[kind].status) in statuses


def test_the_table_has_no_status_and_code_that_is_never_answered() -> None:
    by_handlers = raised_by("token.py") | raised_by("forms.py") | raised_by("base.py")
    others = {verdict(None, status) for status in by_handlers | {500}}
    assert {found for found, _ in rows()} == {VERDICTS[kind] for kind in WORDS} | others


def test_every_row_says_what_to_do() -> None:
    assert all(len(row) == 3 and row[2] for row in PAGE.table("Errors", "status, code").rows)
