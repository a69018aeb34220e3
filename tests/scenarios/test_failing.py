"""A dead upstream: cached tags answer at once, one of them probes, and what is not cached asks."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from depproxy.store.pointers import Pointers
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.group_api import usage
from tests.images import layer
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import CHANCE, PATIENCE, wait_for

TAGS = [f"v{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def real_pause(no_pause: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depproxy.upstream.health.FIRST_PAUSE", 600.0)
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())


@pytest.fixture
def server(start: Start, registry: FakeRegistry, hello: Image) -> RunningServer:
    """With some tags in its cache."""
    server = start(extra="revalidate_timeout: 500ms\nstall_timeout: 1s")
    for tag in TAGS:
        registry.tag("library/hello", tag, hello.index)
        assert server.manifest("hello", tag).status == 200
    return server


@pytest.mark.parametrize("fault", ["down", "hangs"])
def test_all_but_the_one_that_found_out_are_spared_the_wait(
    server: RunningServer, registry: FakeRegistry, fault: str
) -> None:
    if fault == "down":
        registry.go_down()
    else:
        registry.misbehave(behaviours.hang())
    registry.requests.clear()
    for tag in TAGS * 3:
        reply = server.manifest("hello", tag)
        assert (reply.status, "Warning" in reply.headers) == (200, True)
    assert len(registry.requests) == (0 if fault == "down" else 1)


def test_what_is_not_cached_asks_as_ever(server: RunningServer, registry: FakeRegistry) -> None:
    registry.misbehave(behaviours.status(503))
    server.manifest("hello", TAGS[0])
    registry.requests.clear()
    assert server.manifest("hello", "uncached").status == 502
    assert server.blob("hello", Digest.of(b"uncached")).status == 502
    assert len(registry.requests) == 2
    registry.behave()
    assert server.manifest("hello", "uncached").status == 404
    assert "Warning" not in server.manifest("hello", TAGS[0]).headers


def test_retry_after_is_obeyed_by_our_own_requests(
    server: RunningServer, registry: FakeRegistry
) -> None:
    limited = behaviours.status(429, {"Retry-After": "600"})
    registry.misbehave(limited, times=1)
    assert server.manifest("hello", "uncached").status == 429
    registry.requests.clear()
    assert server.manifest("hello", TAGS[0]).status == 200
    for reply in (
        server.manifest("hello", "uncached"),
        server.blob("hello", Digest.of(b"uncached")),
        server.ask(f"{PREFIX}/hello/tags/list"),
    ):
        assert (reply.status, 590 < int(reply.headers["Retry-After"]) <= 600) == (429, True)
    assert registry.requests == []


def test_another_credential_is_not_held_to_the_limit(
    start: Start, registry: FakeRegistry, hello: Image, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    own = f"credentials: {{docker.io: {{username: me, password_file: {password}}}}}"
    server = start(group=own)
    limited = behaviours.status(429, {"Retry-After": "600"})
    registry.misbehave(limited, times=1)
    other = "/v2/other/dependency_proxy/containers/hello/manifests/latest"
    assert server.ask(other).status == 429
    assert server.manifest("hello", "latest").status == 200


def test_a_new_image_is_served_while_another_upstream_is_dead(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    with FakeRegistry() as quay:
        quay.add_image("acme/tool", "v1", make_image("Alive."))
        server = start(
            group="upstreams: [docker.io, quay.io]", more=f"  quay.io: {{url: {quay.url}}}\n"
        )
        registry.go_down()
        assert server.manifest("hello", "latest").status == 502
        assert server.manifest("quay.io/acme/tool", "v1").status == 200


def test_a_blob_that_was_coming_when_the_upstream_began_to_limit_does_not_end_that(
    server: RunningServer, registry: FakeRegistry
) -> None:
    data = layer(3, 2_000_000)
    digest = registry.add_blob("library/big", data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(500_000, "hold", gate=gate), ".*/blobs/.*")
    limited = behaviours.status(429, {"Retry-After": "600"})
    with server.open(f"{PREFIX}/big/blobs/{digest}") as response:
        assert response.read(1000) == data[:1000]
        registry.misbehave(limited, ".*/new/manifests/.*", times=1)
        assert server.manifest("new", "latest").status == 429
        registry.requests.clear()
        gate.open()
        assert response.read() == data[1000:]
    server.settle()
    assert server.manifest("new", "latest").status == 429
    assert not registry.requests


def test_what_is_refused_of_one_image_keeps_nobody_from_asking_for_another(
    server: RunningServer,
    registry: FakeRegistry,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depproxy.upstream.health.FIRST_PAUSE", 0.0)
    registry.needs_token = True
    registry.add_image("library/other", "latest", image)
    assert server.manifest("other", "latest").status == 200
    registry.misbehave(behaviours.status(503))
    assert "Warning" in server.manifest("hello", TAGS[0]).headers
    registry.behave()
    registry.forget_tokens()
    registry.misbehave(behaviours.status(401), "/token", times=1)
    assert "Warning" in server.manifest("hello", TAGS[0]).headers  # the probe
    assert "Warning" not in server.manifest("other", "latest").headers


def test_who_has_nothing_to_be_served_makes_no_upstream_fail(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    """He waits for it as if nothing were cached: it is slow only for those who may be served
    something else meanwhile."""
    server = start(group="stale_for: 0s", extra="revalidate_timeout: 100ms")
    assert server.manifest("hello", "latest").status == 200
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), ".*/manifests/latest", "HEAD", times=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.manifest, "hello", "latest")
        assert gate.reached.wait(PATIENCE)
        time.sleep(CHANCE)
        assert [told["state"] for told in usage(server)["upstreams"]] == ["reachable"]
        gate.open()
        assert "Warning" not in waiting.result().headers


def test_a_slow_upstream_is_not_taken_for_a_slow_disk(
    server: RunningServer, registry: FakeRegistry, image: Image
) -> None:
    """Where an image waits for what another one has asked for."""
    registry.add_image("library/twin", "latest", image)
    assert server.manifest("twin", "latest").status == 200
    new = make_image("A new one.")
    for name in ("hello", "twin"):
        registry.add_image(f"library/{name}", "latest", new)
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), f".*/hello/manifests/{new.index}", "GET")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.manifest, "hello", new.index)
        assert gate.reached.wait(PATIENCE)
        reply = server.manifest("twin", "latest")
        gate.open()
        first.result()
    assert "no answer within" in reply.headers["Warning"]


def test_a_slow_disk_makes_no_upstream_fail(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = make_image("A new one.")
    registry.add_image("library/hello", TAGS[0], new)
    has_synced = threading.Event()
    update = Pointers.update_tag

    def update_late(*arguments: Any) -> None:
        has_synced.wait(PATIENCE)
        update(*arguments)

    monkeypatch.setattr(Pointers, "update_tag", update_late)
    reply = server.manifest("hello", TAGS[0])
    has_synced.set()
    assert "not on disk" in reply.headers["Warning"]
    assert "Warning" not in server.manifest("hello", TAGS[1]).headers
    wait_for(lambda: server.manifest("hello", TAGS[0]).headers["ETag"] == f'"{new.index}"')
