"""One request and its answer on Tornado's own HTTP connection, without its `RequestHandler`.

What is below ``/v2/`` is asked thousands of times a second. Of the 285 µs of CPU that a small hit
took, more than half went into what a `RequestHandler` does for everybody: routing by patterns,
arguments, cookies, entity tags, a head that is built twice. A registry needs none of it, and now a
hit takes 110 µs. Reading the request, framing the answer and keeping the connection are Tornado's
here, too.
"""

import asyncio
import logging
from collections.abc import Awaitable

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from depproxy.errors import DepproxyError, StoreError, UpstreamError
from depproxy.handlers.answers import error_headers, explained, reason_of, verdict
from depproxy.handlers.surroundings import SERVER, Surroundings

_log = logging.getLogger(__name__)


class LeanHandler(HTTPMessageDelegate):
    """Answers one request. `answer` is run when the request, with its body, has been read; what it
    raises becomes an answer too."""

    VERBS: tuple[str, ...] = ("GET", "HEAD")
    """What is answered here; everything else is 405 with these in ``Allow``."""

    kind = "unknown"
    """What the access log and the metrics call this kind of resource."""

    def __init__(self, request: HTTPServerRequest, surroundings: Surroundings) -> None:
        assert isinstance(request.connection, HTTP1Connection)
        self.request = request
        self.connection = request.connection
        self.status = 200
        self.sent = 0
        """Bytes of the body that the connection took."""
        self.access = surroundings.begin(request, self.kind)
        """For the log: whoever learns what was asked for notes it here."""
        self.headers = {
            "Server": SERVER,
            "Date": surroundings.dates.now(),
            "X-Content-Type-Options": "nosniff",
            "X-Request-Id": self.access.id,
        }
        self._surroundings = surroundings
        self._is_head_sent = False
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    # -- what Tornado tells ------------------------------------------------------------------

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """A verb that is not answered is refused before its body, which may be a whole layer, has
        come."""
        self._surroundings.activity.enter()
        if self.request.method not in self.VERBS:
            self._refuse(405)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Bodies are dropped as they come: nothing is uploaded here."""
        return None

    def finish(self) -> None:
        """The request has been read."""
        if self._is_over:
            return
        try:
            is_answered = self.answer_at_once()
        except Exception as exc:  # noqa: BLE001 - becomes an answer
            self._failed(exc)
        else:
            if not is_answered:
                self.connection.set_close_callback(self._left)
                self._task = asyncio.ensure_future(self._run())

    def on_connection_close(self) -> None:
        """Who leaves before his body has come."""
        if self._task is None and not self._is_over:
            self._end(was_cut=True)

    # -- what is answered --------------------------------------------------------------------

    def answer_at_once(self) -> bool:
        """Send the answer if all of it is at hand: False where something has to be waited for, and
        nothing was sent. Spares a task, a turn of the loop, and a look-out for clients that leave:
        17 µs of 156."""
        return False

    async def answer(self) -> None:
        """Send the answer, by `send` or by `begin_body`, `write` and `end_body`."""
        raise NotImplementedError

    @property
    def is_head(self) -> bool:
        return self.request.method == "HEAD"

    def send(self, body: bytes = b"") -> None:
        """A whole answer. Its length is told where nobody has set one; of an answer to ``HEAD``
        only the head is sent, and a 304 tells no length that its 200 would not (RFC 9110, 8.6)."""
        if self.status != 304 and (body or not self.is_head):
            self.headers.setdefault("Content-Length", str(len(body)))
        if self.is_head or self.status == 304:
            body = b""
        self._write_head(body)
        if self.connection.stream.closed():
            self.cut()  # the client had left
            return
        self.sent = len(body)
        self.end_body()

    async def begin_body(self) -> None:
        """The head of an answer whose body follows in pieces. Raises `StreamClosedError`."""
        await self._write_head(b"")

    async def write(self, piece: bytes | memoryview) -> None:
        """Some of the body; waits until the connection has taken it. Raises `StreamClosedError`."""
        await self.connection.write(piece)  # type: ignore[arg-type]  # Tornado takes both
        self.sent += len(piece)

    def end_body(self) -> None:
        """The answer is complete; one of unknown length gets its closing chunk."""
        self.connection.finish()
        self._end()

    def cut(self) -> None:
        """Close the connection under an answer that cannot be completed."""
        self.connection.close()
        self._end(was_cut=True)

    def render_error(self, code: str, message: str) -> bytes:
        """The body of an error, whose type is set with it."""
        raise NotImplementedError

    def challenge(self, reason: str | None) -> str:
        """How to say who one is; ``reason`` is what is wrong with the token that came."""
        raise NotImplementedError

    def account(self) -> None:
        """Called once, when the answer has ended: for what is counted."""

    # -- how it ends -------------------------------------------------------------------------

    def _left(self) -> None:
        """Who leaves in the middle of a body waits for no more of it. Before the head, the answer
        may be one that others wait for, or that is kept: it goes on."""
        if self._task and self._is_head_sent:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self.answer()
        except asyncio.CancelledError:
            if not self._is_over:
                self.cut()
            raise
        except Exception as exc:  # noqa: BLE001 - becomes an answer
            self._failed(exc)

    def _failed(self, error: Exception) -> None:
        """What the domain raises is an answer, not a fault of the program."""
        if isinstance(error, UpstreamError | StoreError):
            _log.warning("%s %s: %s", self.request.method, self.request.path, error)
        elif not isinstance(error, StreamClosedError | DepproxyError):
            _log.error("%s %s failed", self.request.method, self.request.path, exc_info=error)
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Once the head has left, the connection can only be cut, so that the client does not take
        what it has for the whole."""
        if self._is_over:
            return
        if self._is_head_sent or isinstance(error, StreamClosedError):
            self.cut()
            return
        self._refuse(verdict(error, 500).status, error)

    def _refuse(self, status: int, error: BaseException | None = None) -> None:
        self.status = status
        self.headers.update(error_headers(error, self.challenge))
        if status == 405:
            self.headers["Allow"] = ", ".join(self.VERBS)
        for name in ("Content-Length", "ETag", "Cache-Status", "Docker-Content-Digest"):
            self.headers.pop(name, None)  # they were about what cannot be sent
        message = explained(error, status, self.request.method or "", self.VERBS)
        self.send(self.render_error(verdict(error, status).code, message))

    def _write_head(self, body: bytes) -> "asyncio.Future[None]":
        self._is_head_sent = True
        reason = reason_of(self.status)
        if self._is_plain():
            lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
            head = f"HTTP/1.1 {self.status} {reason}\r\n{lines}\r\n"
            return self._write_at_once(head.encode("latin-1") + body)
        start = ResponseStartLine("HTTP/1.1", self.status, reason)
        headers = HTTPHeaders()
        for name, value in self.headers.items():
            headers[name] = value
        return self.connection.write_headers(start, headers, body)

    def _write_at_once(self, answer: bytes) -> "asyncio.Future[None]":
        """A whole answer, past Tornado's connection, which would make a future of its own for it:
        5 µs of 107."""
        connection = self.connection
        if connection.stream.closed():
            return connection.write(answer)  # says so
        written = connection._pending_write = connection.stream.write(answer)
        return written

    def _is_plain(self) -> bool:
        """Whether the head can be written as it is: nothing in it comes from an upstream, and the
        connection is kept without a word. Checking, splitting and encoding each line take 15 µs of
        140; Tornado lets heads through that were made before, though it would rather not."""
        return (
            self._task is None
            and self.status in (200, 206, 304)
            and "Content-Length" in self.headers
            and self.request.version == "HTTP/1.1"
            and not self.connection._disconnect_on_finish
        )

    def _end(self, *, was_cut: bool = False) -> None:
        self._is_over = True
        access = self.access
        access.status, access.size, access.cut = self.status, self.sent, was_cut
        access.duration = self.request.request_time()
        self._surroundings.note(access)
        self.account()
        self._surroundings.activity.leave()
