"""What is done with the rest of a request that is answered before all of it has come."""

from collections.abc import Awaitable, Mapping
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

MAX_DROPPED = 64 * 2**20
"""Bytes of a body that are read after the answer, so that its sender comes to read that. Layers may
have more, but who sends those asks first where to."""


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers comes with a body (RFC 9112, 6.3)."""
    return "Content-Length" in headers or "Transfer-Encoding" in headers


class EarlyAnswers(HTTPMessageDelegate):
    """Stands before whoever answers a request with a body, who may do it at any time.

    Tornado closes the connection under a body that was not read to its end. That resets it, and a
    proxy in between would not read the answer any more. Here what comes after the answer is
    dropped, and the connection is kept. Who waits to be told to send a body (RFC 9110, 10.1.1) may
    still send it or not when he is told something else: there the connection ends.
    """

    def __init__(self, connection: HTTP1Connection, delegate: HTTPMessageDelegate) -> None:
        self._connection = connection
        self._delegate = delegate
        self._end_answer = connection.finish
        self._read_body = connection._read_body
        self._is_answered = False
        self._to_drop = MAX_DROPPED

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if "Expect" in headers:
            self._connection._disconnect_on_finish = True
        else:
            self._connection.finish = self._answered  # type: ignore[method-assign]
            self._connection._read_body = self._read_or_drop  # type: ignore[assignment,method-assign]
        return self._delegate.headers_received(start_line, headers)

    def _answered(self) -> None:
        self._is_answered = True

    async def _read_or_drop(self, *arguments: Any) -> None:
        """See `HTTP1Connection._read_body`. Who was answered gets no second answer, which a proxy
        would take for that to his next request, when the rest of his body is malformed."""
        try:
            reading = self._read_body(*arguments)
            if reading is not None:
                await reading
        except HTTPInputError:
            if self._is_answered:
                self._connection.close()
                raise StreamClosedError from None
            raise

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if not self._is_answered:
            return self._delegate.data_received(chunk)
        self._to_drop -= len(chunk)
        if self._to_drop < 0:
            self._end_answer()  # Tornado closes the connection
        return None

    def finish(self) -> None:
        self._connection.finish = self._end_answer  # type: ignore[method-assign]
        if self._is_answered:
            self._end_answer()
        else:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if not self._is_answered:
            self._delegate.on_connection_close()
