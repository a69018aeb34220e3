"""The HTTP server on the connections, with its limits."""

import socket
import ssl

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.iostream import IOStream

from depproxy.serving.streams import PlainStream, encrypted

MAX_HEADER = 32 * 1024
"""Bytes of a request's head: names have 255 characters, tokens some KiB."""

MAX_BODY = 2**40
"""Bytes of a request's body. It is dropped as it comes, and who sends one is told so first."""

BODY_TIMEOUT = 60.0
"""Seconds that a body may take: long enough for a client to read why it was refused."""


class HttpServer(HTTPServer):
    """Tornado's server with our limits."""

    tls: ssl.SSLContext | None = None
    """What connections are encrypted with. A new one counts for new connections; those by a unix
    socket never leave the machine, and have none."""

    def initialize(self, entrance: HTTPServerConnectionDelegate) -> None:  # type: ignore[override]
        super().initialize(
            entrance,
            max_header_size=MAX_HEADER,
            max_body_size=MAX_BODY,
            body_timeout=BODY_TIMEOUT,
        )
        # The entrance watches heads: a timer for each request, set up and taken down, took 8 µs
        # of 54.
        self.conn_params.header_timeout = None
        self._entrance = entrance

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """See `TCPServer.handle_stream`: nothing has been read from ``stream`` yet."""
        sock = stream.socket
        if self.tls is None or sock.family == socket.AF_UNIX:
            super().handle_stream(PlainStream(sock), address)
        elif encrypted_stream := encrypted(sock, self.tls):
            super().handle_stream(encrypted_stream, address)

    def on_close(self, server_conn: object) -> None:
        """See `HTTPServerConnectionDelegate.on_close`."""
        super().on_close(server_conn)
        self._entrance.on_close(server_conn)
