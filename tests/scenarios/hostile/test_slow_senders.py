"""Clients that are idle, that send too slowly, or too much."""

import contextlib
import itertools
import random
import resource
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.hostile.wire import MIB, Answer, Wire, get, judge
from tests.waiting import wait_for

SEED = 20


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Leave to open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, count)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections_keep_nobody_waiting(
    server: RunningServer, hello: Image
) -> None:
    with descriptors(5000), ExitStack() as stack:
        idle = []
        for number in range(2000):
            wire = stack.enter_context(Wire(server.port))
            if number % 20 == 0:
                wire.send(get("/v2/"))
                assert wire.answer().status == 200
            idle.append(wire)
        with Wire(server.port) as busy:
            busy.send(get(f"{PREFIX}/hello/manifests/latest"))
            answer = busy.answer()
            assert (answer.status, Digest.of(answer.body)) == (200, hello.index)
        for wire in random.Random(SEED).sample(idle, 50):
            wire.send(get("/v2/"))
            assert wire.answer().status == 200


def resident() -> int:
    """Bytes of memory that this process, with the server in it, has."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


REFUSED = pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{PREFIX}/hello/manifests/latest"),
        ("POST", f"{PREFIX}/hello/blobs/uploads/"),
        ("POST", "/api/v4/groups/mygroup/dependency_proxy"),
        ("PUT", "/groups/mygroup/-/dependency_proxy"),
        ("PROPFIND", "/"),
        ("POST", "/nothing"),
    ],
)


def send_a_large_body(
    server: RunningServer, framing: str, method: str, path: str
) -> tuple[Answer, int]:
    """What 64 MiB are answered with, and by how many bytes this process grew meanwhile."""
    piece = bytes(65536)
    pieces = 64 * MIB // len(piece)
    length, chunk = f"Content-Length: {pieces * len(piece)}", piece
    if framing == "chunks":
        length, chunk = "Transfer-Encoding: chunked", b"10000\r\n" + piece + b"\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
    peak = before = resident()
    with Wire(server.port) as wire:
        wire.send(head.encode())
        with contextlib.suppress(ConnectionError):  # the server need not take all of it
            for _ in range(pieces):
                wire.send(chunk)
                peak = max(peak, resident())
        if framing == "chunks":
            with contextlib.suppress(ConnectionError):
                wire.send(b"0\r\n\r\n")
        answer = wire.answer()
    return answer, peak - before


@pytest.mark.parametrize("framing", ["length", "chunks"])
@REFUSED
def test_a_large_body_is_refused_and_not_kept(
    server: RunningServer, framing: str, method: str, path: str
) -> None:
    answer, grown = send_a_large_body(server, framing, method, path)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert b"UNSUPPORTED" in answer.body or not path.startswith("/v2/")
    judge(answer, method, path)
    assert grown < 16 * MIB


@REFUSED
def test_who_sends_all_of_a_refused_body_is_told_at_its_begin_and_keeps_the_connection(
    server: RunningServer, method: str, path: str
) -> None:
    with Wire(server.port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n\r\n".encode())
        assert wire.answer().status == 405
        wire.send(bytes(MIB) + b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PROPFIND"])
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v2/",
            "/v2/x",
            f"{PREFIX}/hello/manifests/none",
            f"{PREFIX}/hello/tags/list",
            "/jwt/auth",
        ),
        *(
            "/api/v4/groups/mygroup/dependency_proxy",
            "/api/v4/groups/mygroup/dependency_proxy/cache",
        ),
        *("/", "/groups/mygroup/-/dependency_proxy", "/-/sign_in", "/-/sign_out", "/-/health"),
        *("/-/static/%ff", "/-/metrics", "/api/x", "/nothing"),
    ],
)
def test_whatever_is_asked_without_a_body_the_connection_is_kept(
    server: RunningServer, method: str, path: str
) -> None:
    with Wire(server.port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + get("/v2/"))
        answer = wire.answer(method)
        if answer.status >= 400:
            judge(answer, method, path)
        assert (answer.is_bare, answer.fields.get("connection")) == (False, None)
        assert wire.answer().status == 200


@REFUSED
@pytest.mark.parametrize(
    ("framing", "rest"),
    [
        ("Content-Length: abc", b""),
        (f"Content-Length: {2**50}", b""),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"x\r\n"),
        ("Transfer-Encoding: gzip", b"x"),
    ],
)
def test_who_was_refused_gets_no_second_answer_for_a_malformed_body(
    server: RunningServer, method: str, path: str, framing: str, rest: bytes
) -> None:
    with Wire(server.port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + rest)
        assert wire.receive_all().count(b"HTTP/1.1 ") == 1


@REFUSED
def test_who_sends_no_more_of_a_refused_body_holds_up_no_shutdown(
    start: Start, method: str, path: str
) -> None:
    server = start(shutdown="60s")
    with Wire(server.port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n\r\n".encode())
        assert wire.answer().status == 405
        wait_for(lambda: not server.running_requests)
        assert stops(server)


@REFUSED
def test_who_waits_to_be_told_to_send_a_body_is_told_not_to(
    server: RunningServer, method: str, path: str
) -> None:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with Wire(server.port) as wire:
        wire.send(head.encode())
        answer = wire.receive_all()
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nConnection: close\r\n" in answer


@REFUSED
def test_of_a_refused_body_only_so_much_is_read(
    server: RunningServer, method: str, path: str
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**40}\r\n\r\n"
    with Wire(server.port) as wire:
        wire.send(head.encode())
        assert wire.answer().status == 405
        wire.send(bytes(64 * MIB))
        with pytest.raises(ConnectionError):
            wire.send(bytes(64 * MIB))


def test_of_a_body_that_is_refused_when_it_has_come_nothing_is_taken_for_a_request(
    server: RunningServer,
) -> None:
    path = "/api/v4/groups/mygroup/dependency_proxy/cache"
    body = b"DELETE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"DELETE {path} HTTP/1.1\r\nHost: x\r\nPRIVATE-TOKEN: {server.token}\r\n"
    with Wire(server.port) as wire:
        wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert wire.answer().status == 400
        wire.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("path", ["/jwt/auth", "/-/sign_in"])
def test_a_form_that_is_large_is_refused_and_not_kept(
    server: RunningServer, framing: str, path: str
) -> None:
    answer, grown = send_a_large_body(server, framing, "POST", path)
    assert answer.status == 413
    assert grown < 16 * MIB


def test_half_sent_requests_keep_nobody_waiting(server: RunningServer, hello: Image) -> None:
    request = get(f"{PREFIX}/hello/manifests/latest", "Content-Length: 5") + b"hello"
    with ExitStack() as stack:
        slow = [stack.enter_context(Wire(server.port)) for _ in range(1, len(request))]
        for cut, wire in enumerate(slow, start=1):
            wire.send(request[:cut])
        with Wire(server.port) as wire:
            wire.send(request)
            assert wire.answer().status == 200
        for cut, wire in enumerate(slow, start=1):
            for byte in itertools.islice(request, cut, cut + 3):
                wire.send(bytes([byte]))
            wire.send(request[cut + 3 :])
            assert Digest.of(wire.answer().body) == hello.index


def test_half_sent_heads_hold_up_no_shutdown(server: RunningServer) -> None:
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(Wire(server.port)).send(b"GET /v2/ HTTP/1.1\r\nHost")
        assert stops(server)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_who_left_in_the_middle_of_a_body_holds_up_no_shutdown(
    server: RunningServer, method: str
) -> None:
    head = f"{method} {PREFIX}/hello/manifests/latest HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    with Wire(server.port) as wire:
        wire.send(head.encode() + b"\r\nhalf")
        if method == "GET":
            wait_for(lambda: server.running_requests == 1)
        else:
            assert wire.answer(method).status == 405
    wait_for(lambda: server.running_requests == 0)
    assert stops(server)


def stops(server: RunningServer) -> bool:
    """Whether a server ends well before it would give up on those who are left."""
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    stopping.join(server.config.shutdown_timeout / 2)
    return not stopping.is_alive()
