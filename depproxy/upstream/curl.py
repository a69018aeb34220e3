"""Requests on the wire: pycurl under Tornado's `CurlAsyncHTTPClient`, on a thread of its own.

Transfers run beside the loop that answers clients, so neither waits for the other. libcurl hands
a body over in pieces of 16 KiB; they are collected to `BUFFER` before anything looks at them, and
for at most `FLUSH_AFTER`. Nobody here waits for a reader: bytes go to a sink that takes them.
"""

import asyncio
import contextlib
import math
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPInputError

from depproxy.config import UpstreamConfig
from depproxy.errors import (
    UpstreamError,
    UpstreamSenseless,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.upstream.addresses import (
    Reach,
    literal_address,
    literal_reach,
    may_follow,
    reach_of,
)
from depproxy.upstream.certificates import Certificates
from depproxy.upstream.messages import (
    BufferFull,
    ChooseSink,
    Head,
    Origin,
    Request,
    Sink,
)

BUFFER = 256 * 1024
"""Bytes that are handed on at once: few enough that 64 transfers take 16 MiB."""

FLUSH_AFTER = 0.02
"""Seconds after which a piece is handed on even if it is small: followers of a slow upstream wait
for it."""

MAX_HEADER_BYTES = 64 * 1024
"""A head that is longer is an attack; libcurl itself would take 300 KiB."""

T = TypeVar("T")

_STATUS_LINE = re.compile(r"HTTP/[0-9.]+ ([0-9]{3})(?: |$)", re.ASCII)

_SUPPRESS_CONNECT_HEADERS = 265
"""libcurl's option of that name, which pycurl does not name: a proxy's head is not the answer's."""

_WEIRD_SERVER_REPLY = 8
"""libcurl's number for a head that is no HTTP; pycurl knows it by its old FTP name only."""

_SENSELESS = frozenset(
    {
        pycurl.E_UNSUPPORTED_PROTOCOL,
        pycurl.E_URL_MALFORMAT,
        pycurl.E_BAD_CONTENT_ENCODING,
        pycurl.E_WRITE_ERROR,
        _WEIRD_SERVER_REPLY,
    }
)


class CurlThread:
    """An event loop on a thread, where all transfers of all upstreams run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._clients: list[CurlAsyncHTTPClient] = []
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for client in self._clients:
            client.close()
        self._loop.close()

    def client(self, max_connections: int) -> CurlAsyncHTTPClient:
        """A pool of connections, closed with the thread. To be called on the thread."""
        client = CurlAsyncHTTPClient(force_instance=True, max_clients=max_connections)
        self._clients.append(client)
        return client

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the thread's loop; a cancelled caller cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def stop(self) -> None:
        """End the thread; transfers that still run are dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class CurlTransport:
    """All connections to one upstream, and to the hosts its redirects lead to."""

    def __init__(self, thread: CurlThread, config: UpstreamConfig, user_agent: str) -> None:
        self._thread = thread
        self._upstream = config.name
        self._origin = Origin.of(config.url)
        self._user_agent = user_agent
        self._connect_timeout = config.connect_timeout
        self._stall_timeout = config.stall_timeout
        self._max_connections = config.max_connections
        self._redirect_hosts = frozenset(config.redirect_hosts)
        self._proxy = config.proxy or ""
        self._certificates = Certificates(config.ca_file)
        self._clients: dict[bool, CurlAsyncHTTPClient] = {}
        self._reach = literal_reach(self._origin.host)

    async def send(self, request: Request, choose_sink: ChooseSink) -> Head:
        """See `Transport`."""
        return await self._thread.run(self._send(request, choose_sink))

    async def _send(self, request: Request, choose_sink: ChooseSink) -> Head:
        if request.foreign and self._proxy:
            self._check_literal(Origin.of(request.url).host)
        exchange = _Exchange(choose_sink, asyncio.get_running_loop())
        fetch = asyncio.ensure_future(
            self._client(request.foreign).fetch(
                HTTPRequest(
                    request.url,
                    method=request.method,
                    headers={"Accept-Encoding": "identity", **request.headers},
                    connect_timeout=self._connect_timeout,
                    request_timeout=0,
                    follow_redirects=False,
                    decompress_response=False,
                    user_agent=self._user_agent,
                    prepare_curl_callback=partial(self._prepare, request, exchange),
                ),
                raise_error=False,
            )
        )
        fetch.add_done_callback(_seen)
        try:
            while not fetch.done():
                left = exchange.patience(self._stall_timeout)
                if left <= 0:
                    raise UpstreamTimeout(
                        self._upstream, f"it sent nothing for {self._stall_timeout:g} s"
                    )
                await asyncio.wait({fetch}, timeout=left)
            return exchange.result(self._translate(fetch.exception(), exchange))
        finally:
            exchange.close()

    def _client(self, foreign: bool) -> CurlAsyncHTTPClient:
        """Redirect targets have connections of their own: reused ones were checked alike."""
        if foreign not in self._clients:
            self._clients[foreign] = self._thread.client(self._max_connections)
        return self._clients[foreign]

    def _prepare(self, request: Request, exchange: "_Exchange", curl: pycurl.Curl) -> None:
        exchange.started(curl)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROXY, self._proxy)  # empty: none, whatever the environment says
        curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        self._certificates.apply(curl)
        # Frees the connection of a transfer that `_send` has given up on.
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(self._stall_timeout))
        host = Origin.of(request.url).host
        check = partial(self._check, request.foreign, host) if not self._proxy else None
        curl.setopt(pycurl.OPENSOCKETFUNCTION, partial(_open_socket, exchange, check))

    def _check(self, foreign: bool, host: str, address: str) -> None:
        """Called with each address before it is connected to. Raises `UpstreamSenseless`."""
        reach = reach_of(address)
        if not foreign:
            if host == self._origin.host:
                self._reach = reach
        elif not may_follow(reach, self._reach, host in self._redirect_hosts):
            raise UpstreamSenseless(
                self._upstream,
                f"it redirects to {host}, a {reach.value} address: that is not followed"
                + self._advice(reach),
            )

    def _check_literal(self, host: str) -> None:
        """Behind a proxy only literal addresses can be checked: names are the proxy's to guard."""
        if literal_reach(host):
            self._check(True, host, literal_address(host) or host)

    def _advice(self, reach: Reach) -> str:
        if reach is Reach.LINK_LOCAL:
            return ""
        return f"; if it is right, add the host to upstreams.{self._upstream}.redirect_hosts"

    def _translate(
        self, error: BaseException | None, exchange: "_Exchange"
    ) -> UpstreamError | None:
        """The only place where curl's errors become ours."""
        if error is None:
            return None
        if not isinstance(error, CurlError):
            return UpstreamSenseless(self._upstream, f"it cannot be asked so: {error}")
        if exchange.no_way and exchange.head is None:
            return exchange.no_way
        text = str(error.message or error)
        started = exchange.head is not None
        if error.errno == pycurl.E_OPERATION_TIMEDOUT:
            if "onnect" in text:
                text = f"no connection within {self._connect_timeout:g} s"
            else:
                text = f"it sent nothing for {self._stall_timeout:g} s"
            return UpstreamTimeout(self._upstream, text)
        if error.errno in _SENSELESS:
            return UpstreamSenseless(self._upstream, f"its answer cannot be read: {text}")
        what = "the connection broke" if started else "it cannot be reached"
        return UpstreamUnreachable(self._upstream, f"{what}: {text}")


def _open_socket(
    exchange: "_Exchange", check: Callable[[str], None] | None, _purpose: int, address: Any
) -> Any:
    """libcurl's OPENSOCKETFUNCTION: it must not raise."""
    family, kind, protocol, where = address
    try:
        if check:
            check(where[0])
        return exchange.keep(socket.socket(family, kind, protocol))
    except UpstreamError as exc:
        exchange.no_way = exc
    except (OSError, ValueError, IndexError, TypeError):
        pass
    return pycurl.SOCKET_BAD


class _Exchange:
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
        self._sockets: list[socket.socket] = []
        self._started = 0.0
        self._progress = 0.0

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
        if self._header_bytes > MAX_HEADER_BYTES:
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
        self._progress = self._loop.time()
        self._pieces += piece
        if len(self._pieces) >= BUFFER:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(FLUSH_AFTER, self._flush)
        return len(piece)

    def _flush(self) -> None:
        if self._flush_timer:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._pieces or self._closed or self._sink is None or self._error:
            return
        pieces, self._pieces = self._pieces, bytearray()
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


def _seen(fetch: asyncio.Future[HTTPResponse]) -> None:
    """A transfer that was given up ends some time later: its error has been reported already."""
    if not fetch.cancelled():
        fetch.exception()
