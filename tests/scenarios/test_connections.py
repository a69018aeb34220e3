"""Connections as clients open them."""

import http.client
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import wait_for


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


def test_the_log_tells_an_answer_that_was_cut_from_one_that_was_not(
    server: RunningServer, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = bytes(2**20)
    registry.misbehave(behaviours.blob_bytes(layer[:-1] + b"!"), ".*/blobs/.*")
    assert server.blob("hello", Digest.of(layer)).cut
    assert server.ask("/v2/").status == 200
    server.stop()
    cut, whole = [
        line for line in capsys.readouterr().err.splitlines() if " depproxy.access: " in line
    ]
    assert " 200 cut " in cut
    assert " 200 2B " in whole


def test_who_left_before_his_answer_has_got_nothing(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), ".*/manifests/.*")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        path = f"{PREFIX}/hello/manifests/{hello.index}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for(lambda: registry.asked("GET"))
    for _ in range(2):
        server.ask("/-/health")  # the loop has seen him leave since
    gate.open()
    wait_for(lambda: not server.running_requests)
    usage = server.ask("/api/v4/groups/mygroup/dependency_proxy").json
    assert (usage["misses"], usage["bytes_served"]) == (1, 0)
    server.stop()
    logged = capsys.readouterr().err.splitlines()
    assert [" 200 cut 0B " in line for line in logged if path in line] == [True]


def test_a_304_tells_no_length_that_is_not_known(
    server: RunningServer, registry: FakeRegistry
) -> None:
    layer = random.Random(3).randbytes(300_000)
    gate, digest = Gate(), Digest.of(layer)
    registry.misbehave(behaviours.chunked(layer, gate=gate), ".*/blobs/.*")
    reply = server.blob("hello", digest, If_None_Match=f'"{digest}"')
    gate.open()
    assert (reply.status, reply.headers["Content-Length"]) == (304, None)


def test_a_hit_says_that_the_connection_ends(server: RunningServer, hello: Image) -> None:
    path = f"{PREFIX}/hello/manifests/{hello.index}"
    server.manifest("hello", hello.index)
    fields = "Host: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        with connection.makefile("rb") as answer:
            assert b"\r\nConnection: close\r\n" in answer.read()


@pytest.mark.parametrize(
    "target", ["http://x?y=/v2/", "http://x#/v2/", "ftp://x/v2/", "x/v2/", "http:/v2/", "*"]
)
def test_what_is_no_url_of_this_server_is_none_of_its_paths(
    server: RunningServer, target: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert b"Docker" not in reply.read()
        assert reply.headers["Docker-Distribution-Api-Version"] is None


@pytest.mark.parametrize("before", ["http://x", "HTTPS://cache.example.org:8080"])
def test_a_whole_url_is_taken_as_well(server: RunningServer, hello: Image, before: str) -> None:
    """Of clients that take this server for their HTTP proxy."""
    for path, status in ((f"{PREFIX}/hello/manifests/latest", 200), ("/nothing", 404)):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"GET {before}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            reply = http.client.HTTPResponse(connection)
            reply.begin()
            assert reply.status == status
            assert len(reply.read()) > 100


def test_requests_that_come_together_are_answered_in_their_order(
    server: RunningServer, hello: Image
) -> None:
    """One that is at hand does not overtake one that is not."""
    server.manifest("hello", "latest")
    paths = [f"{PREFIX}/hello/manifests/latest", f"{PREFIX}/hello/manifests/{hello.index}", "/v2/"]
    asked = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths * 5)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(asked.encode())
        sizes = [len(_next_body(answers)) for _ in range(15)]
    index = len(hello.manifests[hello.index][1])
    assert sizes == [index, index, 2] * 5


def _next_body(answers: BinaryIO) -> bytes:
    assert answers.readline().startswith(b"HTTP/1.1 200 ")
    length = 0
    while line := answers.readline().strip().lower():
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return answers.read(length)


@pytest.mark.parametrize("path", ["hello/manifests/latest", "hello/manifests/{index}"])
@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [
        ("1.0", "", None),
        ("1.0", "keep-alive", "Keep-Alive"),
        ("1.1", "", None),
        ("1.1", "close", "close"),
    ],
)
def test_a_connection_is_kept_as_its_client_wants(
    server: RunningServer, hello: Image, path: str, version: str, asked: str, told: str | None
) -> None:
    server.manifest("hello", "latest")
    path = path.format(index=hello.index)
    head = f"GET {PREFIX}/{path} HTTP/{version}\r\nHost: x\r\n"
    head += f"Connection: {asked}\r\n\r\n" if asked else "\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.read() == hello.manifests[hello.index][1]
        assert reply.headers["Connection"] == told
        is_kept = told == "Keep-Alive" or (version, asked) == ("1.1", "")
        if is_kept:
            connection.sendall(head.encode())
        assert (connection.recv(12) == b"HTTP/1.1 200") == is_kept


@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHost"])
def test_a_connection_that_asks_nothing_is_closed_in_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    """Also one that never comes to the end of its head."""
    monkeypatch.setattr("depproxy.serving.entrance.IDLE_TIMEOUT", 0.03)
    server = start()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(sent.encode())
        assert connection.recv(100) == b""


def test_an_answer_that_takes_longer_than_idleness_may_is_not_cut(
    start: Start, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.serving.entrance.IDLE_TIMEOUT", 0.03)
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), ".*/manifests/latest", times=1)
    server = start()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.manifest, "hello", "latest")
        with socket.create_connection(("127.0.0.1", server.port)) as idle:
            assert idle.recv(100) == b""  # so the time has passed for the other one, too
        gate.open()
        assert slow.result().status == 200


def test_every_answer_has_a_name_of_its_own_that_the_log_has_too(
    server: RunningServer, hello: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["/v2/", f"{PREFIX}/hello/manifests/latest", "/-/health", "/nowhere", "/v2/nowhere"]
    names = [server.ask(path).headers["X-Request-Id"] for path in paths]
    server.stop()
    logged = [line.split() for line in capsys.readouterr().err.splitlines() if ".access" in line]
    assert [(line[6], line[-1]) for line in logged] == list(zip(paths, names, strict=True))
    assert len(set(names)) == len(paths)
