"""One request and its answer, as libcurl calls back.

libcurl hands a body over in pieces of 16 KiB. They are collected to `BUFFER` before anything looks
at them; what comes after a silence is handed on at once, and nothing waits for longer than
`FLUSH_AFTER`.
"""

import asyncio
import contextlib
import math
import re
import socket

import pycurl
from tornado.httputil import HTTPHeaders, HTTPInputError

from depproxy.errors import UpstreamError
from depproxy.upstream.messages import BufferFull, ChooseSink, Head, Sink

BUFFER = 256 * 1024
"""Bytes that are handed on at once: few enough that 64 transfers take 16 MiB."""

FLUSH_AFTER = 0.02
"""Seconds from one small piece that is handed on to the next one: followers of a slow upstream wait
for it, and each costs a write."""

MAX_HEADER_BYTES = 64 * 1024
"""A head that is longer is an attack; libcurl itself would take 300 KiB."""

_STATUS_LINE = re.compile(r"HTTP/[0-9.]+ ([0-9]{3})(?: |$)", re.ASCII)


class Exchange:
    """One request and its answer, as libcurl calls back. Lives on the thread's loop only.

    libcurl prints what its callbacks raise and goes on, so nothing here raises: the first error is
    kept, and a short count tells libcurl to stop.
    """

    def __init__(self, choose_sink: ChooseSink, loop: asyncio.AbstractEventLoop) -> None:
        self.head: Head | None = None
        self.no_way: UpstreamError | None = None
        """Why an address was not connected to; another one of the host may do."""
        self._choose_sink = choose_sink
        self._sink: Sink | None = None
        self._loop = loop
        self._curl: pycurl.Curl | None = None
        self._error: BaseException | None = None
        self._hung_up = False
        self._closed = False
        self._lines: list[str] = []
        self._header_bytes = 0
        self._pieces = bytearray()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushed = -math.inf
        self._sockets: list[socket.socket] = []
        self._started = 0.0
        self._progress = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for this answer any more; libcurl may not know yet."""
        return self._closed

    def started(self, curl: pycurl.Curl) -> None:
        """The request has left the queue and has a connection's handle."""
        self._curl = curl
        self._started = self._progress = self._loop.time()

    def patience(self, stall_timeout: float) -> float:
        """Seconds until the upstream has been silent for too long, not counting the time in the
        queue and until the connection stands (which has a limit of its own)."""
        if self._curl is None:
            return stall_timeout
        connected = float(self._curl.getinfo(pycurl.PRETRANSFER_TIME))
        if not connected:
            return stall_timeout
        since = max(self._progress, self._started + connected)
        return since + stall_timeout - self._loop.time()

    def keep(self, sock: socket.socket) -> socket.socket:
        """pycurl duplicates the descriptor; this one is closed with the exchange."""
        self._sockets.append(sock)
        return sock

    def on_header(self, raw: bytes) -> int:
        """libcurl's HEADERFUNCTION: one line at a time, the empty one ends the head."""
        self._progress = self._loop.time()
        self._header_bytes += len(raw)
        if self._closed or self._header_bytes > MAX_HEADER_BYTES:
            return 0
        line = raw.decode("latin-1").rstrip("\r\n")
        if line.startswith("HTTP/"):
            self._lines = [line]
            self.head = None
        elif line:
            self._lines.append(line)
        elif self.head is None and self._lines:
            return len(raw) if self._on_head() else 0
        return len(raw)

    def _on_head(self) -> bool:
        match = _STATUS_LINE.match(self._lines[0])
        if not match:
            return False
        status = int(match[1])
        if status < 200:
            return True
        headers = HTTPHeaders()
        for line in self._lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                with contextlib.suppress(HTTPInputError):  # an odd one says nothing to us
                    headers.add(name.strip(), value.strip())
        self.head = Head(status, headers)
        try:
            self._sink = self._choose_sink(self.head)
        except Exception as exc:  # noqa: BLE001 - kept, and raised by `result`
            self._error = exc
            return False
        self._hung_up = self._sink is None
        return not self._hung_up

    def on_body(self, piece: bytes) -> int:
        """libcurl's WRITEFUNCTION: at most 16 KiB at a time."""
        if self._closed or self._error or self._sink is None:
            return 0
        self._pieces += piece
        if len(self._pieces) >= BUFFER:
            self._flush()
        elif self._flush_timer is None:
            self._progress = self._loop.time()
            due = max(self._progress, self._flushed + FLUSH_AFTER)
            self._flush_timer = self._loop.call_at(due, self._flush)
        return len(piece)

    def _flush(self) -> None:
        if self._flush_timer:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._pieces or self._closed or self._sink is None or self._error:
            return
        pieces, self._pieces = self._pieces, bytearray()
        self._flushed = self._progress = self._loop.time()
        try:
            self._sink.write(memoryview(pieces))
        except BufferFull:
            self._hung_up = True
            self._sink = None
        except Exception as exc:  # noqa: BLE001 - kept, and raised by `result`
            self._error = exc

    def result(self, error: UpstreamError | None) -> Head:
        """The head of a finished answer. ``error`` is what curl made of it."""
        self._flush()
        if self._error:
            raise self._error
        if self.head is not None and (error is None or self._hung_up):
            return self.head
        raise error or RuntimeError("curl reports neither an answer nor an error")

    def close(self) -> None:
        """Nothing reaches the sink from here on."""
        self._closed = True
        self._curl = None
        for sock in self._sockets:
            sock.close()
        if self._flush_timer:
            self._flush_timer.cancel()
