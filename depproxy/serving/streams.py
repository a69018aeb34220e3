"""Connections of clients: plain ones, from which the kernel sends files, and those with TLS."""

import array
import contextlib
import fcntl
import mmap
import os
import socket
import ssl
import termios
from asyncio import Future
from typing import Any

from tornado.iostream import BaseIOStream, IOStream, SSLIOStream

SLOWEST_CLIENT = 60.0
"""Seconds after which a client that takes no byte of what waits for it is left."""

LARGEST_PIECE = 8 * 2**20
"""Bytes of a file that stand in one write: what comes for each is some 60 µs in Python."""

TURN = 256 * 1024
"""Bytes of a file that are sent before others have their turn: a fast reader never makes the socket
wait. It is also what several clients get most by: 3.5 GiB/s for four of them, where 64 KiB give 1.9
and 512 KiB 2.6."""

_TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection (RFC 8446, 5.1), and of no HTTP request."""

_NO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"400 Bad Request: this port speaks TLS; begin the URL with https\n"
)
"""What who comes without TLS is told, without TLS."""

_STAND_IN = mmap.mmap(-1, LARGEST_PIECE)
"""Stands in a write buffer for bytes that the kernel takes from a file. Nobody ever touches it, so
it has no memory."""


class _Watched(BaseIOStream):
    """A connection that hangs up on those who take nothing of what is sent to them."""

    _sent = 0
    _watch: object = None

    def write(self, data: bytes | memoryview) -> Future[None]:
        """See `BaseIOStream.write`."""
        written = super().write(data)
        if self._watch is None and self.writing():
            self._watch_client()
        return written

    def _watch_client(self) -> None:
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
        """Stands still when the client does: what was sent, without what the kernel still has (some
        MiB). Under TLS the two are not of one measure, as it makes more of the bytes."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, waiting)
        return self._sent - waiting[0]


class PlainStream(_Watched, IOStream):
    """A connection without TLS that hangs up on those who begin with it, too.

    Docker tries TLS first on every registry that it takes without, and waits 10 s for an answer;
    when the connection is closed it goes on in plain HTTP at once.
    """

    _is_first = True
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


class TlsStream(_Watched, SSLIOStream):
    """A connection with TLS that tells those who speak plain HTTP what to do."""

    def close(self, exc_info: Any = False) -> None:
        """See `BaseIOStream.close`."""
        if getattr(exc_info, "reason", None) == "HTTP_REQUEST" and not self.closed():
            self._answer_plainly()
        super().close(exc_info)

    def _answer_plainly(self) -> None:
        """Past TLS. What has come is read first: bytes that nobody has read would make a reset of
        the end, and the answer would be lost."""
        with contextlib.suppress(OSError):
            while os.read(self.socket.fileno(), 65536):
                pass
        with contextlib.suppress(OSError):
            os.write(self.socket.fileno(), _NO_TLS)

    def write_to_fd(self, data: memoryview) -> int:
        """See `BaseIOStream.write_to_fd`."""
        count = super().write_to_fd(data)
        self._sent += count
        return count


def encrypted(sock: socket.socket, context: ssl.SSLContext) -> "TlsStream | None":
    """A connection whose handshake is to come; None, and closed, where its client has left."""
    try:
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except OSError:
        sock.close()
        return None
    return TlsStream(wrapped)
