"""Tokens and redirects: credentials and connections go where they may, and nowhere else."""

import random

import pytest

from depproxy.demo.image import Image
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.pulling import pull_as_docker
from tests.running import RunningServer, Start


def test_one_token_serves_a_whole_pull(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.needs_token = True
    pull_as_docker(server, hello)
    pull_as_docker(server, hello)
    (asked,) = registry.asked("GET", "/token")
    assert asked.query == {"service": ["fake"], "scope": ["repository:library/hello:pull"]}


def test_a_token_that_is_refused_is_renewed_once(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.needs_token = True
    pull_as_docker(server, hello)
    registry.forget_tokens()
    assert server.manifest("hello", "latest").status == 200
    assert len(registry.asked("GET", "/token")) == 2


def test_a_realm_on_another_host_is_not_asked_unless_it_is_trusted(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    registry.needs_token = True
    registry.realm = f"http://localhost:{registry.port}/token"
    server = start()
    reply = server.manifest("hello", "latest")
    assert (reply.status, "trusted_realms" in reply.message) == (502, True)
    assert not registry.asked("GET", "/token")
    server.stop()
    assert start(extra="trusted_realms: [localhost]").manifest("hello", "latest").status == 200


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (behaviours.status(500), 502),
        (behaviours.status(429), 429),
        (behaviours.status(401), 404),
        (behaviours.status(200, {}, b"no json"), 502),
        (behaviours.status(200, {}, b"[" * 60_000), 502),
        (behaviours.status(200, {}, b'{"token": 5}'), 502),
        (behaviours.status(200, {}, b'{"token": "a\\nb"}'), 502),
        (behaviours.status(200, {}, b" " * 1_000_000), 502),
        (behaviours.hang(), 504),
    ],
    ids=["500", "429", "401", "garbage", "nested", "number", "newline", "endless", "hang"],
)
def test_a_token_services_failure_has_its_own_status(
    start: Start,
    registry: FakeRegistry,
    hello: Image,
    behaviour: behaviours.Behaviour,
    status: int,
) -> None:
    registry.needs_token = True
    server = start(extra="stall_timeout: 300ms\nrevalidate_timeout: 300ms" if status == 504 else "")
    registry.misbehave(behaviour, "/token")
    assert server.manifest("hello", "latest").status == status
    registry.behave()
    server.manifest("hello", "latest")
    registry.forget_tokens()
    registry.misbehave(behaviour, "/token")
    stale = server.manifest("hello", "latest")
    assert (stale.status, "Warning" in stale.headers) == (200, True)


def test_blobs_on_another_host_are_fetched_without_the_token(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    registry.needs_token = True
    with FakeRegistry() as storage:
        storage.add_image("library/hello", "latest", hello)
        registry.redirect_blobs_to = storage.url
        pull_as_docker(start(), hello)
        assert len(storage.requests) == 3
        assert all("authorization" not in seen.headers for seen in storage.requests)


def test_a_broken_transfer_from_another_host_is_resumed_through_the_upstream(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", (0.0,))
    layer = random.Random(4).randbytes(2**20)
    with FakeRegistry() as storage:
        digest = storage.add_blob("library/hello", layer)
        registry.redirect_blobs_to = storage.url
        storage.misbehave(behaviours.blob_until(300_000, "close"), times=1)
        assert server.blob("hello", digest).body == layer
        assert len(registry.asked("GET")) == 2
        assert storage.requests[1].headers["range"] == "bytes=300000-"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.1/",
        "http://192.168.1.1:9/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "",
    ],
)
def test_redirects_to_where_the_upstream_is_not_are_refused(
    server: RunningServer, registry: FakeRegistry, hello: Image, location: str
) -> None:
    registry.misbehave(behaviours.redirect(location))
    assert server.manifest("hello", "latest").status == 502
    assert server.blob("hello", next(iter(hello.blobs))).status == 502


def test_redirects_end(server: RunningServer, registry: FakeRegistry) -> None:
    registry.misbehave(behaviours.redirect("/v2/library/hello/manifests/latest"))
    reply = server.manifest("hello", "latest")
    assert (reply.status, "redirects" in reply.message) == (502, True)
    assert len(registry.requests) < 20
