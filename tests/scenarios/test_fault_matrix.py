"""The fault matrix: what every fault of an upstream comes to, for what is cached and what is not.

Rows are data; ``docs/reliability.md`` shows the same table.
"""

import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import pytest
import trustme

from depproxy.cache import transfer
from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.registry import Behaviour, Exchange, FakeRegistry
from tests.running import Reply, RunningServer, Start
from tests.tables import assert_documented

LAYER = random.Random(11).randbytes(300_000)
"""More than the piece that is held back, so that headers leave before the end is verified."""

UNTRUSTED = "TLS: a certificate that nobody vouches for"
UNRESOLVED = "DNS: a name that does not resolve"

RIGHT = "200"
STALE = "200, marked"
CUT = "cut"


@dataclass(frozen=True)
class Fault:
    """Outcomes without a cached answer, for a tag, a digest and a blob; and of a cached tag.

    Cached digests and blobs are always right: the upstream is not asked.
    """

    name: str
    arrange: Callable[[FakeRegistry], None]
    tag: str
    digest: str
    blob: str
    cached_tag: str = STALE


def always(behaviour: Behaviour) -> Callable[[FakeRegistry], None]:
    return lambda registry: registry.misbehave(behaviour, "/v2/.*")


def every_body(change: Callable[[bytes], bytes], **headers: str) -> Behaviour:
    """Right heads, other bodies; ``headers`` are added, or replace."""

    async def behave(exchange: Exchange) -> None:
        found = exchange.registry.content(exchange.seen.path)
        body = change(found.body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        told["Content-Length"] = str(len(body))
        await exchange.send_head(200, told | named)
        if exchange.seen.method != "HEAD":
            await exchange.send_body(body)

    return behave


def broken_after(part: float, then: str) -> Behaviour:
    """The head and a part of every body, every time from where it was asked."""

    async def behave(exchange: Exchange) -> None:
        found = exchange.registry.content(exchange.seen.path)
        start = int(exchange.seen.headers.get("range", "bytes=0-")[6:].partition("-")[0])
        size = len(found.body)
        told = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        told["Content-Length"] = str(size - start)
        if start:
            told["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        await exchange.send_head(206 if start else 200, told)
        if exchange.seen.method == "HEAD":
            return
        # No progress from the second try on, else every fault would heal by resuming.
        stop = int(size * part) if part < 1 else size - 1
        await exchange.send_body(found.body[start:stop])
        if then == "reset":
            exchange.reset()
        elif then == "close":
            exchange.close()
        else:
            await exchange.registry.wait_for_ever()

    return behave


def trickling() -> Behaviour:
    """Right, and slow: never silent for as long as a stall takes."""

    async def behave(exchange: Exchange) -> None:
        found = exchange.registry.content(exchange.seen.path)
        told = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        await exchange.send_head(200, told | {"Content-Length": str(len(found.body))})
        if exchange.seen.method == "HEAD":
            return
        step = len(found.body) // 8 + 1
        for start in range(0, len(found.body), step):
            await exchange.send_body(found.body[start : start + step])
            await exchange.registry.pause(0.05)

    return behave


def wrong_content_range() -> Behaviour:
    """A break, and then another range than was asked for, whatever is asked."""
    first = broken_after(0.5, "close")

    async def behave(exchange: Exchange) -> None:
        if "range" not in exchange.seen.headers:
            await first(exchange)
        else:
            size = len(exchange.registry.content(exchange.seen.path).body)
            await exchange.send(206, {"Content-Range": f"bytes 7-{size - 1}/{size}"}, b"x" * size)

    return behave


def ignored_range() -> Behaviour:
    """A break, and then the whole, whatever is asked."""
    first = broken_after(0.5, "close")

    async def behave(exchange: Exchange) -> None:
        if "range" not in exchange.seen.headers:
            await first(exchange)
        else:
            found = exchange.registry.content(exchange.seen.path)
            await exchange.send(200, {}, found.body)

    return behave


def token_service(behaviour: Behaviour) -> Callable[[FakeRegistry], None]:
    def arrange(registry: FakeRegistry) -> None:
        registry.forget_tokens()
        registry.needs_token = True
        registry.misbehave(behaviour, "/token")

    return arrange


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


GARBAGE = behaviours.raw(b"SSH-2.0-OpenSSH_9.2\r\n")

FAULTS = [
    Fault("connection refused", FakeRegistry.go_down, "502", "502", "502"),
    Fault(UNTRUSTED, lambda _: None, "502", "502", "502"),
    Fault(UNRESOLVED, lambda _: None, "502", "502", "502"),
    Fault("reset at the start", always(behaviours.reset()), "502", "502", "502"),
    Fault("reset in the middle", always(broken_after(0.5, "reset")), "502", "502", CUT, RIGHT),
    Fault("reset at the last byte", always(broken_after(1, "reset")), "502", "502", CUT, RIGHT),
    Fault("truncated", always(broken_after(0.5, "close")), "502", "502", CUT, RIGHT),
    Fault("stalled", always(broken_after(0.5, "hang")), "504", "504", CUT, RIGHT),
    Fault("trickling", always(trickling()), RIGHT, RIGHT, RIGHT, RIGHT),
    Fault("hanging", always(behaviours.hang()), "504", "504", "504"),
    Fault("401", always(behaviours.status(401)), "404", "404", "404"),
    Fault("403", always(behaviours.status(403)), "404", "404", "404"),
    Fault("404", always(behaviours.status(404)), "404", "404", "404", "404"),
    Fault("429", always(behaviours.status(429)), "429", "429", "429"),
    Fault(
        "429 with `Retry-After`",
        always(behaviours.status(429, {"Retry-After": "60"})),
        "429",
        "429",
        "429",
    ),
    Fault("500", always(behaviours.status(500)), "502", "502", "502"),
    Fault("503", always(behaviours.status(503)), "502", "502", "502"),
    Fault("wrong bytes", always(every_body(flipped)), "502", "502", CUT, RIGHT),
    Fault(
        "shorter than it should be, and said so",
        always(every_body(lambda body: body[:-2])),
        "502",
        "502",
        CUT,
        RIGHT,
    ),
    Fault(
        "another media type",
        always(every_body(lambda body: body, Content_Type="text/html")),
        "502",
        "502",
        RIGHT,
    ),
    Fault(
        "another range than was asked for", always(wrong_content_range()), "502", "502", CUT, RIGHT
    ),
    Fault("the range is ignored", always(ignored_range()), "502", "502", RIGHT, RIGHT),
    Fault("no HTTP", always(GARBAGE), "502", "502", "502"),
    Fault("a redirect loop", always(behaviours.redirect("?again")), "502", "502", "502"),
    Fault(
        "a redirect to a metadata service",
        always(behaviours.redirect("http://169.254.169.254/")),
        "502",
        "502",
        "502",
    ),
    Fault("the token service: 500", token_service(behaviours.status(500)), "502", "502", "502"),
    Fault("the token service: 404", token_service(behaviours.status(404)), "502", "502", "502"),
    Fault("the token service hangs", token_service(behaviours.hang()), "504", "504", "504"),
    Fault(
        "the token service: garbage",
        token_service(behaviours.status(200, {}, b"<html>")),
        "502",
        "502",
        "502",
    ),
]


@pytest.fixture(scope="module")
def untrusted() -> Iterator[FakeRegistry]:
    """A registry whose certificate comes from its own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with FakeRegistry(tls=context) as registry:
        yield registry


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSES", (0.0,))


def outcome(reply: Reply, body: bytes) -> str:
    """A reply in the words of the table; wrong bytes have none."""
    if reply.cut:
        assert body.startswith(reply.body)
        assert len(reply.body) < len(body)
        return CUT
    if reply.status != 200:
        return str(reply.status)
    assert reply.body == body
    return STALE if "Warning" in reply.headers else RIGHT


@pytest.mark.parametrize(
    ("fault", "kind", "cached"),
    list(product(FAULTS, ["tag", "digest", "blob"], [False, True])),
    ids=lambda value: value.name if isinstance(value, Fault) else str(value),
)
def test_a_fault_has_its_promised_outcome(
    start: Start,
    registry: FakeRegistry,
    untrusted: FakeRegistry,
    hello: Image,
    fault: Fault,
    kind: str,
    cached: bool,
) -> None:
    blob = registry.add_blob("library/hello", LAYER)
    extra = "stall_timeout: 400ms\nrevalidate_timeout: 1s"
    urls = {
        UNTRUSTED: f"https://localhost:{untrusted.port}",
        UNRESOLVED: "http://registry.invalid",
    }
    asked = {
        "tag": (lambda server: server.manifest("hello", "latest"), hello.manifests[hello.index][1]),
        "digest": (
            lambda server: server.manifest("hello", hello.index),
            hello.manifests[hello.index][1],
        ),
        "blob": (lambda server: server.blob("hello", blob), LAYER),
    }
    ask: Callable[[RunningServer], Reply]
    ask, body = asked[kind]
    if cached:
        first = start(extra=extra)
        assert ask(first).status == 200
        first.stop()
    server = start(extra=extra, upstream=urls.get(fault.name, ""))
    fault.arrange(registry)
    if not cached:
        expected = {"tag": fault.tag, "digest": fault.digest, "blob": fault.blob}[kind]
    else:
        expected = fault.cached_tag if kind == "tag" else RIGHT
    assert outcome(ask(server), body) == expected
    server.stop()
    for file in server.blob_files():
        assert Digest.of(file.read_bytes()).hex == file.name
    assert server.partial_files() == []


def test_the_fault_matrix_is_documented() -> None:
    rows = [
        [fault.name, fault.tag, fault.digest, fault.blob, fault.cached_tag, RIGHT]
        for fault in FAULTS
    ]
    header = ["fault", "tag", "digest", "blob", "cached tag", "cached digest, cached blob"]
    assert_documented("reliability.md", "fault matrix", header, rows)
