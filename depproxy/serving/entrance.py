"""Where requests come in: each goes to the application that is in force when it begins, as the
client that a trusted proxy says it is."""

import array
import asyncio
import fcntl
import re
import socket
import termios
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import PeriodicCallback

from depproxy.serving.bodies import EarlyAnswers, has_body
from depproxy.serving.heads import Heads
from depproxy.serving.proxies import UNIX, Client, TrustedProxies

IDLE_TIMEOUT = 300.0
"""Seconds that a connection may wait for the next request, and a request for the end of its head;
docker keeps idle connections for 90 s."""

NEWCOMERS_PATIENCE = 1.0
"""Seconds that a server which stops gives to connections on which nothing was asked yet: the
request is on its way, and its client would not try again as for a connection that has served."""

_AFTER_AUTHORITY = re.compile(r"[/?#].*", re.DOTALL)
"""Of a URL without its scheme: RFC 3986, 3.2."""

_MAPPED = "::ffff:"
"""How a socket that takes IPv4 and IPv6 shows an IPv4 address."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a request meets: all of it is of one configuration."""

    application: HTTPServerConnectionDelegate
    proxies: TrustedProxies


class Entrance(HTTPServerConnectionDelegate):
    """Takes requests, and knows the connections that they come on.

    ``way`` may be replaced at any time: a request that has begun ends on the one that it began on.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self._arrivals: dict[object, _Arrival] = {}
        """What each connection waits for, or answers."""
        self._is_draining = False
        self._watch = PeriodicCallback(self._close_idle, IDLE_TIMEOUT / 30 * 1000)
        self._watch.start()

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Called when a connection begins to wait for its next request."""
        arrival = _Arrival(self, server_conn, request_conn)
        self._arrivals[server_conn] = arrival
        if self._is_draining and not arrival.is_first and arrival.is_idle():
            arrival.connection.close()
        return arrival

    def on_close(self, server_conn: object) -> None:
        """Called when a connection has ended."""
        self._arrivals.pop(server_conn, None)

    def _close_idle(self) -> None:
        latest = time.monotonic() - IDLE_TIMEOUT
        for arrival in list(self._arrivals.values()):
            if arrival.is_awaited_since(latest):
                arrival.connection.close()

    async def drain(self, patience: float) -> None:
        """Close connections that are idle, and the others after their answer. Newcomers have
        ``patience`` seconds to ask."""
        self._is_draining = True
        self._watch.stop()
        newcomers = []
        for arrival in list(self._arrivals.values()):
            arrival.make_last()
            if arrival.is_idle():
                if arrival.is_first:
                    newcomers.append(arrival)
                else:
                    arrival.connection.close()
        if newcomers:
            await asyncio.wait([arrival.begun() for arrival in newcomers], timeout=patience)
        for arrival in newcomers:
            if arrival.is_idle():
                arrival.connection.close()


class _Arrival(HTTPMessageDelegate):
    """A request that is waited for. It learns where to go when its head has come: a connection may
    have been idle since before a reload."""

    def __init__(
        self, entrance: Entrance, server_conn: object, request_conn: HTTPConnection
    ) -> None:
        assert isinstance(request_conn, HTTP1Connection)
        self.connection = request_conn
        self._since = time.monotonic()
        self._has_begun = False
        self._begun: asyncio.Future[None] | None = None
        self._entrance = entrance
        self._server_conn = server_conn
        Heads.remember(request_conn)

    @property
    def is_first(self) -> bool:
        """Whether nothing was asked on this connection yet."""
        return not hasattr(self.connection.context, "peer")

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._has_begun = True
        if self._begun and not self._begun.done():
            self._begun.set_result(None)
        way = self._entrance.way
        context: Any = self.connection.context
        client = way.proxies.client(_peer(context), headers)
        context.remote_ip, context.protocol = client.address, client.scheme
        assert isinstance(start_line, RequestStartLine)
        if not start_line.path.startswith("/"):
            start_line = start_line._replace(path=_in_origin_form(start_line.path))
        delegate = way.application.start_request(self._server_conn, self.connection)
        if has_body(headers):
            delegate = EarlyAnswers(self.connection, delegate)
        else:
            self.connection._read_finished = True  # it may be answered and go on right now
        self.data_received = delegate.data_received  # type: ignore[method-assign]
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]
        return delegate.headers_received(start_line, headers)

    def begun(self) -> "asyncio.Future[None]":
        """Done when the request has come."""
        self._begun = asyncio.get_running_loop().create_future()
        return self._begun

    def is_awaited_since(self, latest: float) -> bool:
        """Whether its head has not come, and was waited for then already (monotonic clock)."""
        return not self._has_begun and self._since < latest

    def is_idle(self) -> bool:
        """Whether nothing of the request is here yet, not even unread."""
        stream = self.connection.stream
        if self._has_begun:
            return False
        if stream is None or stream.closed():
            return True
        unread = array.array("i", [0])
        fcntl.ioctl(stream.socket, termios.FIONREAD, unread)
        return not unread[0] and not stream._read_buffer_size

    def make_last(self) -> None:
        """Let the connection end with this request's answer, and say so in it."""
        self.connection.params.no_keep_alive = True  # of all connections: they share it
        self.connection._disconnect_on_finish = True


def _in_origin_form(target: str) -> str:
    """What is asked for by a whole URL, as clients do that take this server for their HTTP proxy
    (RFC 9112, 3.2.2)."""
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return target
    found = _AFTER_AUTHORITY.search(rest)
    after = found[0] if found else ""
    return after if after.startswith("/") else f"/{after}"


def _peer(context: Any) -> Client:
    """Who is connected; found once for all requests of a connection."""
    known: Client | None = getattr(context, "peer", None)
    if known is None:
        address: str = context.remote_ip
        if context.address_family == socket.AF_UNIX:
            address = UNIX
        known = context.peer = Client(address.removeprefix(_MAPPED), context.protocol)
    return known
