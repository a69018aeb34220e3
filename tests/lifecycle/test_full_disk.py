"""A disk that is full: hits go on, a miss gets a clear word, and room is found again."""

import http.client

import pytest

from depproxy.demo.image import Image
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import Exchange, FakeRegistry
from tests.lifecycle.disks import KIB, LAST_PIECE, MIB, Disk, check_tree, is_refused_clearly, layer
from tests.on_disk import wait_until_trash_is_empty
from tests.running import RunningServer, Start


def readiness(server: RunningServer) -> tuple[int, str]:
    reply = server.ask("/-/readiness")
    return reply.status, reply.json["status"]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-19"}], ids=["whole", "range"])
def test_a_miss_that_is_larger_than_the_free_space_is_refused_before_its_headers(
    disk: Disk, small: RunningServer, registry: FakeRegistry, headers: dict[str, str]
) -> None:
    digest, data = layer(registry, 2 * MIB)
    disk.fill(leave=MIB)
    assert is_refused_clearly(small.blob("hello", digest, **headers))
    check_tree(small)
    assert not small.blob_files()
    assert disk.free > MIB * 9 // 10
    head = small.blob("hello", digest, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(data)))


def test_a_miss_larger_than_the_disk_leaves_room_for_smaller_ones(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    large, _ = layer(registry, 30 * MIB)
    digest, data = layer(registry, MIB)
    free = disk.free
    assert is_refused_clearly(small.blob("hello", large))
    check_tree(small)
    assert disk.free > free - 100 * KIB
    assert small.blob("hello", digest).body == data


def test_space_that_is_reserved_is_taken_by_nobody_else(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    first, data = layer(registry, 2 * MIB)
    second, _ = layer(registry, 2 * MIB + 1)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(MIB, "hold", gate=gate), f".*{first}")
    disk.fill(leave=3 * MIB)
    with small.open(f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{first}") as response:
        assert response.status == 200
        assert is_refused_clearly(small.blob("hello", second))
        gate.open()
        assert response.read() == data
    check_tree(small)
    assert small.blob("hello", first).cache == "hit"


def test_hits_go_on_while_the_disk_is_full(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest, data = layer(registry, 3 * MIB)
    small.blob("hello", digest)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    for _ in range(3):
        blob = small.blob("hello", digest)
        assert (blob.status, blob.cache, blob.body) == (200, "hit", data)
        part = small.blob("hello", digest, Range="bytes=1000000-1999999")
        assert (part.status, part.body) == (206, data[1000000:2000000])
        for reference in ("latest", hello.index):
            manifest = small.manifest("hello", reference)
            assert (manifest.status, manifest.cache) == (200, "hit")
            assert manifest.body == hello.manifests[hello.index][1]
    check_tree(small)


def test_a_server_that_starts_on_a_full_disk_serves_hits(
    disk: Disk, small: RunningServer, registry: FakeRegistry, start: Start, hello: Image
) -> None:
    digest, data = layer(registry, MIB)
    small.blob("hello", digest)
    small.manifest("hello", "latest")
    small.stop()
    disk.fill()
    again = start()
    assert again.blob("hello", digest).body == data
    assert again.manifest("hello", "latest").cache == "hit"
    check_tree(again)


def test_a_manifest_that_cannot_be_stored_is_served(
    disk: Disk, small: RunningServer, hello: Image
) -> None:
    body = hello.manifests[hello.index][1]
    disk.fill()
    for reference in ("latest", "latest", hello.index):
        reply = small.manifest("hello", reference)
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["Cache-Status"] == "depproxy; fwd=miss"
        assert reply.headers["Docker-Content-Digest"] == hello.index
    check_tree(small)
    assert not small.blob_files()
    disk.relieve()
    assert small.manifest("hello", "latest").cache == "fwd=miss; stored"
    assert small.manifest("hello", "latest").cache == "hit"
    check_tree(small)


def test_a_blob_of_unknown_length_that_does_not_fit_is_cut(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, MIB)
    gate = Gate()

    async def chunked_and_held(exchange: Exchange) -> None:
        await exchange.send_head(200, {"Transfer-Encoding": "chunked"})
        if exchange.seen.method == "HEAD":
            return
        for piece in (data[: 200 * KIB], data[200 * KIB :]):
            exchange.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await exchange.writer.drain()
            await gate.wait()
        exchange.writer.write(b"0\r\n\r\n")
        await exchange.writer.drain()

    registry.misbehave(chunked_and_held, ".*/blobs/.*")
    disk.fill(leave=512 * KIB)
    with small.open(f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{digest}") as response:
        assert response.status == 200
        assert response.headers["Transfer-Encoding"] == "chunked"
        gate.open()
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
    assert len(cut.value.partial) <= len(data) - LAST_PIECE
    assert data.startswith(cut.value.partial)
    check_tree(small)
    assert not small.blob_files()


def test_a_blob_that_grows_beyond_the_disk_is_never_completed(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, MIB)
    registry.misbehave(behaviours.chunked(data), ".*/blobs/.*")
    disk.fill(leave=512 * KIB)
    reply = small.blob("hello", digest)
    assert reply.cut or is_refused_clearly(reply)
    check_tree(small)
    disk.relieve()
    assert small.blob("hello", digest).body == data
    check_tree(small)


def test_a_full_disk_is_told_and_recovered_from(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, 2 * MIB)
    assert readiness(small) == (200, "ready")
    disk.fill(leave=MIB)
    assert readiness(small) == (200, "degraded")
    assert "full" in small.ask("/-/readiness").json["reason"]
    assert small.blob("hello", digest).status == 503
    disk.relieve()
    assert readiness(small) == (200, "ready")
    reply = small.blob("hello", digest)
    assert (reply.status, reply.cache, reply.body) == (200, "fwd=miss; stored", data)
    check_tree(small)
    assert small.blob("hello", digest).cache == "hit"


def test_on_a_full_disk_what_nobody_uses_makes_room_and_is_fetched_again_when_asked_for(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    old, data = layer(registry, 3 * MIB)
    new, fresh = layer(registry, 2 * MIB)
    small.blob("hello", old)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    assert small.blob("hello", new).body == fresh
    assert small.manifest("hello", hello.index).cache == "hit"
    disk.relieve()
    reply = small.blob("hello", old)
    assert (reply.cache, reply.body) == ("fwd=miss; stored", data)
    check_tree(small)


def test_a_purge_works_on_a_full_disk_and_makes_room(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    old, data = layer(registry, 3 * MIB)
    new, fresh = layer(registry, 2 * MIB)
    small.blob("hello", old)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    reply = small.purge()
    assert (reply.status, reply.json["manifests"], reply.json["blobs"]) == (202, 1, 1)
    assert reply.json["bytes"] == len(data) + len(hello.manifests[hello.index][1])
    wait_until_trash_is_empty(small)
    assert disk.free > 3 * MIB - 100 * KIB
    assert small.blob("hello", new).body == fresh
    assert small.manifest("hello", "latest").cache == "fwd=miss; stored"
    check_tree(small)
    assert small.blob("hello", new).cache == "hit"
