"""Requests that nobody should send, made by the dice."""

import random
from dataclasses import dataclass

from depproxy.oci.digest import Digest
from tests.running import PREFIX

API = "/api/v4/groups/mygroup/dependency_proxy/cache"

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
