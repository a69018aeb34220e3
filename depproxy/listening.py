"""Sockets that clients come to, and the HTTP server behind them, with its limits."""

import array
import fcntl
import mmap
import os
import socket
import termios
import time
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from depproxy.config import Address
from depproxy.errors import DepproxyError

MAX_HEADER = 32 * 1024
"""Bytes of a request's head: names have 255 characters, tokens some KiB."""

MAX_BODY = 2**40
"""Bytes of a request's body. It is dropped as it comes, and who sends one is told so first."""

BODY_TIMEOUT = 60.0
"""Seconds that a body may take: long enough for a client to read why it was refused."""

IDLE_TIMEOUT = 300.0
"""Seconds after which an idle connection is closed; docker keeps its own for 90 s."""

SLOWEST_CLIENT = 60.0
"""Seconds after which a client that takes no byte of what waits for it is left."""

BACKLOG = 4096
"""Connections that the kernel keeps for us while we are busy: with Tornado's 128, a thousand CI
jobs at once had to knock again, seconds later."""

LARGEST_PIECE = 8 * 2**20
"""Bytes of a file that stand in one write: what comes for each is some 60 µs in Python."""

TURN = 256 * 1024
"""Bytes of a file that are sent before others have their turn: a fast reader never makes the socket
wait. With 1 MiB nothing is gained, and small requests beside large ones take four times as long."""

_TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection (RFC 8446, 5.1), and of no HTTP request."""


class CannotListen(DepproxyError):
    """The address is taken, or not ours."""


def bind(addresses: Sequence[Address]) -> list[socket.socket]:
    """Listening sockets for all addresses. Raises `CannotListen`."""
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            sockets += bind_sockets(address.port, address.host, backlog=BACKLOG)
        except OSError as exc:
            for sock in sockets:
                sock.close()
            raise CannotListen(f"cannot listen on {address}: {exc.strerror}") from exc
    return sockets


def shown(sock: socket.socket) -> str:
    """``host:port`` of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_STAND_IN = mmap.mmap(-1, LARGEST_PIECE)
"""Stands in a write buffer for bytes that the kernel takes from a file. Nobody ever touches it, so
it has no memory."""


class _PlainStream(IOStream):
    """A connection without TLS that hangs up on those who begin with it, and on those who take
    nothing of what is sent to them.

    Docker tries TLS first on every registry that it takes without, and waits 10 s for an answer;
    when the connection is closed it goes on in plain HTTP at once.
    """

    _is_first = True
    _sent = 0
    _watch: object = None
    _file = (-1, 0, 0)
    _has_had_its_turn = False
    _is_undelayed = False

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """See `BaseIOStream.read_from_fd`."""
        count = super().read_from_fd(buf)
        if self._is_first and count:
            self._is_first = False
            if buf[0] == _TLS_HANDSHAKE:
                return 0  # as if the client had closed
        return count

    def write_to_fd(self, data: memoryview) -> int:
        """See `BaseIOStream.write_to_fd`. To say that nothing was taken makes Tornado wait until
        the socket takes more, which is at once: in between, others have their turn."""
        if data.obj is not _STAND_IN:
            count = super().write_to_fd(data)
        elif self._has_had_its_turn:
            self._has_had_its_turn = False
            return 0
        else:
            count = self._send_file()
        self._sent += count
        return count

    def set_nodelay(self, value: bool) -> None:
        """See `BaseIOStream.set_nodelay`. Answers are written whole, so there is nothing to wait
        for; switching it on and off for each of them took 9 µs of 63."""
        if value and not self._is_undelayed:
            self._is_undelayed = True
            super().set_nodelay(True)

    def stand_in(self, fd: int, offset: int, length: int) -> memoryview:
        """What is to be written in place of ``length`` bytes of an open file, of the first
        `LARGEST_PIECE` of them if there are more. One at a time, never 2 KiB or less, which
        Tornado would copy; the file stays open until it is written.

        The kernel takes it from its page cache then (sendfile): half the CPU of reading and
        writing. Corked (tcp(7)), it makes packets as large as they can be of what several calls
        give it, which halves the CPU once more.
        """
        length = min(length, LARGEST_PIECE)
        self._file = fd, offset, offset + length
        self._cork(True)
        return memoryview(_STAND_IN)[:length]

    def _send_file(self) -> int:
        fd, offset, end = self._file
        count = os.sendfile(self.socket.fileno(), fd, offset, min(end - offset, TURN))
        if count == 0:
            raise ConnectionResetError("a file has shrunk while it was sent")
        self._file = fd, offset + count, end
        if offset + count == end:
            self._cork(False)  # else the last packet would wait for more, for 200 ms
        else:
            self._has_had_its_turn = count == TURN
        return count

    def _cork(self, is_on: bool) -> None:
        if not self.closed() and self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, is_on)

    def write(self, data: bytes | memoryview) -> Future[None]:
        """See `BaseIOStream.write`."""
        written = super().write(data)
        self._watch_client()
        return written

    def _watch_client(self) -> None:
        if self._watch is None and self.writing():
            self._watch = self.io_loop.call_later(SLOWEST_CLIENT, self._look, self._taken())

    def _look(self, before: int) -> None:
        self._watch = None
        if self.closed() or not self.writing():
            return
        if self._taken() == before:
            self.close()
        else:
            self._watch_client()

    def _taken(self) -> int:
        """Bytes that the client has acknowledged: the kernel's own buffer may hold some MiB."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self.socket, termios.TIOCOUTQ, waiting)
        return self._sent - waiting[0]


class HttpServer(HTTPServer):
    """Tornado's server with our limits."""

    def initialize(self, application: HTTPServerConnectionDelegate) -> None:  # type: ignore[override]
        super().initialize(
            application,
            max_header_size=MAX_HEADER,
            max_body_size=MAX_BODY,
            body_timeout=BODY_TIMEOUT,
        )
        # Tornado would set up a timer for each request, and take it down: 8 µs of 54.
        self.conn_params.header_timeout = None
        self._awaited: dict[object, _AwaitedHead] = {}
        self._watch = PeriodicCallback(self._close_idle, IDLE_TIMEOUT / 30 * 1000)
        self._watch.start()

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """See `TCPServer.handle_stream`: nothing has been read from ``stream`` yet."""
        super().handle_stream(_PlainStream(stream.socket), address)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """See `HTTPServerConnectionDelegate.start_request`: a request is waited for."""
        delegate = super().start_request(server_conn, request_conn)
        head = _AwaitedHead(delegate, request_conn, lambda: self._awaited.pop(server_conn, None))
        self._awaited[server_conn] = head
        return head

    def on_close(self, server_conn: object) -> None:
        """See `HTTPServerConnectionDelegate.on_close`."""
        self._awaited.pop(server_conn, None)
        super().on_close(server_conn)

    def stop(self) -> None:
        """See `TCPServer.stop`."""
        self._watch.stop()
        super().stop()

    def _close_idle(self) -> None:
        latest = time.monotonic() - IDLE_TIMEOUT
        for head in [head for head in self._awaited.values() if head.since < latest]:
            head.close()


class _AwaitedHead(HTTPMessageDelegate):
    """A request of which nothing has come yet, or not all of its head."""

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTPConnection,
        arrived: Callable[[], object],
    ) -> None:
        self.since = time.monotonic()
        self._delegate = delegate
        self._connection = connection
        self._arrived = arrived
        self.data_received = delegate.data_received  # type: ignore[method-assign]
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._arrived()
        return self._delegate.headers_received(start_line, headers)

    def close(self) -> None:
        """Give up on it."""
        assert isinstance(self._connection, HTTP1Connection)
        self._connection.close()
