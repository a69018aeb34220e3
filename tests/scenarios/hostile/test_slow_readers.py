"""Clients that take little of what they asked for, or nothing."""

import json
import time
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer
from tests.scenarios.hostile.wire import MIB, Wire, get
from tests.waiting import wait_for


def is_held(server: RunningServer, wire: Wire) -> bool:
    """Whether the server's end of a connection is open."""
    established = "01"
    ends = f":{server.port:04X}", f":{wire.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        (local[-5:], remote[-5:], state) == (*ends, established)
        for _, local, remote, state, *_ in lines
    )


@pytest.mark.parametrize("is_cached", [True, False], ids=["hit", "miss"])
def test_a_client_that_takes_no_byte_of_a_blob_is_cut(
    server: RunningServer, large: bytes, impatient: float, is_cached: bool
) -> None:
    target = f"{PREFIX}/large/blobs/{Digest.of(large)}"
    if is_cached:
        assert server.ask(target).body == large
    with Wire(server.port, receive_buffer=4096) as wire:
        wire.send(get(target))
        wait_for(lambda: server.running_requests == 1)
        wait_for(lambda: server.running_requests == 0)
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
        wait_for(lambda: not is_held(server, wire))
