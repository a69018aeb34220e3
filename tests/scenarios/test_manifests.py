"""A manifest document: how it is come by, which are handed on, and under which digest and type."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.errors import StoreFull
from depproxy.oci.digest import Digest
from depproxy.store.tree import Tree
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.on_disk import pointers
from tests.running import RunningServer
from tests.waiting import PATIENCE, wait_for

TAG = r"/v2/library/hello/manifests/latest"
MANIFESTS = r"/v2/library/hello/manifests/.*"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_waits_for_a_manifest_does_not_inherit_what_another_image_was_told(
    server: RunningServer, registry: FakeRegistry, hello: Image, status: int
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, status), "/v2/library/other/manifests/.*")
    with ThreadPoolExecutor(2) as clients:
        other = clients.submit(server.manifest, "other", hello.index)
        gate.reached.wait()
        mine = clients.submit(server.manifest, "hello", hello.index)
        wait_for(lambda: server.running_requests == 2)
        gate.open()
        assert other.result().status == 404
        assert mine.result().body == hello.manifests[hello.index][1]


def test_a_head_names_the_digest_that_was_asked_for_whatever_the_upstream_says(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    media_type, body = hello.manifests[hello.index]
    lie = {"Docker-Content-Digest": Digest.of(b"another"), "Content-Type": media_type}
    registry.misbehave(behaviours.status(200, lie, body), MANIFESTS, method="HEAD")
    head = server.manifest("hello", hello.index, "HEAD")
    assert head.headers["Docker-Content-Digest"] == hello.index


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 502)])
def test_a_manifest_of_more_than_4_mib_is_refused_before_it_is_fetched(
    server: RunningServer, registry: FakeRegistry, hello: Image, more: int, status: int
) -> None:
    headers = {
        "Docker-Content-Digest": hello.index,
        "Content-Type": hello.manifests[hello.index][0],
        "Content-Length": str(4 * 2**20 + more),
    }
    registry.misbehave(behaviours.status(200, headers), TAG, method="HEAD")
    assert server.manifest("hello", "latest", "HEAD").status == status
    assert registry.asked("GET") == []


def test_a_manifest_that_came_as_a_blob_keeps_its_file(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    """Another group may have the same file, by a hard link."""
    body = hello.manifests[hello.index][1]
    registry.add_blob("library/hello", body)
    server.blob("hello", hello.index)
    server.settle()
    (file,) = server.blob_files()
    before = file.stat().st_ino
    assert server.manifest("hello", hello.index).body == body
    server.settle()
    assert file.stat().st_ino == before


def test_bytes_that_came_as_a_blob_are_a_manifest_once_they_pass_as_one(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    media_type, body = hello.manifests[hello.index]
    registry.add_blob("library/hello", body)
    server.blob("hello", hello.index)
    server.settle()
    registry.requests.clear()
    reply = server.manifest("hello", hello.index)
    assert (reply.body, reply.headers["Content-Type"]) == (body, media_type)
    assert not registry.requests
    layer = next(iter(hello.blobs))
    server.blob("hello", layer)
    server.settle()
    assert server.manifest("hello", layer).status == 404


@pytest.fixture
def untyped(server: RunningServer, registry: FakeRegistry, hello: Image) -> bytes:
    """A manifest that does not say its type, and has come as a blob."""
    media_type, body = hello.manifests[hello.index]
    untyped = json.dumps({k: v for k, v in json.loads(body).items() if k != "mediaType"}).encode()
    digest = registry.add_manifest("library/hello", untyped, media_type)
    registry.add_blob("library/hello", untyped)
    server.blob("hello", digest)
    server.settle()
    return untyped


def test_a_blob_without_a_type_is_a_manifest_once_the_upstream_told_its_type(
    server: RunningServer, registry: FakeRegistry, hello: Image, untyped: bytes
) -> None:
    digest, media_type = Digest.of(untyped), hello.manifests[hello.index][0]
    assert server.manifest("hello", digest).headers["Content-Type"] == media_type
    assert [seen.method for seen in registry.asked("HEAD")] == ["HEAD"]
    assert not registry.asked("GET", MANIFESTS)
    registry.go_down()
    assert server.manifest("twin", digest).headers["Content-Type"] == media_type


def test_what_has_come_while_its_type_was_asked_for_is_not_fetched_again(
    server: RunningServer, registry: FakeRegistry, untyped: bytes
) -> None:
    digest = Digest.of(untyped)
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, 500), MANIFESTS, "HEAD", times=1)
    with ThreadPoolExecutor(1) as clients:
        late = clients.submit(server.manifest, "hello", digest)
        assert gate.reached.wait(PATIENCE)
        registry.misbehave(behaviours.status(500), MANIFESTS, "HEAD")
        assert server.manifest("hello", digest).body == untyped
        gate.open()
        assert late.result().body == untyped
    assert len(registry.asked("GET", MANIFESTS)) == 1


def test_a_body_that_the_disk_refuses_gets_no_pointer(
    server: RunningServer, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "store", refuse)
        assert server.manifest("hello", hello.index).status == 200
    assert not pointers(server)


def test_a_sha512_digest_is_as_good(server: RunningServer, registry: FakeRegistry) -> None:
    image = make_image("sha512")
    media_type, body = image.manifests[image.index]
    digest = Digest.of(body, "sha512")
    registry.add_manifest("library/hello", body, media_type, digest=digest)
    for cache in ("fwd=miss; stored", "hit"):
        reply = server.manifest("hello", digest)
        assert (reply.body, reply.cache) == (body, cache)
        assert reply.headers["Docker-Content-Digest"] == digest


def test_ranges_of_manifests_are_ignored(server: RunningServer, hello: Image) -> None:
    reply = server.manifest("hello", "latest", Range="bytes=0-3")
    assert (reply.status, reply.body) == (200, hello.manifests[hello.index][1])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1}'),
        ("application/vnd.oci.image.manifest.v1+json", b"[" * 100_000),
        ("application/vnd.oci.image.manifest.v1+json", b'{"a":' * 100_000),
        ("application/vnd.oci.image.manifest.v1+json", b"not json"),
        ("application/vnd.oci.image.manifest.v1+json", b" " * (4 * 2**20 + 1)),
        (
            "application/vnd.oci.image.manifest.v1+json",
            b'{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}',
        ),
        (
            "application/vnd.oci.image.index.v1+json",
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
            b'"config":{},"layers":[]}',
        ),
        ("text/html", b"<html>"),
    ],
)
def test_a_bad_manifest_is_refused_and_not_kept(
    server: RunningServer, registry: FakeRegistry, content_type: str, body: bytes
) -> None:
    digest = registry.add_manifest("library/hello", body, content_type, tag="bad")
    for reference in ("bad", digest):
        for method in ("GET", "GET"):
            reply = server.manifest("hello", reference, method)
            assert (reply.status, reply.error) == (502, "MANIFEST_INVALID")
    assert server.blob_files() == []


def test_a_manifest_with_other_bytes_than_its_digest_is_refused(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    media_type, body = hello.manifests[hello.index]
    headers = {"Content-Type": media_type, "Docker-Content-Digest": hello.index}
    registry.misbehave(behaviours.status(200, headers, body + b" "), method="GET")
    assert server.manifest("hello", hello.index).status == 502
    assert server.manifest("hello", "latest").status == 502
    assert server.blob_files() == []
