"""The HTTP server behind the sockets, with its limits."""

import array
import fcntl
import mmap
import os
import socket
import ssl
import termios
from asyncio import Future

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.iostream import IOStream

from depproxy.tls import encrypted

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

LARGEST_PIECE = 256 * 1024
"""Bytes of a file that are sent in one go: a fast reader never makes the socket wait, and others
want their turn."""

_TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection (RFC 8446, 5.1), and of no HTTP request."""


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
    _file: tuple[int, int] = (-1, 0)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """See `BaseIOStream.read_from_fd`."""
        count = super().read_from_fd(buf)
        if self._is_first and count:
            self._is_first = False
            if buf[0] == _TLS_HANDSHAKE:
                return 0  # as if the client had closed
        return count

    def write_to_fd(self, data: memoryview) -> int:
        """See `BaseIOStream.write_to_fd`."""
        count = self._send_file(len(data)) if data.obj is _STAND_IN else super().write_to_fd(data)
        self._sent += count
        return count

    def stand_in(self, fd: int, offset: int, length: int) -> memoryview:
        """What is to be written in place of ``length`` bytes of an open file, of the first
        `LARGEST_PIECE` of them if there are more. One at a time, never 2 KiB or less, which
        Tornado would copy; the file stays open until it is written.

        The kernel takes it from its page cache then (sendfile): half the CPU of reading and
        writing, and twice the throughput.
        """
        self._file = fd, offset
        return memoryview(_STAND_IN)[:length]

    def _send_file(self, length: int) -> int:
        fd, offset = self._file
        count = os.sendfile(self.socket.fileno(), fd, offset, length)
        if count == 0:
            raise ConnectionResetError("a file has shrunk while it was sent")
        self._file = fd, offset + count
        return count

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

    tls: ssl.SSLContext | None = None
    """What connections are encrypted with. A new one counts for new connections; those by a unix
    socket never leave the machine, and have none."""

    def initialize(self, entrance: HTTPServerConnectionDelegate) -> None:  # type: ignore[override]
        super().initialize(
            entrance,
            idle_connection_timeout=IDLE_TIMEOUT,
            max_header_size=MAX_HEADER,
            max_body_size=MAX_BODY,
            body_timeout=BODY_TIMEOUT,
        )

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """See `TCPServer.handle_stream`: nothing has been read from ``stream`` yet."""
        sock = stream.socket
        if self.tls is None or sock.family == socket.AF_UNIX:
            super().handle_stream(_PlainStream(sock), address)
        elif encrypted_stream := encrypted(sock, self.tls):
            super().handle_stream(encrypted_stream, address)
