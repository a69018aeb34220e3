"""Requests on the wire: pycurl under Tornado's `CurlAsyncHTTPClient`, on a thread of its own.

Transfers run beside the loop that answers clients, so neither waits for the other. Nobody here
waits for a reader: bytes go to a sink that takes them.
"""

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse

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
from depproxy.upstream.exchange import Exchange
from depproxy.upstream.messages import (
    ChooseSink,
    Head,
    Origin,
    Request,
)

T = TypeVar("T")

READ_AT_ONCE = 256 * 1024
"""Bytes that libcurl takes from a socket in one go; the transfers of a client share the buffer. Its
own 16 KiB cost 0.13 s of CPU time more a GiB."""

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

    def close(self, client: CurlAsyncHTTPClient) -> None:
        """Close a pool before the thread ends. To be called on the thread."""
        self._clients.remove(client)
        client.close()

    def call(self, work: Callable[[], object]) -> None:
        """Do this on the thread, soon."""
        self._loop.call_soon_threadsafe(work)

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
        self._transfers = 0
        self._is_retired = False

    def retire(self) -> None:
        """There is another way to this upstream now: keep no connection that nothing uses. What
        runs ends, and may begin anew."""
        self._thread.call(self._retire)

    def _retire(self) -> None:
        self._is_retired = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._is_retired and not self._transfers:
            for client in self._clients.values():
                self._thread.close(client)
            self._clients.clear()

    async def send(self, request: Request, choose_sink: ChooseSink) -> Head:
        """See `Transport`."""
        return await self._thread.run(self._send(request, choose_sink))

    async def _send(self, request: Request, choose_sink: ChooseSink) -> Head:
        if request.foreign and self._proxy:
            self._check_literal(Origin.of(request.url).host)
        exchange = Exchange(choose_sink, asyncio.get_running_loop())
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
        self._transfers += 1
        fetch.add_done_callback(self._ended)
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

    def _ended(self, fetch: asyncio.Future[HTTPResponse]) -> None:
        """A transfer that was given up ends some time later: its error has been reported then."""
        if not fetch.cancelled():
            fetch.exception()
        self._transfers -= 1
        self._close_unused()

    def _client(self, foreign: bool) -> CurlAsyncHTTPClient:
        """Redirect targets have connections of their own: reused ones were checked alike."""
        if foreign not in self._clients:
            self._clients[foreign] = self._thread.client(self._max_connections)
        return self._clients[foreign]

    def _prepare(self, request: Request, exchange: Exchange, curl: pycurl.Curl) -> None:
        exchange.started(curl)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        curl.setopt(pycurl.BUFFERSIZE, READ_AT_ONCE)
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

    def _translate(self, error: BaseException | None, exchange: Exchange) -> UpstreamError | None:
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
    exchange: Exchange, check: Callable[[str], None] | None, _purpose: int, address: Any
) -> Any:
    """libcurl's OPENSOCKETFUNCTION: it must not raise."""
    if exchange.is_closed:
        return pycurl.SOCKET_BAD
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
