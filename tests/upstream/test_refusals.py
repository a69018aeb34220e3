"""What an answer means that brings nothing."""

import pytest
from tornado.httputil import HTTPHeaders

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamSenseless,
)
from depproxy.upstream.conversation import refusal, retry_after
from depproxy.upstream.messages import Head


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, UpstreamNotFound),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (429, UpstreamLimited),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
        (504, UpstreamFailed),
        (204, UpstreamSenseless),
        (304, UpstreamSenseless),
        (400, UpstreamSenseless),
        (418, UpstreamSenseless),
    ],
)
def test_every_status_that_is_no_success_means_something(
    status: int, error: type[UpstreamError]
) -> None:
    found = refusal("example.org", Head(status, HTTPHeaders()))
    assert type(found) is error
    assert str(found).startswith("example.org: ")
    assert str(status) in str(found)


def test_a_limit_carries_how_long_to_wait() -> None:
    found = refusal("example.org", Head(429, HTTPHeaders({"Retry-After": "17"})))
    assert isinstance(found, UpstreamLimited)
    assert found.retry_after == 17
    assert "17 s" in str(found)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_where_it_is_in_seconds(value: str, seconds: int | None) -> None:
    assert retry_after(Head(429, HTTPHeaders({"Retry-After": value}))) == seconds
