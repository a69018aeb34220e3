"""What a client is told when something is wrong: the status, the OCI code, and words to act on."""

import socket
import threading

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{PREFIX}/Hello/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/a//b/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/../b/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/%2e%2e/b/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/a%2fb/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/a%00b/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/%ff/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/{'a' * 201}/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/{'a/' * 127}ab/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/docker.io/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/My/dependency_proxy/containers/a/manifests/latest", 400, "NAME_INVALID"),
        (f"{PREFIX}/hello/manifests/-x", 400, "TAG_INVALID"),
        (f"{PREFIX}/hello/manifests/a/b", 400, "TAG_INVALID"),
        (f"{PREFIX}/hello/manifests/", 400, "TAG_INVALID"),
        (f"{PREFIX}/hello/manifests/{'a' * 129}", 400, "TAG_INVALID"),
        (f"{PREFIX}/hello/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        (f"{PREFIX}/hello/manifests/a:b", 400, "DIGEST_INVALID"),
        (f"{PREFIX}/hello/blobs/latest", 400, "DIGEST_INVALID"),
        (f"{PREFIX}/hello/blobs/md5:{'a' * 32}", 400, "DIGEST_INVALID"),
        (f"{PREFIX}/hello/blobs/sha256:{'A' * 64}", 400, "DIGEST_INVALID"),
        ("/v2/nobody/dependency_proxy/containers/a/manifests/latest", 404, "NAME_UNKNOWN"),
        (f"/v2/nobody/dependency_proxy/containers/a/blobs/{DIGEST}", 404, "NAME_UNKNOWN"),
        ("/v2/library/alpine/manifests/latest", 404, "NAME_UNKNOWN"),
        (f"{PREFIX}/hello/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        (f"{PREFIX}/hello/blobs/{DIGEST}", 404, "BLOB_UNKNOWN"),
        ("/v2/_catalog", 404, "NAME_UNKNOWN"),
        ("/v2/nothing", 404, "NAME_UNKNOWN"),
    ],
)
def test_what_is_wrong_is_said_in_the_oci_envelope(
    server: RunningServer, path: str, status: int, code: str
) -> None:
    reply = server.ask(path)
    assert (reply.status, reply.error) == (status, code)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert reply.message
    assert server.ask(path, "HEAD").status == status


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize(
    "path", ["/v2/", f"{PREFIX}/hello/manifests/latest", f"{PREFIX}/hello/blobs/{DIGEST}"]
)
def test_other_verbs_are_unsupported(server: RunningServer, verb: str, path: str) -> None:
    reply = server.ask(path, verb)
    assert (reply.status, reply.error) == (405, "UNSUPPORTED")
    assert reply.headers["Allow"] == "GET, HEAD"
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (behaviours.status(404), 404, None),
        (behaviours.status(401), 404, "NAME_UNKNOWN"),
        (behaviours.status(403), 404, "NAME_UNKNOWN"),
        (behaviours.status(429), 429, "TOOMANYREQUESTS"),
        (behaviours.status(500), 502, "UNAVAILABLE"),
        (behaviours.status(418), 502, "UNAVAILABLE"),
        (behaviours.hang(), 504, "UNAVAILABLE"),
    ],
    ids=["404", "401", "403", "429", "500", "418", "hang"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["tag", "digest", "blob"])
def test_an_upstreams_failure_has_its_own_status(
    start: Start,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: behaviours.Behaviour,
    status: int,
    code: str | None,
    method: str,
    kind: str,
) -> None:
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())
    server = start(extra="stall_timeout: 200ms" if status == 504 else "")
    registry.misbehave(behaviour)
    if kind == "blob":
        reply = server.blob("hello", DIGEST, method)
    else:
        reply = server.manifest("hello", "latest" if kind == "tag" else DIGEST, method)
    assert reply.status == status
    if method == "GET":
        assert reply.error == code or code is None
        assert "docker.io" in reply.message


def test_retry_after_is_passed_on(server: RunningServer, registry: FakeRegistry) -> None:
    registry.misbehave(behaviours.status(429, {"Retry-After": "17"}))
    for reply in (server.manifest("hello", "latest"), server.blob("hello", DIGEST)):
        assert (reply.status, reply.headers["Retry-After"]) == (429, "17")


def test_an_upstream_that_is_down_is_502(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())
    registry.go_down()
    for reply in (server.manifest("hello", "latest"), server.blob("hello", DIGEST)):
        assert (reply.status, reply.error) == (502, "UNAVAILABLE")


def test_endless_error_bodies_are_not_read(server: RunningServer, registry: FakeRegistry) -> None:
    async def endless(exchange: behaviours.Exchange) -> None:
        await exchange.send_head(404, {"Transfer-Encoding": "chunked"})
        while True:
            exchange.writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await exchange.writer.drain()

    registry.misbehave(endless)
    assert server.manifest("hello", "latest").status == 404
    assert server.blob("hello", DIGEST).status == 404


def test_a_server_that_speaks_no_http_is_502(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = start(upstream=f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert server.manifest("hello", "latest").status == 502
        assert server.manifest("hello", "other").status == 502
        thread.join()


def test_paths_that_lead_nowhere_are_404(server: RunningServer, hello: Image) -> None:
    assert server.ask("/nothing").status == 404
    api = server.ask("/api/v4/nothing")
    assert (api.status, api.json) == (404, {"message": "404 Not Found"})


def test_retry_after_as_a_date_is_told_in_seconds(
    server: RunningServer, registry: FakeRegistry
) -> None:
    headers = {
        "Date": "Mon, 23 Nov 2026 12:00:00 GMT",
        "Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT",
    }
    registry.misbehave(behaviours.status(429, headers))
    assert server.manifest("hello", "latest").headers["Retry-After"] == "30"


def test_an_odd_header_of_an_upstream_is_passed_over(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    async def odd(exchange: behaviours.Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 200 OK\r\nX-Odd: a\x01b\r\nContent-Length: 2\r\n\r\nhi")
        await exchange.writer.drain()

    digest = Digest.of(b"hi")
    registry.misbehave(odd, ".*/blobs/.*")
    assert server.blob("hello", digest).body == b"hi"


def test_a_part_where_the_whole_was_asked_for_is_502(
    server: RunningServer, registry: FakeRegistry
) -> None:
    headers = {"Content-Range": "bytes 0-1/10"}
    registry.misbehave(behaviours.status(206, headers, b"ab"), ".*/blobs/.*")
    assert server.blob("hello", DIGEST).status == 502


@pytest.mark.parametrize("ns", ["%20", "docker.io%00", "%20docker.io", "%ff", "docker.io/"])
def test_ns_is_compared_letter_by_letter(server: RunningServer, hello: Image, ns: str) -> None:
    reply = server.ask(f"{PREFIX}/hello/manifests/latest?ns={ns}")
    assert (reply.status, reply.error) == (404, "NAME_UNKNOWN")
