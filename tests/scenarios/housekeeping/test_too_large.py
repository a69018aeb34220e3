"""A blob that is larger than its group may be: served to all, and kept for nobody."""

from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.group_api import usage
from tests.images import add_manifest, layer
from tests.on_disk import check_counted, held, pointers, settle
from tests.pulling import pull
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.housekeeping.ageing import KINDLY, NEVER, let_a_pass_go_by
from tests.waiting import wait_for

BIG = 8 * 2**20


def start_small(start: Start) -> RunningServer:
    return start(group="max_size: 1MiB", more=NEVER)


def test_a_blob_that_is_too_large_is_served_to_all_and_gone_afterwards(
    start: Start, registry: FakeRegistry
) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = Digest.of(data)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    server.manifest("app", "v1")
    known = pointers(server)
    path = f"{PREFIX}/app/blobs/{digest}"
    with server.open(path) as first, server.open(path) as second:
        assert first.read(1000) == second.read(1000) == data[:1000]
        gate.open()
        assert first.read() == data[1000:]
        assert second.read() == data[1000:]
    wait_for(lambda: usage(server)["blobs"] == 0)
    assert len(registry.asked("GET", f".*{digest}")) == 1
    assert pointers(server) == known
    assert set(held(server)) == {manifest}
    check_counted(server)
    assert server.blob("app", digest).body == data
    assert len(registry.asked("GET", f".*{digest}")) == 2


def test_a_blob_that_is_too_large_stays_for_its_last_reader(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    data = layer(1, 4 * BIG)
    digest = registry.add_blob("library/app", data)
    server.blob("app", digest)
    settle(server)
    server.stop()
    again = start_small(start)
    path = f"{PREFIX}/app/blobs/{digest}"
    with again.open(path) as slow:
        assert slow.read(1000) == data[:1000]
        fast = again.blob("app", digest)
        assert (fast.body, fast.cache) == (data, "hit")
        assert set(held(again)) == {digest}
        assert slow.read() == data[1000:]
    wait_for(lambda: not held(again))


def test_a_blob_that_is_too_large_goes_although_its_reader_left_before_the_end(
    start: Start, registry: FakeRegistry
) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = registry.add_blob("library/app", data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    response = server.open(f"{PREFIX}/app/blobs/{digest}")
    response.read(1000)
    response.close()
    wait_for(lambda: not server.running_requests)
    gate.open()
    wait_for(lambda: not held(server))
    assert server.blob("app", digest).body == data


def test_a_range_of_what_is_too_large_is_served(start: Start, registry: FakeRegistry) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = registry.add_blob("library/app", data)
    part = server.blob("app", digest, Range=f"bytes={BIG - 10}-")
    assert (part.status, part.body) == (206, data[-10:])
    wait_for(lambda: not held(server))


def test_what_is_too_large_and_was_there_before_the_limit_goes_by_the_next_pass(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    data = layer(1, 2 * 2**20)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    got = pull(server, "app", "v1")
    server.stop()
    again = start(group="max_size: 1MiB\nexpire_after: 90d", more=KINDLY)
    let_a_pass_go_by(again)
    assert set(held(again)) == got - {Digest.of(data)}
    assert manifest in pointers(again).values()
    check_counted(again)


def test_a_blob_of_just_that_size_stays(start: Start, registry: FakeRegistry) -> None:
    server = start_small(start)
    digest = registry.add_blob("library/app", layer(1, 2**20))
    server.blob("app", digest)
    server.blob("app", digest)
    wait_for(lambda: not server.running_requests)
    assert set(held(server)) == {digest}
