"""Connections as clients open them."""

import http.client
import os
import random
import socket

import pytest

from depproxy.demo.image import Image
from tests.fakes.registry import FakeRegistry
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


@pytest.mark.parametrize("size", [65_535, 65_536, 262_143, 262_145, 2 * 2**20 + 1])
def test_large_blobs_and_their_ranges_come_right_one_after_the_other(
    server: RunningServer, registry: FakeRegistry, size: int
) -> None:
    """The kernel sends most of them from the file; the rest is written."""
    data = random.Random(size).randbytes(size)
    digest = registry.add_blob("library/hello", data)
    server.blob("hello", digest)
    server.settle()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for start, end in ((0, size), (1, size), (size - 3, size), (7, 65_600), (0, size)):
        asked = {"Range": f"bytes={start}-{end - 1}"}
        connection.request("GET", f"{PREFIX}/hello/blobs/{digest}", headers=asked)
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (206, data[start:end])
    connection.close()


def test_a_file_that_shrinks_while_it_is_sent_cuts_its_client_and_nobody_else(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest = registry.add_blob("library/hello", bytes(64 * 2**20))
    server.blob("hello", digest)
    server.settle()
    [file] = [path for path in server.blob_files() if path.name == digest.hex]
    with server.open(f"{PREFIX}/hello/blobs/{digest}") as response:
        assert len(response.read(2**20)) == 2**20
        os.truncate(file, 2**20)
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            response.read()
    assert server.manifest("hello", "latest").status == 200
    assert server.blob("hello", digest).body == bytes(64 * 2**20)
