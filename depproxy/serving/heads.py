"""Heads of requests: on one connection they hardly differ but in their first line."""

from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders

_LONGEST_KEPT = 2048
"""Bytes of header fields that are remembered: docker sends some 700, or 1,700 with a token. Idle
connections are many, and what they keep in memory is little."""


class Heads:
    """Reads the heads of one connection, and does not read again what came like that before: two
    header fields cost 7 µs of 115, and docker sends ten."""

    def __init__(self) -> None:
        self._fields: bytes | None = None
        self._headers = HTTPHeaders()

    @classmethod
    def remember(cls, connection: HTTP1Connection) -> None:
        """Let a connection, which Tornado makes anew for each request, know the last head."""
        context: Any = connection.context
        heads: Heads | None = getattr(context, "heads", None)
        if heads is None:
            heads = context.heads = cls()
        connection._parse_headers = heads.parse  # type: ignore[method-assign]

    def parse(self, data: bytes) -> tuple[str, HTTPHeaders]:
        """The first line, and the headers, which nobody may change: what Tornado makes of a head,
        by the same rules (RFC 9112, 2.2). Raises `HTTPInputError`."""
        data = data.lstrip(b"\r\n")
        end = data.find(b"\n")
        fields = data[end:]
        line = data[:end].decode("latin-1").rstrip("\r")
        if fields == self._fields:
            return line, self._headers
        headers = HTTPHeaders.parse(fields.decode("latin-1"))
        if len(fields) <= _LONGEST_KEPT:
            self._fields, self._headers = fields, headers
        return line, headers
