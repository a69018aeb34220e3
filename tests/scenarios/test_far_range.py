"""A range far ahead of its fill is passed through at once."""

import random

import pytest

from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import Exchange, FakeRegistry
from tests.running import RunningServer

MIB = 2**20


@pytest.fixture(autouse=True)
def short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 MiB ahead is far."""
    monkeypatch.setattr("depproxy.cache.blob_stream.FAR", MIB)


@pytest.fixture
def layer(registry: FakeRegistry) -> bytes:
    data = random.Random(7).randbytes(8 * MIB)
    registry.add_blob("library/hello", data)
    return data


@pytest.fixture
def slow(registry: FakeRegistry) -> Gate:
    """The whole blob stops after 500 kB until the gate opens; ranges do not."""
    gate = Gate()
    whole = behaviours.blob_until(500_000, "hold", gate=gate)

    async def behave(exchange: Exchange) -> None:
        if "range" in exchange.seen.headers:
            await exchange.registry.answer_honestly(exchange)
        else:
            await whole(exchange)

    registry.misbehave(behave, ".*/blobs/.*")
    return gate


@pytest.mark.parametrize(
    "asked", [f"bytes={6 * MIB}-{7 * MIB}", "bytes=-1000", f"bytes={5 * MIB}-"]
)
def test_a_far_range_of_a_cold_blob_does_not_wait_for_the_whole(
    server: RunningServer, registry: FakeRegistry, layer: bytes, slow: Gate, asked: str
) -> None:
    digest = Digest.of(layer)
    reply = server.blob("hello", digest, Range=asked)
    first, last = (int(n) for n in reply.headers["Content-Range"][6:].partition("/")[0].split("-"))
    assert (reply.status, reply.body) == (206, layer[first : last + 1])
    assert reply.cache == "fwd=miss"
    assert server.blob_files() == []
    slow.open()
    assert server.blob("hello", digest).body == layer
    assert len([seen for seen in registry.asked("GET") if "range" not in seen.headers]) == 1


def test_a_near_range_waits_for_the_fill(
    server: RunningServer, registry: FakeRegistry, layer: bytes, slow: Gate
) -> None:
    slow.open()
    assert (
        server.blob("hello", Digest.of(layer), Range="bytes=600000-600009").body
        == (layer[600_000:600_010])
    )
    assert len(registry.asked("GET")) == 1


def test_an_upstream_without_ranges_makes_a_far_range_wait_for_the_fill(
    server: RunningServer, registry: FakeRegistry, layer: bytes
) -> None:
    gate = Gate()
    registry.misbehave(
        behaviours.blob_until(500_000, "hold", gate=gate, ranges=False), ".*/blobs/.*"
    )
    gate.open()
    reply = server.blob("hello", Digest.of(layer), Range="bytes=-1000")
    assert (reply.status, reply.body) == (206, layer[-1000:])


def test_a_far_range_that_breaks_is_cut(
    server: RunningServer, registry: FakeRegistry, layer: bytes, slow: Gate
) -> None:
    async def behave(exchange: Exchange) -> None:
        if "range" not in exchange.seen.headers:
            await behaviours.hold(slow)(exchange)
            return
        start = 6 * MIB
        headers = {
            "Content-Range": f"bytes {start}-{8 * MIB - 1}/{8 * MIB}",
            "Content-Length": str(2 * MIB),
        }
        await exchange.send_head(206, headers)
        await exchange.send_body(layer[start : start + 100_000])
        exchange.close()

    registry.misbehave(behave, ".*/blobs/.*", times=3)
    registry.misbehave(behaviours.blob_until(500_000, "hold", gate=slow), ".*/blobs/.*", times=1)
    reply = server.blob("hello", Digest.of(layer), Range=f"bytes={6 * MIB}-")
    assert (reply.status, reply.cut) == (206, True)
    assert layer[6 * MIB :].startswith(reply.body)
    slow.open()


def test_spools_have_no_names(
    server: RunningServer, registry: FakeRegistry, layer: bytes, slow: Gate
) -> None:
    server.blob("hello", Digest.of(layer), Range="bytes=-1000")
    assert [path.suffix for path in server.partial_files() if path.suffix == ".spool"] == []
    slow.open()
