"""Heads that come again are what Tornado would make of each."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPInputError

from depproxy.serving.heads import Heads

FIRST = (
    b"GET /v2/ HTTP/1.1",
    b"GET /v2/a HTTP/1.1\r",
    b"",
    b"\r",
    b"\xff",
    b"GET / HTTP/1.1\nA: b",
)
FIELDS = (b"Host: a", b"host:a\r", b"A: 1", b"A: 2", b": x", b" folded", b"A", b"A: \xff\r", b"")

heads = st.builds(
    lambda before, lines: before + b"\n".join(lines) + b"\r\n\r\n",
    st.sampled_from([b"", b"\r\n", b"\n\r\r\n"]),
    st.builds(
        lambda first, fields: [first, *fields],
        st.sampled_from(FIRST),
        st.lists(st.sampled_from(FIELDS), max_size=3),
    ),
)


def outcome(parse: object, data: bytes) -> tuple[str, list[tuple[str, str]]] | None:
    assert callable(parse)
    try:
        line, headers = parse(data)
    except HTTPInputError:
        return None
    assert isinstance(headers, HTTPHeaders)
    return line, list(headers.get_all())


@given(st.lists(heads, max_size=5))
@example([b"\nGET / HTTP/1.1\r\nA: 1\r\n\r\n", b"XX\nGET / HTTP/1.1\r\nA: 1\r\n\r\n"])
@example([b"G\r\nA: 1\r\n\r\n", b"G\r\nA\r\n\r\n", b"H\r\nA\r\n\r\n"])
def test_every_head_of_a_connection_is_what_tornado_makes_of_it(
    of_one_connection: list[bytes],
) -> None:
    known = Heads()
    for data in of_one_connection:
        tornados = HTTP1Connection.__new__(HTTP1Connection)._parse_headers
        assert outcome(known.parse, data) == outcome(tornados, data)


def test_long_heads_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    known, fields = Heads(), b"\r\nHost: x\r\nAccept: " + b"y" * 3000 + b"\r\n\r\n"
    short = b"\r\nHost: x\r\n\r\n"
    for rest in (short, fields, short):
        known.parse(b"GET /a HTTP/1.1" + rest)
    read: list[str] = []
    monkeypatch.setattr(HTTPHeaders, "parse", read.append)
    known.parse(b"GET /b HTTP/1.1" + short)
    assert not read
    known.parse(b"GET /b HTTP/1.1" + fields)
    assert read


def test_headers_that_came_before_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Heads()
    line, headers = known.parse(b"GET /a HTTP/1.1\r\nHost: x\r\nAccept: y\r\n\r\n")
    assert (line, headers["Accept"]) == ("GET /a HTTP/1.1", "y")
    monkeypatch.setattr(HTTPHeaders, "parse", None)
    again = known.parse(b"HEAD /b HTTP/1.1\r\nHost: x\r\nAccept: y\r\n\r\n")
    assert again == ("HEAD /b HTTP/1.1", headers)
