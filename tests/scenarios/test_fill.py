"""A cold blob: one download, whoever waits for it, and nobody gets wrong bytes."""

import http.client
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.cache import change, fill, transfer
from depproxy.cache.blobs import Blobs
from depproxy.cache.source import Source
from depproxy.demo.image import Image
from depproxy.errors import ShuttingDown
from depproxy.oci.digest import Digest
from depproxy.upstream import exchange
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.on_disk import rest
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import wait_for

MIB = 1024 * 1024


@pytest.fixture
def layer(registry: FakeRegistry) -> bytes:
    """8 MiB that do not repeat."""
    data = random.Random(1).randbytes(8 * MIB)
    registry.add_blob("library/hello", data)
    return data


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0, 0.0))


def test_many_clients_share_one_download(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    digest = Digest.of(layer)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(MIB, "hold", gate=gate), ".*/blobs/.*")
    with ThreadPoolExecutor(40) as clients:
        asked = [clients.submit(server.blob, "hello", digest) for _ in range(30)]
        asked += [
            clients.submit(server.blob, "hello", digest, Range=f"bytes={n * 100_000}-")
            for n in range(10)
        ]
        gate.reached.wait()
        gate.open()
        replies = [future.result() for future in asked]
    assert all(reply.body == layer for reply in replies[:30])
    assert all(reply.body == layer[n * 100_000 :] for n, reply in enumerate(replies[30:]))
    assert len(registry.asked("GET")) == 1
    assert registry.sent[f"/v2/library/hello/blobs/{digest}"] == len(layer)
    how = [reply.cache for reply in replies]
    assert how.count("fwd=miss; stored") == 1
    assert how.count("fwd=miss; collapsed") == 39


def test_a_follower_reads_while_the_blob_still_grows(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.blob_until(4 * MIB, "hold", gate=gate), ".*/blobs/.*")
    with server.open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
        assert response.read(4 * MIB) == layer[: 4 * MIB]
        assert server.blob_files() == []
        gate.open()
        assert response.read() == layer[4 * MIB :]


def test_the_first_bytes_of_a_slow_upstream_reach_a_follower_at_once(
    start: Start, registry: FakeRegistry, layer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when there are enough of them, nor when some time has passed."""
    monkeypatch.setattr(exchange, "FLUSH_AFTER", 3600.0)
    monkeypatch.setattr(change, "NEWS_AFTER", 3600.0)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(1000, "hold", gate=gate), ".*/blobs/.*")
    with start().open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
        assert response.read(1000) == layer[:1000]
        gate.open()
        assert response.read() == layer[1000:]


def test_a_client_that_leaves_does_not_stop_the_fill(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.blob_until(MIB, "hold", gate=gate), ".*/blobs/.*")
    with server.open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
        response.read(1000)
    gate.open()
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert len(registry.asked("GET")) == 1


def test_who_leaves_while_the_upstream_is_silent_is_not_waited_for(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    """Little has come, so the kernel has all of it: no write tells that nobody is there."""
    gate = Gate()
    registry.misbehave(behaviours.blob_until(1000, "hold", gate=gate), ".*/blobs/.*")
    with server.open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
        assert response.read(1000) == layer[:1000]
        assert server.running_requests == 1
    wait_for(lambda: not server.running_requests)
    gate.open()
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert len(registry.asked("GET")) == 1


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_broken_fill_is_resumed_where_it_broke(
    server: RunningServer, registry: FakeRegistry, layer: bytes, then: str
) -> None:
    registry.misbehave(behaviours.blob_until(3 * MIB, then), ".*/blobs/.*", times=2)
    reply = server.blob("hello", Digest.of(layer))
    assert (reply.status, reply.body) == (200, layer)
    starts = [seen.headers.get("range") for seen in registry.asked("GET")]
    assert starts[0] is None
    assert all(start and start.startswith("bytes=") for start in starts[1:])
    assert len(starts) == 3


def test_a_stalled_fill_is_cut_and_resumed(
    start: Start, registry: FakeRegistry, layer: bytes
) -> None:
    server = start(extra="stall_timeout: 300ms")
    registry.misbehave(behaviours.blob_until(3 * MIB, "hang"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert registry.asked("GET")[1].headers["range"] == f"bytes={3 * MIB}-"


def test_tries_are_counted_anew_after_each_that_has_brought_something(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.blob_until(MIB, "close"), ".*/blobs/.*", times=7)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert len(registry.asked("GET")) == 8 > 1 + len(transfer.PAUSES)


def test_an_upstream_that_ignores_ranges_sends_again_and_is_compared(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.blob_until(3 * MIB, "close"), ".*/blobs/.*", times=1)
    registry.misbehave(
        behaviours.blob_until(8 * MIB, "close", ranges=False), ".*/blobs/.*", times=2
    )
    registry.misbehave(behaviours.blob_until(MIB, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer


def test_a_wrong_content_range_leads_to_a_restart(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    lie = {"Content-Range": f"bytes 5-{len(layer) - 1}/{len(layer)}"}
    registry.misbehave(behaviours.status(206, lie, layer[5:]), ".*/blobs/.*", times=1)
    registry.misbehave(behaviours.blob_until(3 * MIB, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert [seen.headers.get("range") for seen in registry.asked("GET")] == [
        None,
        f"bytes={3 * MIB}-",
        None,
    ]


def test_a_part_of_the_rest_only_leads_to_a_restart(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    start, end = 3 * MIB, 4 * MIB
    part = {"Content-Range": f"bytes {start}-{end - 1}/{len(layer)}"}
    registry.misbehave(behaviours.status(206, part, layer[start:end]), ".*/blobs/.*", times=1)
    registry.misbehave(behaviours.blob_until(start, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert registry.asked("GET")[2].headers.get("range") is None


def test_a_rest_of_a_blob_of_another_size_leads_to_a_restart(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    start, size = 3 * MIB, len(layer)
    lie = {"Content-Range": f"bytes {start}-{size}/{size + 1}"}
    registry.misbehave(behaviours.status(206, lie, layer[start:] + b"!"), ".*/blobs/.*", times=1)
    registry.misbehave(behaviours.blob_until(start, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert registry.asked("GET")[2].headers.get("range") is None


def test_another_size_on_a_restart_fails_the_fill(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.blob_bytes(layer[:-1]), ".*/blobs/.*", times=1)
    registry.misbehave(behaviours.blob_until(3 * MIB, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).cut
    assert len(registry.asked("GET")) == 2


def test_a_try_that_ends_early_in_good_order_is_followed_by_another(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    start, size = 3 * MIB, len(layer)
    rest = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
    registry.misbehave(
        behaviours.chunked(layer[start : start + MIB], 206, rest), ".*/blobs/.*", times=1
    )
    registry.misbehave(behaviours.blob_until(start, "close"), ".*/blobs/.*", times=1)
    assert server.blob("hello", Digest.of(layer)).body == layer
    assert registry.asked("GET")[2].headers["range"] == f"bytes={start + MIB}-"


def test_other_bytes_on_a_restart_fail_the_fill(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    other = bytes([layer[0] ^ 1]) + layer[1:]
    registry.misbehave(behaviours.blob_bytes(other), ".*/blobs/.*", times=1)
    registry.misbehave(behaviours.blob_until(3 * MIB, "close"), ".*/blobs/.*", times=1)
    reply = server.blob("hello", Digest.of(layer))
    assert reply.cut
    server.stop()
    assert (server.blob_files(), server.partial_files()) == ([], [])


@pytest.mark.parametrize("size", [1, fill.LAST_PIECE, fill.LAST_PIECE + 1, 3 * MIB])
def test_nobody_holds_a_whole_wrong_blob(
    server: RunningServer, registry: FakeRegistry, size: int
) -> None:
    right = random.Random(size).randbytes(size)
    wrong = right[:-1] + bytes([right[-1] ^ 1])
    digest = registry.add_blob("library/hello", right)
    registry.misbehave(behaviours.blob_bytes(wrong), ".*/blobs/.*")
    for headers in ({}, {"Range": f"bytes={size - 1}-"}, {"Range": "bytes=-10"}):
        reply = server.blob("hello", digest, **headers)
        assert reply.cut or reply.status == 502
        assert len(reply.body) < size or reply.status == 502
        assert wrong[-1:] not in reply.body[-1:] or reply.status == 502 or reply.body == b""
    server.stop()
    assert (server.blob_files(), server.partial_files()) == ([], [])


def test_an_empty_blob_is_a_blob(server: RunningServer, registry: FakeRegistry) -> None:
    digest = registry.add_blob("library/hello", b"")
    for _ in ("cold", "warm"):
        assert server.blob("hello", digest).status == 200
        past = server.blob("hello", digest, Range="bytes=0-")
        assert (past.status, past.headers["Content-Range"]) == (416, "bytes */0")
        assert server.blob("hello", digest, Range="bytes=-5").status == 200


def test_a_wrong_empty_blob_is_refused_before_its_headers(
    server: RunningServer, registry: FakeRegistry
) -> None:
    registry.misbehave(behaviours.blob_bytes(b""), ".*/blobs/.*")
    assert server.blob("hello", Digest.of(b"something")).status == 502


@pytest.mark.parametrize("state", ["cold", "warm"])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        (f"bytes={7 * MIB}-", 7 * MIB, 8 * MIB),
        ("bytes=-100", 8 * MIB - 100, 8 * MIB),
        (f"bytes=0-{10**30}", 0, 8 * MIB),
    ],
)
def test_one_range_is_206_on_a_hit_and_on_a_miss(
    server: RunningServer, layer: bytes, state: str, asked: str, first: int, last: int
) -> None:
    digest = Digest.of(layer)
    if state == "warm":
        server.blob("hello", digest)
    reply = server.blob("hello", digest, Range=asked)
    assert (reply.status, reply.body) == (206, layer[first:last])
    assert reply.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(layer)}"


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_ranges_that_cannot_be_met_are_416_and_odd_ones_get_the_whole(
    server: RunningServer, layer: bytes, state: str
) -> None:
    digest = Digest.of(layer)
    if state == "warm":
        server.blob("hello", digest)
    past = server.blob("hello", digest, Range=f"bytes={len(layer)}-")
    assert (past.status, past.headers["Content-Range"]) == (416, f"bytes */{len(layer)}")
    assert past.error == "RANGE_INVALID"
    for headers in (
        {"Range": "bytes=0-1,5-6"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=5-2"},
        {"Range": "bytes=0-9", "If_Range": '"another"'},
    ):
        reply = server.blob("hello", digest, **headers)
        assert (reply.status, len(reply.body)) == (200, len(layer))
    partial = server.blob("hello", digest, Range="bytes=0-9", If_Range=f'"{digest}"')
    assert partial.status == 206


def test_a_blob_whose_length_nobody_tells_is_sent_whole(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.chunked(layer, gate=gate), ".*/blobs/.*")
    path = f"{PREFIX}/hello/blobs/{Digest.of(layer)}"
    with server.open(path, headers={"Range": "bytes=5-9"}) as response:
        gate.open()  # a blob that has come whole before its head is sent has a length
        assert (response.status, response.read()) == (200, layer)
        assert "Content-Length" not in response.headers
    hit = server.blob("hello", Digest.of(layer))
    assert (hit.cache, hit.headers["Content-Length"]) == ("hit", str(len(layer)))


def test_a_wrong_blob_of_unknown_length_has_no_good_end(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.chunked(layer[:-1] + b"!"), ".*/blobs/.*")
    reply = server.blob("hello", Digest.of(layer))
    assert reply.cut or reply.status == 502  # the verdict may come before the size is asked for


def test_where_get_does_not_tell_the_length_head_does(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.chunked(layer), ".*/blobs/.*", method="GET")
    reply = server.blob("hello", Digest.of(layer))
    assert (reply.body, reply.headers["Content-Length"]) == (layer, str(len(layer)))


@pytest.mark.parametrize("more", [1, -1])
def test_a_right_blob_of_another_length_than_head_told_is_kept_and_its_followers_are_cut(
    server: RunningServer, registry: FakeRegistry, layer: bytes, more: int
) -> None:
    gate = Gate()
    told = {"Content-Length": str(len(layer) + more)}
    registry.misbehave(behaviours.status(200, told), ".*/blobs/.*", method="HEAD")
    registry.misbehave(behaviours.chunked(layer, gate=gate), ".*/blobs/.*", method="GET")
    with server.open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
        assert response.headers["Content-Length"] == told["Content-Length"]
        gate.open()
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    server.settle()
    hit = server.blob("hello", Digest.of(layer))
    assert (hit.cache, hit.body) == ("hit", layer)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_follower_does_not_inherit_what_another_image_was_told(
    server: RunningServer, registry: FakeRegistry, layer: bytes, status: int
) -> None:
    gate = Gate()
    digest = Digest.of(layer)
    registry.misbehave(behaviours.hold(gate, status), "/v2/library/other/blobs/.*")
    with ThreadPoolExecutor(2) as clients:
        other = clients.submit(server.blob, "other", digest)
        gate.reached.wait()
        mine = clients.submit(server.blob, "hello", digest)
        wait_for(lambda: server.running_requests == 2)
        gate.open()
        assert other.result().status == 404
        assert mine.result().body == layer


def test_every_descriptor_is_closed_again(
    server: RunningServer, registry: FakeRegistry, hello: Image, layer: bytes
) -> None:
    def once() -> None:
        for digest in (*hello.blobs, Digest.of(layer), Digest.of(b"nope")):
            server.blob("hello", digest)
            server.blob("hello", digest, Range="bytes=3-")
        server.manifest("hello", "latest")
        with server.open(f"{PREFIX}/hello/blobs/{Digest.of(layer)}") as response:
            response.read(10)
        server.purge()

    once()
    server.manifest("hello", "latest")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        once()
    server.manifest("hello", "latest")
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before + 4)


def test_a_blob_that_was_tampered_with_is_fetched_again(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    digest = Digest.of(layer)
    for damage in ("truncated", "emptied", "overwritten", "missing", "touched"):
        server.blob("hello", digest)
        server.blob("hello", digest)
        rest(server)  # a download lasts until the folder is synced, and is read until then
        (file,) = server.blob_files()
        match damage:
            case "truncated":
                os.truncate(file, 1000)
            case "emptied":
                file.write_bytes(b"")
            case "overwritten":
                file.write_bytes(layer[:-1] + b"!")
            case "missing":
                file.unlink()
            case "touched":
                os.utime(file)
        fetched = len(registry.asked("GET"))
        assert server.blob("hello", digest).body == layer
        assert len(registry.asked("GET")) == fetched + (damage != "touched")


def test_head_of_a_blob_whose_length_nobody_tells_claims_none(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    registry.misbehave(behaviours.chunked(layer), ".*/blobs/.*")
    reply = server.blob("hello", Digest.of(layer), "HEAD")
    assert (reply.status, reply.headers["Content-Length"]) == (200, None)


def test_a_fill_that_has_not_begun_when_the_server_stops_ends_too(
    start: Start, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is wanted in the very turn of the event loop in which all of them are given up."""
    server = start()
    source: list[Source] = []
    fills: list[fill.Fill] = []
    begin, finish = Blobs._start, Blobs.finish

    def begin_and_note(self: Blobs, of: Source, digest: Digest) -> Any:
        source.append(of)
        return begin(self, of, digest)

    async def finish_late(self: Blobs, patience: float) -> None:
        fills.append(begin(self, source[0], Digest.of(b"another")).fill)
        await finish(self, patience)

    monkeypatch.setattr(Blobs, "_start", begin_and_note)
    monkeypatch.setattr(Blobs, "finish", finish_late)
    assert server.blob("hello", registry.add_blob("library/hello", b"a layer")).status == 200
    rest(server)
    server.stop()
    assert (fills[0].state, str(fills[0].error)) == (fill.State.FAILED, str(ShuttingDown()))
    assert not server.partial_files()
