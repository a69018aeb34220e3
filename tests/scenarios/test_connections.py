"""Connections as clients open them."""

import socket

from depproxy.demo.image import Image
from tests.running import PREFIX, RunningServer


def test_a_client_that_begins_with_tls_is_hung_up_on_at_once(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5\x01\x00\x00")
        assert connection.recv(100) == b""


def test_a_connection_serves_many_requests(server: RunningServer, hello: Image) -> None:
    asked = [f"{PREFIX}/hello/manifests/latest", f"{PREFIX}/Wrong/manifests/latest", "/v2/"]
    asked.append(f"{PREFIX}/hello/blobs/{next(iter(hello.blobs))}")
    with (
        socket.create_connection(("127.0.0.1", server.port)) as connection,
        connection.makefile("rb") as answers,
    ):
        for path in asked * 3:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answers.readline().startswith(b"HTTP/1.1 ")
            length = 0
            while line := answers.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            assert len(answers.read(length)) == length
