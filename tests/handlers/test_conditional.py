"""Conditional requests: ``If-None-Match`` compares weakly, ``If-Range`` strongly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.handlers.conditional import etag, is_known, range_applies
from depproxy.oci.digest import Digest

DIGEST = Digest.of(b"content")
OTHER = Digest.of(b"other content")


def test_an_etag_is_the_digest_in_quotes() -> None:
    assert etag(DIGEST) == f'"{DIGEST}"'


@pytest.mark.parametrize(
    "header",
    [
        f'"{DIGEST}"',
        f'W/"{DIGEST}"',
        f' "{DIGEST}" ',
        f'"{OTHER}", "{DIGEST}"',
        f'"{OTHER}",W/"{DIGEST}"',
        "*",
        " * ",
    ],
)
def test_content_that_the_client_names_is_known(header: str) -> None:
    assert is_known(header, DIGEST)


@pytest.mark.parametrize(
    "header", [None, "", f'"{OTHER}"', f'W/"{OTHER}"', '"*"', '""', f'"x{DIGEST}"', "**"]
)
def test_other_content_is_not_known(header: str | None) -> None:
    assert not is_known(header, DIGEST)


@pytest.mark.parametrize("header", [None, f'"{DIGEST}"', f' "{DIGEST}" '])
def test_a_range_applies_where_nothing_or_the_same_content_is_asked_for(
    header: str | None,
) -> None:
    assert range_applies(header, DIGEST)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "*",
        f'"{OTHER}"',
        f'W/"{DIGEST}"',
        f"{DIGEST}",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        f'"{OTHER}", "{DIGEST}"',
    ],
)
def test_a_range_does_not_apply_to_other_or_weakly_named_content(header: str) -> None:
    assert not range_applies(header, DIGEST)


@given(st.text())
def test_any_other_text_names_no_content(header: str) -> None:
    assert is_known(header, DIGEST) == (header.strip() == "*")
    assert not range_applies(header, DIGEST)
