"""Requests, answers and origins: what is compared, and what is never shown."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from depproxy.upstream.messages import Answer, BoundedBuffer, BufferFull, Head, Origin, Request


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://docker.io", ("https", "docker.io", 443)),
        ("http://docker.io/v2/", ("http", "docker.io", 80)),
        ("HTTPS://Docker.IO./v2/", ("https", "docker.io", 443)),
        ("https://docker.io:5000/v2/?a=b", ("https", "docker.io", 5000)),
        ("http://[::1]:5000", ("http", "::1", 5000)),
        ("https://user@docker.io", ("https", "docker.io", 443)),
        ("https://docker.io@evil.example/", ("https", "evil.example", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int]) -> None:
    assert Origin.of(url) == Origin(*origin)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "docker.io",
        "//docker.io",
        "/v2/",
        "ftp://docker.io",
        "https://",
        "https://:443",
        "file:///x",
        "https://docker.io:x",
        "https://docker.io:99999",
        "http://[::1",
    ],
)
def test_what_is_no_absolute_http_url_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.of(url)


@given(st.text() | st.text("https://:@[].?#09az%").map("https://{}".format))
def test_any_text_has_an_origin_or_none(url: str) -> None:
    with suppress(ValueError):
        assert Origin.of(url).scheme in ("http", "https")


def test_authorization_is_replaced_or_taken_away_and_the_rest_stays() -> None:
    request = Request("GET", "https://docker.io", {"Accept": "x"}, foreign=True)
    somebody = request.with_authorization("Bearer abc")
    assert somebody.headers == {"Accept": "x", "Authorization": "Bearer abc"}
    assert somebody.with_authorization("Bearer def").headers["Authorization"] == "Bearer def"
    assert somebody.with_authorization(None) == request
    assert request.headers == {"Accept": "x"}


def test_credentials_and_bodies_are_not_shown() -> None:
    request = Request("GET", "https://docker.io").with_authorization("Bearer secret")
    answer = Answer(Head(200, HTTPHeaders()), b"secret")
    assert "secret" not in repr(request)
    assert "secret" not in repr(answer)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("1234", 1234),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, None),
        ("5, 5", None),
    ],
)
def test_a_length_is_a_number_or_unknown(value: str, length: int | None) -> None:
    assert Head(200, HTTPHeaders({"Content-Length": value})).length == length


def test_a_length_that_is_not_told_is_unknown() -> None:
    assert Head(200, HTTPHeaders()).length is None


@given(st.lists(st.binary(max_size=20)), st.integers(0, 60))
def test_a_buffer_keeps_what_came_first_and_says_when_it_is_full(
    pieces: list[bytes], limit: int
) -> None:
    buffer = BoundedBuffer(limit)
    whole = b"".join(pieces)
    full = False
    for piece in pieces:
        try:
            buffer.write(memoryview(piece))
        except BufferFull:
            full = True
            break
    assert buffer.bytes() == whole[:limit]
    assert full == (len(whole) > limit)
