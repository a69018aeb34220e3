"""Clients that send what nobody should, too much, too little, too slowly, or that never read."""

import contextlib
import itertools
import json
import logging
import multiprocessing
import random
import re
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start

SEED = 20
ATTACKERS = 6
REQUESTS = 20_000 // ATTACKERS + 1
GUARD = 10.0
"""Seconds after which a test that waits gives up: no rule is about this number."""

SILENCE = 0.02
"""Seconds after which a client that has sent nonsense hangs up."""

MIB = 2**20
API = "/api/v4/groups/mygroup/dependency_proxy/cache"

# -- answers, as a strict client reads them ------------------------------------------------------

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\x20-\x7e]*\r\n")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x20-\x7e\x80-\xff]*)\r\n")
CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


class Hangup(Exception):
    """The server has closed the connection where an answer was due, or in the middle of one."""

    def __init__(self, received: bytes) -> None:
        super().__init__(received[:200])
        self.received = received


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def is_bare(self) -> bool:
        """What the server says to that which is no HTTP."""
        return self.status == 400 and not self.fields and not self.body


class Wire:
    """A raw connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(GUARD)
        self._socket.connect(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self._buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, count: int) -> bytes:
        """What has come, at most ``count`` bytes; nothing at the end or where it was cut."""
        try:
            return self._socket.recv(count)
        except ConnectionError:
            return b""

    def receive_all(self) -> bytes:
        pieces = iter(lambda: self.receive(MIB), b"")
        return self._buffer + b"".join(pieces)

    def leave_when_silent(self) -> bytes:
        """Everything that is said to one who hangs up when nothing more comes."""
        with contextlib.suppress(TimeoutError):
            self._socket.settimeout(SILENCE)
            while piece := self.receive(65536):
                self._buffer += piece
        self._socket.settimeout(GUARD)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        return self.receive_all()

    def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises `Hangup`."""
        answer, self._buffer = read_answer(self._buffer, method, self._more)
        return answer

    def _more(self) -> bytes:
        return self.receive(65536)


def read_answer(data: bytes, method: str, more: Callable[[], bytes]) -> tuple[Answer, bytes]:
    """An answer and what follows it. Raises `Hangup`; fails where it is not HTTP."""

    def need(is_there: Callable[[], bool]) -> None:
        nonlocal data
        while not is_there():
            piece = more()
            if not piece:
                raise Hangup(data)
            data += piece

    def cut(count: int) -> bytes:
        nonlocal data
        need(lambda: len(data) >= count)
        piece, data = data[:count], data[count:]
        return piece

    def line() -> bytes:
        need(lambda: b"\n" in data)
        return cut(data.index(b"\n") + 1)

    status = 100
    while status < 200:
        first = line()
        match = STATUS_LINE.fullmatch(first)
        assert match, first
        status, fields = int(match[1]), {}
        while (field := line()) != b"\r\n":
            match = FIELD.fullmatch(field)
            assert match, field
            name = match[1].decode().lower()
            assert name not in fields, field
            fields[name] = match[2].decode("latin-1")
    if method == "HEAD" or status in (204, 304):
        return Answer(status, fields, b""), data
    assert not {"content-length", "transfer-encoding"} <= set(fields)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = CHUNK.fullmatch(line())
            assert size
            body += cut(int(size[1], 16))
            assert cut(2) == b"\r\n"
            if size[1] == b"0":
                return Answer(status, fields, body), data
    return Answer(status, fields, cut(int(fields.get("content-length", "0")))), data


def judge(answer: Answer, method: str, target: str) -> None:
    """The rules for every answer."""
    assert answer.status != 500
    if re.match(r"/v2(/|\?|$)", target):
        assert answer.status < 500
        assert answer.fields.get("docker-distribution-api-version") == "registry/2.0"
        if answer.status >= 400 and method != "HEAD":
            assert answer.fields["content-type"] == "application/json"
            (error,) = json.loads(answer.body)["errors"]
            assert error["code"]
            assert error["message"]
        if answer.status == 405:
            assert answer.fields["allow"]
    elif target.startswith("/api/") and method != "HEAD":
        assert json.loads(answer.body)["message"].startswith(f"{answer.status} ")


# -- requests that nobody should send ------------------------------------------------------------

PIECES = [
    *("%2f", "%2F", "%5c", "%2e", "%2e%2e", "%2e%2e%2f", "..", "../", "/../", "/./", "//", "/"),
    *("%00", "%0a", "%0d%0a", "%ff", "%c0%ae", "%ed%a0%80", "%", "%z", "%25", "%252f", "%20"),
    *("?", "#", "&", "=", ":", "@", "~", "\\", ";", "*", "'", '"', "<", "{", "|", "+", "-", "_"),
    *("/-/", "/tags/", "/tags/list", "/manifests/", "/blobs/", "/referrers/", "sha256:"),
    *("sha512:", "/dependency_proxy/containers/", "dependency_proxy", "docker.io/", "library/"),
    *("/etc/passwd", "admin_token", "trash", "groups", "%7f", "A", "0", "a" * 129),
]

QUERIES = [
    *("ns=docker.io", "ns=quay.io", "ns=", "ns=%ff", "ns=%00", "ns=../..", "ns=a&ns=docker.io"),
    *("n=1", "n=0", "n=-1", "n=99999999999999999999", "n=1e9", "n=%d9%a1", "n=%ff", "n="),
    *("last=latest", "last=%00", "last=" + "z" * 3000, "artifactType=a/b", "%ff=%ff", "&&==&"),
    *("&".join(f"a{n}=b" for n in range(40)), "image=hello", "image=..", "reference=latest"),
]

RANGES = [
    *("bytes=0-0", "bytes=-1", "bytes=-0", "bytes=0-", "bytes=5-2", "bytes=a-b", "bytes=", "x"),
    *("bytes=0-0,2-3", "bytes=" + "0-0," * 200, "bytes=9999999999999999999999-", "bytes=--1"),
    *("bytes=0-99999999999999999999", "lines=1-2", "bytes = 0 - 1", "bytes=-" + "9" * 400, "b=0-"),
]

FIELDS = [
    *("Accept: */*", "Accept: " + "a/b," * 400, "Accept-Encoding: gzip, br", "TE: trailers"),
    *("If-None-Match: *", 'If-None-Match: "x', 'If-Range: "x"', "If-None-Match: W/", "If-Match: *"),
    *("Authorization: Bearer x.y.z", "Authorization: Basic !!!", "Authorization:", "Cookie: a=;;"),
    *("PRIVATE-TOKEN: wrong", "PRIVATE-TOKEN:", "X-Forwarded-For: ::::", "X-Forwarded-Host: a/b"),
    *("X-Forwarded-Proto: file", "Upgrade: websocket", "Expect: 200-maybe", "Date: never"),
    *("X-Http-Method-Override: DELETE", "Content-Type: multipart/form-data", "Forwarded: for=_"),
]

VERBS = [
    *("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Head"),
    *("G", "GETT", "__INIT__", "PREPARE", "SET_HEADER", "M-SEARCH", "!#$%&'*+-.^_`|~", "A" * 300),
]

BAD_LINES = [
    *(b"GET", b"GET /v2/", b"GET  /v2/ HTTP/1.1", b"GET /v2/ HTTP/1.1 x", b" GET /v2/ HTTP/1.1"),
    *(b"GET /v2/ HTTP/2.0", b"GET /v2/ HTTP/1.10", b"GET /v2/ http/1.1", b"GET /v2/ HTTP/", b""),
    *(b"GET /v2/\x00 HTTP/1.1", b"GET /v2/\xff\xe9 HTTP/1.1", b"GET\t/v2/\tHTTP/1.1", b"\x00" * 9),
    *(b"GET http://127.0.0.1/v2/ HTTP/1.1", b"GET http:///v2/ HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b"CONNECT a:443 HTTP/1.1", b"GET v2/ HTTP/1.1", b"GET ? HTTP/1.1", b"GET # HTTP/1.1"),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"G\xc3\x89T /v2/ HTTP/1.1", b"HTTP/1.1 200 OK"),
    *(b"GET /v2/" + b"a" * 40_000 + b" HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n" * 500),
]

BAD_FIELDS = [
    *(b"Host: a\r\nHost: b", b"Host:", b"Host: a b", b"Host: \xff", b"Host: " + b"h" * 9000),
    *(b"Host: a/../b", b"Host: [::1", b"Host: a:99999999", b"Host: a,b", b"Host: @:@", b"X: x"),
    *(b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 1e3", b"Content-Length: 0x5"),
    *(b"Content-Length: 99999999999999999999999", b"Content-Length: 5\r\nContent-Length: 6"),
    *(b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length:", b"Content-Length: 5 5"),
    *(b"Content-Length: \xb2", b"Content-Length: 1099511627776", b"Content-Length: 3"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, x"),
    *(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Transfer-Encoding: \x0bchunked"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    *(b"Expect: 100-continue\r\nContent-Length: 5", b" folded: x", b"X: a\r\n b\r\n\tc", b": x"),
    *(b"X : x", b"X\x00: x", b"X: \x00", b"X: a\rb", b"X: a\nY: b", b"X", b"\xff: \xff", b"X(): x"),
    *(b"X: " + b"x" * 33_000, b"X: " + b"x" * 31_000, b"\r\n".join([b"X: y"] * 3000)),
    *(b"\r\n".join(b"X%d: y" % n for n in range(2500)), b"Connection: close, x\r\nKeep-Alive: x"),
]

BAD_BODIES = [
    *(b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello", b"zz\r\n", b"-1\r\n", b"0\r\n"),
    *(b"ffffffffffffffffffff\r\nx", b"5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n", b"5\nhello\n0\n\n"),
    *(b"1\r\nx" * 50, b"0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", b"0" * 200, b"\x00" * 70),
]


@dataclass(frozen=True)
class Request:
    raw: bytes
    method: str
    target: str
    """Both empty where nobody knows what they are."""
    is_last: bool = False
    """Whether the server may close the connection after it."""


@dataclass(frozen=True)
class Volley:
    """Requests that are sent at once."""

    requests: tuple[Request, ...]
    is_http: bool
    """Whether each of them has a right to an answer of its own."""


class Fuzzer:
    """The same seed makes the same requests."""

    def __init__(self, seed: int, manifests: list[Digest], blobs: list[Digest], token: str) -> None:
        self._random = random.Random(seed)
        self._token = token
        resources = [
            *(f"manifests/{reference}" for reference in ["latest", "none", *manifests]),
            *(f"blobs/{digest}" for digest in [*blobs, *manifests, Digest.of(b"none")]),
            *("tags/list", f"referrers/{manifests[-1]}"),
        ]
        names = [f"{PREFIX}/hello", f"{PREFIX}/docker.io/library/hello", "/v2/library/hello"]
        self._targets = [f"{name}/{resource}" for name in names for resource in resources]
        self._targets += ["/v2/", "/v2", "/v2/_catalog", API, "/-/health", "/-/readiness", "/"]
        self._targets.append(f"{PREFIX}/hello/blobs/uploads/")

    def volley(self) -> Volley:
        return self._nonsense() if self._random.random() < 0.12 else self._requests()

    def _requests(self) -> Volley:
        """Odd requests in right frames."""
        count = self._random.choice([1, 1, 1, 2, 4])
        made = (self._request(is_last=number == count - 1) for number in range(count))
        return Volley(tuple(made), is_http=True)

    def _request(self, *, is_last: bool) -> Request:
        chance, choice = self._random.random, self._random.choice
        method = choice(VERBS) if chance() < 0.15 else choice(["GET", "GET", "HEAD"])
        target = self._target()
        fields = ["Host: " + choice(["x", "localhost", "docker.io", "127.0.0.1:80", "[::1]:5000"])]
        if chance() < 0.3:
            fields.append(f"Range: {choice(RANGES)}")
        while chance() < 0.3:
            fields.append(choice(FIELDS))
        if target.startswith("/api/") and chance() < 0.7:
            method = "DELETE"
            fields.append(f"PRIVATE-TOKEN: {self._token}")
        body, version, closes = "", "HTTP/1.1", False
        if is_last and chance() < 0.1:
            closes = True
            match choice(["close", "version", "length", "chunks"]):
                case "close":
                    fields.append("Connection: close")
                case "version":
                    version = "HTTP/1.0"
                case "length":
                    body = "x" * choice([1, 100, 10_000])
                    fields.append(f"Content-Length: {len(body)}")
                case "chunks":
                    body = "3\r\nabc\r\n0\r\n\r\n"
                    fields.append("Transfer-Encoding: chunked")
        self._random.shuffle(fields)
        head = "\r\n".join([f"{method} {target} {version}", *fields, "", ""])
        return Request((head + body).encode("latin-1"), method, target, closes)

    def _target(self) -> str:
        """The path of something real, more or less."""
        target = self._random.choice(self._targets)
        for _ in range(self._random.choice([0, 1, 1, 1, 2, 2, 3, 6])):
            target = self._mutated(target)
        if self._random.random() < 0.2:
            target += "?" + "&".join(self._random.choices(QUERIES, k=self._random.choice([1, 2])))
        return target if target.startswith("/") else f"/{target}"

    def _mutated(self, target: str) -> str:
        choice, at = self._random.choice, self._random.randint(0, len(target))
        to = min(len(target), at + self._random.randint(1, 20))
        segments = target.split("/")
        match choice(["insert", "insert", "insert", "remove", "repeat", "replace", "long", "case"]):
            case "insert":
                return target[:at] + choice(PIECES) + target[at:]
            case "remove":
                return target[:at] + target[to:]
            case "repeat":
                return target[:at] + target[at:to] * choice([2, 3, 50]) + target[to:]
            case "replace":
                segments[self._random.randrange(len(segments))] = choice(PIECES)
            case "long":
                length = choice([128, 129, 200, 201, 255, 256, 4096])
                segments[self._random.randrange(len(segments))] = "a" * length
            case "case":
                return target[:at] + target[at:to].swapcase() + target[to:]
        return "/".join(segments)

    def _nonsense(self) -> Volley:
        """What is hardly HTTP, or no HTTP at all."""
        choice = self._random.choice
        request = self._request(is_last=False)
        raw, method, target = request.raw, request.method, request.target
        line, _, rest = raw.partition(b"\r\n")
        match choice(["line", "field", "field", "body", "bytes", "bytes", "half"]):
            case "line":
                line = choice(BAD_LINES)
                raw = line + b"\r\n" + rest
                words = line.decode("latin-1").split(" ")
                method, target = words[0], words[1] if len(words) == 3 else ""
            case "field":
                raw = line + b"\r\n" + choice(BAD_FIELDS) + b"\r\n" + rest + choice(BAD_BODIES)
            case "body":
                field = b"\r\n" + choice(BAD_FIELDS[6:])
                raw = line.replace(method.encode(), b"PUT", 1) + field + b"\r\n" + rest
                raw, method = raw + choice(BAD_BODIES), "PUT"
            case "bytes":
                changed = bytearray(raw)
                for _ in range(choice([1, 2, 5, 40])):
                    changed[self._random.randrange(len(changed))] = self._random.randrange(256)
                raw, method, target = bytes(changed), "", ""
            case "half":
                raw = raw[: self._random.randrange(len(raw))]
        return Volley((Request(raw, method, target, is_last=True),), is_http=False)


class Attacker:
    """Sends volley after volley, and keeps a connection as long as the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire = Wire(port)
        self._was_refused = False

    def close(self) -> None:
        self._wire.__exit__()

    def exchange(self, volley: Volley) -> None:
        if not volley.is_http:
            self._talk_nonsense(volley.requests[0])
            return
        left = list(volley.requests)
        while left:
            try:
                self._wire.send(b"".join(request.raw for request in left))
                while left:
                    answer = self._wire.answer(left[0].method)
                    request = left.pop(0)
                    judge(answer, request.method, request.target)
                    self._was_refused = answer.status in (404, 405)
                    if request.is_last or answer.fields.get("connection") == "close":
                        self._reconnect()
                        break
            except (ConnectionError, Hangup) as exc:
                # Who is refused before his body is read may find the connection closed.
                if not self._was_refused or (isinstance(exc, Hangup) and exc.received):
                    raise
                self._reconnect()

    def _talk_nonsense(self, request: Request) -> None:
        with contextlib.suppress(ConnectionError):
            self._wire.send(request.raw)
        said = self._wire.leave_when_silent()
        self._reconnect()
        assert said[:9] in (b"", b"HTTP/1.1 ")
        assert b"HTTP/1.1 500" not in said
        with contextlib.suppress(Hangup):  # an answer that is not complete proves nothing
            if said and request.method:
                answer, rest = read_answer(said, request.method, lambda: b"")
                assert rest[:9] in (b"", b"HTTP/1.1 ")
                if not answer.is_bare:
                    judge(answer, request.method, request.target)

    def _reconnect(self) -> None:
        self._wire.__exit__()
        self._wire = Wire(self._port)
        self._was_refused = False


def attack(port: int, fuzzer: Fuzzer) -> "Counter[bool]":
    """How many requests were sent in right frames, and how many were not."""
    sent: Counter[bool] = Counter()
    attacker = Attacker(port)
    try:
        while sent.total() < REQUESTS:
            volley = fuzzer.volley()
            try:
                attacker.exchange(volley)
            except (AssertionError, OSError, Hangup, ValueError, KeyError) as exc:
                raise AssertionError(f"{exc!r} in answer to {volley}") from exc
            sent[volley.is_http] += len(volley.requests)
    finally:
        attacker.close()
    return sent


def attack_together(port: int, manifests: list[Digest], blobs: list[Digest], token: str) -> int:
    """All attackers, in a process that leaves the server its own: how many requests were sent."""
    with ThreadPoolExecutor(ATTACKERS) as pool:
        fuzzers = [Fuzzer(SEED + number, manifests, blobs, token) for number in range(ATTACKERS)]
        sent = sum(pool.map(lambda fuzzer: attack(port, fuzzer), fuzzers), Counter[bool]())
    assert min(sent.values()) > 500
    return sent.total()


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_twenty_thousand_odd_requests_do_no_harm(
    start: Start, hello: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    server = start(more="mirror: {group: mygroup}\n")
    strangers = [tmp_path / "stranger", server.data / "stranger", server.data / "groups/stranger"]
    for path in strangers:
        path.write_text("not yours")
    token = (server.data / "admin_token").read_text()
    before = files_below(tmp_path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        known = list(hello.manifests), list(hello.blobs)
        sent = pool.submit(attack_together, server.port, *known, token.strip()).result()
    assert sent >= 20_000

    assert before <= files_below(tmp_path)
    own = re.compile(r"data/(groups/(mygroup|other)(/-(/.*)?)?|trash/.*)")
    assert [name for name in files_below(tmp_path) - before if not own.fullmatch(name)] == []
    assert {path.read_text() for path in strangers} == {"not yours"}
    assert (server.data / "admin_token").read_text() == token

    pulled = server.manifest("hello", "latest")
    assert (pulled.status, Digest.of(pulled.body)) == (200, hello.index)
    for digest, data in hello.blobs.items():
        assert server.blob("hello", digest).body == data


# -- slow readers --------------------------------------------------------------------------------


def get(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def is_held(server: RunningServer, wire: Wire) -> bool:
    """Whether the server's end of a connection is open."""
    established = "01"
    ends = f":{server.port:04X}", f":{wire.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        (local[-5:], remote[-5:], state) == (*ends, established)
        for _, local, remote, state, *_ in lines
    )


def becomes(is_so: Callable[[], bool], patience: float = GUARD) -> bool:
    """Whether something comes true before patience ends."""
    deadline = time.monotonic() + patience
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    patience = 0.3
    monkeypatch.setattr("depproxy.serving.streams.SLOWEST_CLIENT", patience)
    return patience


@pytest.fixture
def large(registry: FakeRegistry) -> bytes:
    """A blob that no socket's buffers can hold."""
    data = random.Random(SEED).randbytes(16 * MIB)
    registry.add_blob("library/large", data)
    return data


@pytest.mark.parametrize("is_cached", [True, False], ids=["hit", "miss"])
def test_a_client_that_takes_no_byte_of_a_blob_is_cut(
    server: RunningServer, large: bytes, impatient: float, is_cached: bool
) -> None:
    target = f"{PREFIX}/large/blobs/{Digest.of(large)}"
    if is_cached:
        assert server.ask(target).body == large
    with Wire(server.port, receive_buffer=4096) as wire:
        wire.send(get(target))
        assert becomes(lambda: server.running_requests == 1)
        assert becomes(lambda: server.running_requests == 0)
        assert not is_held(server, wire)
        assert len(wire.receive_all()) < len(large)
    assert server.ask(target).body == large


def test_a_client_that_takes_a_little_all_the_time_is_not_cut(
    server: RunningServer, large: bytes, impatient: float
) -> None:
    target = f"{PREFIX}/large/blobs/{Digest.of(large)}"
    assert server.ask(target).body == large
    with Wire(server.port, receive_buffer=4096) as wire:
        wire.send(get(target, "Connection: close"))
        received = b""
        until = time.monotonic() + 8 * impatient
        while time.monotonic() < until:
            received += wire.receive(2048)
            time.sleep(0.01)
        assert is_held(server, wire)
        received += wire.receive_all()
    assert received.endswith(b"\r\n\r\n" + large)


def test_a_client_that_takes_no_byte_of_a_large_manifest_is_cut(
    server: RunningServer, registry: FakeRegistry, impatient: float
) -> None:
    config = {"mediaType": "a/b", "digest": Digest.of(b"{}"), "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    body = json.dumps({**manifest, "annotations": {"long": "x" * (4 * MIB - 1000)}}).encode()
    registry.add_manifest("library/large", body, OCI_MANIFEST, tag="latest")
    assert server.manifest("large", "latest").body == body
    with Wire(server.port, receive_buffer=4096) as wire:
        wire.send(get(f"{PREFIX}/large/manifests/latest"))
        assert wire.receive(1)
        assert becomes(lambda: not is_held(server, wire), 10 * impatient)


# -- idle and slow senders, and those who send too much ------------------------------------------


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
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", f"{PREFIX}/hello/manifests/latest"), ("POST", f"{PREFIX}/hello/blobs/uploads/")],
)
def test_a_large_body_is_refused_and_not_kept(
    server: RunningServer, framing: str, method: str, path: str
) -> None:
    answer, grown = send_a_large_body(server, framing, method, path)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    judge(answer, method, path)
    assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"
    assert grown < 16 * MIB


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


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v2/"), ("GET", "/v2/x"), ("GET", "/x")])
def test_a_refusal_that_closes_the_connection_says_so(
    server: RunningServer, method: str, path: str
) -> None:
    with Wire(server.port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + get("/v2/"))
        if wire.answer().fields.get("connection") != "close":
            assert wire.answer().status == 200


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_who_left_in_the_middle_of_a_body_holds_up_no_shutdown(
    server: RunningServer, method: str
) -> None:
    head = f"{method} {PREFIX}/hello/manifests/latest HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    with Wire(server.port) as wire:
        wire.send(head.encode() + b"\r\nhalf")
        if method == "GET":
            assert becomes(lambda: server.running_requests == 1)
        else:
            assert wire.answer(method).status == 405
    assert becomes(lambda: server.running_requests == 0)
    assert stops(server)


def stops(server: RunningServer) -> bool:
    """Whether a server ends well before it would give up on those who are left."""
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    stopping.join(server.config.shutdown_timeout / 2)
    return not stopping.is_alive()
