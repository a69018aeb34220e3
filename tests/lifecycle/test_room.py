"""A disk that is nearly full: what nobody uses makes room, across all groups, and nothing else."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.oci.digest import Digest
from depproxy.store.blobs import Blobs
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.lifecycle.disks import KIB, MIB, Disk, is_refused_clearly
from tests.on_disk import check_counted, file_of, held, pointers, rest, settle, wait_until_removed
from tests.pulling import blob, pull
from tests.purging import purge
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import CHANCE, wait_for

SPARE = 24 * MIB // 10
"""Bytes that are left free: a tenth of the disk, which is less than ``min_free``."""

OFTEN = "housekeeping: {interval: 20ms}\n"


def add_blob(registry: FakeRegistry, number: int, size: int = MIB) -> Digest:
    return registry.add_blob("library/app", layer(number, size))


def put(server: RunningServer, registry: FakeRegistry, count: int, group: str) -> list[Digest]:
    """Blobs of 1 MiB that a group has, from the least recently pulled on."""
    first = {"mygroup": 1000, "other": 2000}[group]
    digests = [add_blob(registry, first + number) for number in range(count)]
    for digest in digests:
        assert blob(server, group, digest).status == 200
    rest(server)
    return digests


def fill_but(disk: Disk, room: int) -> None:
    """Leave so many bytes above what is to stay free."""
    disk.fill(leave=SPARE + room)


def wait_for_room(caplog: pytest.LogCaptureFixture) -> None:
    """Room may be made while the blob is on its way already: wait until that has ended."""
    wait_for(lambda: "the disk was nearly full" in caplog.text)


@pytest.fixture
def new(registry: FakeRegistry) -> Digest:
    """What is about to be pulled."""
    return add_blob(registry, 5000)


def test_least_recently_pulled_blobs_of_any_group_make_room(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = put(small, registry, 2, "other")
    third, fourth = put(small, registry, 2, "mygroup")
    disk.fill(leave=MIB)
    assert small.blob("app", new).status == 200
    wait_for_room(caplog)
    settle(small)
    assert first not in held(small, "other")
    assert set(held(small)) >= {fourth, new}
    gone = {first, second, third} - set(held(small)) - set(held(small, "other"))
    assert gone in ({first, second}, {first, second, third})
    for group in ("mygroup", "other"):
        assert set(held(small, group)) <= {first, second, third, fourth, new}
    check_counted(small)


def test_a_pull_makes_a_blob_younger(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digests = put(small, registry, 4, "mygroup")
    small.blob("app", digests[0])
    fill_but(disk, -MIB // 2)
    small.blob("app", new)
    wait_for_room(caplog)
    settle(small)
    assert digests[1] not in held(small)
    assert digests[0] in held(small)


def test_who_was_pulled_when_is_known_after_a_restart(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digests = put(small, registry, 4, "mygroup")
    small.blob("app", digests[0])
    small.stop()
    fill_but(disk, -MIB // 2)
    again = start()
    again.wait_for_counts()
    again.blob("app", new)
    wait_for_room(caplog)
    settle(again)
    assert digests[1] not in held(again)
    assert digests[0] in held(again)


def test_a_disk_with_room_enough_loses_nothing(
    disk: Disk, small: RunningServer, registry: FakeRegistry, new: Digest
) -> None:
    digests = put(small, registry, 3, "mygroup")
    fill_but(disk, 2 * MIB)
    small.blob("app", new)
    assert set(held(small)) == {*digests, new}


def test_manifests_and_pointers_stay_and_the_rest_is_fetched_again(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = [layer(100 + number, MIB) for number in range(3)]
    manifest = add_manifest(registry, "library/app", *data, tag="v1")
    got = pull(small, "app", "v1")
    rest(small)
    known = pointers(small)
    disk.fill(leave=100 * KIB)
    small.blob("app", new)
    wait_for_room(caplog)
    settle(small)
    left = set(held(small))
    assert manifest in left
    assert pointers(small) == known
    assert not left & {Digest.of(part) for part in data[:2]}
    check_counted(small)
    disk.relieve()
    registry.requests.clear()
    assert pull(small, "app", "v1") == got
    fetched = {seen.path.rpartition("/")[2] for seen in registry.asked("GET")}
    assert fetched == {*(got - left)}


def test_manifests_stay_after_a_restart_too_before_anything_is_counted(
    disk: Disk, small: RunningServer, registry: FakeRegistry, new: Digest, start: Start
) -> None:
    manifest = add_manifest(registry, "library/app", layer(100, 4 * MIB), tag="v1")
    pull(small, "app", "v1")
    small.stop()
    disk.fill(leave=100 * KIB)
    again = start()
    assert again.blob("app", new).status == 200
    settle(again)
    assert set(held(again)) >= {manifest, new}


def test_a_blob_that_is_read_stays(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = layer(100, 8 * MIB)
    oldest = registry.add_blob("library/app", data)
    blob(small, "mygroup", oldest)
    next_oldest, *_ = put(small, registry, 3, "mygroup")
    with small.open(f"{PREFIX}/app/blobs/{oldest}") as response:
        assert response.read(1000) == data[:1000]
        # Its last pull is now the latest: let it be the oldest again.
        for tree in small._server.trees():
            tree.blobs.note_use(oldest, 1.0)
        fill_but(disk, -MIB // 2)
        assert small.blob("app", new).status == 200
        wait_for_room(caplog)
        settle(small)
        assert oldest in held(small)
        assert next_oldest not in held(small)
        assert response.read() == data[1000:]


def test_a_fill_is_not_taken_for_idle(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = layer(100, 2 * MIB)
    digest = registry.add_blob("library/app", data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(MIB, "hold", gate=gate), f".*{digest}")
    idle = put(small, registry, 4, "other")  # enough, before the new one is reserved and after
    with small.open(f"{PREFIX}/app/blobs/{digest}") as response:
        assert response.read(1000) == data[:1000]
        disk.fill(leave=MIB // 2)
        assert small.blob("app", new).status == 200
        wait_for_room(caplog)
        gate.open()
        assert response.read() == data[1000:]
    settle(small)
    assert idle[0] not in held(small, "other")
    assert set(held(small)) == {digest, new}


def test_a_file_of_two_groups_goes_from_both(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = add_blob(registry, 1, 2 * MIB)  # enough, before the new one is reserved and after
    for group in ("mygroup", "other"):
        assert blob(small, group, shared).status == 200
    assert file_of(small, "mygroup", shared).samefile(file_of(small, "other", shared))
    [young] = put(small, registry, 1, "other")
    disk.fill(leave=SPARE - MIB // 8)
    free = disk.free
    small.blob("app", new)
    wait_for_room(caplog)
    settle(small)
    assert shared not in held(small)
    assert shared not in held(small, "other")
    assert disk.free >= free - 100 * KIB
    assert {young, new} == set(held(small)) | set(held(small, "other"))


def test_a_file_that_is_in_use_in_one_group_stays_in_both(
    disk: Disk, small: RunningServer, registry: FakeRegistry, new: Digest
) -> None:
    data = layer(100, 8 * MIB)
    shared = registry.add_blob("library/app", data)
    for group in ("mygroup", "other"):
        assert blob(small, group, shared).status == 200
    put(small, registry, 1, "other")
    path = f"/v2/other/dependency_proxy/containers/app/blobs/{shared}"
    with small.open(path) as response:
        assert response.read(1000) == data[:1000]
        disk.fill(leave=100 * KIB)
        assert small.blob("app", new).status == 200
        assert response.read() == data[1000:]
    assert shared in held(small)
    assert shared in held(small, "other")


def test_what_is_not_enough_is_refused_and_hits_go_on(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    manifest = add_manifest(registry, "library/app", layer(1, 1000), tag="v1")
    small.manifest("app", "v1")
    disk.fill(leave=10 * KIB)
    large = add_blob(registry, 2, 2 * MIB)
    assert is_refused_clearly(small.blob("app", large))
    assert small.manifest("app", manifest).cache == "hit"


def test_a_blob_that_never_fits_costs_nobody_what_he_has(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digests = put(small, registry, 3, "mygroup")
    huge = add_blob(registry, 100, 30 * MIB)
    assert is_refused_clearly(small.blob("app", huge))
    assert set(held(small)) == set(digests)


def test_the_regular_pass_makes_room_too(disk: Disk, start: Start, registry: FakeRegistry) -> None:
    server = start(more=OFTEN)
    digests = put(server, registry, 6, "mygroup")
    disk.fill(leave=MIB)
    wait_for(lambda: disk.free >= SPARE - 100 * KIB)
    left = set(held(server))
    assert 0 < len(left) < len(digests)
    assert left == set(digests[-len(left) :])


def test_when_a_disk_is_nearly_full_a_miss_that_fits_waits_for_no_count(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    start: Start,
    walk: Any,
) -> None:
    put(small, registry, 2, "mygroup")
    small.stop()
    fill_but(disk, -MIB // 2)
    again = start()
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(again.blob, "app", new)
        try:
            wait_for(reply.done)
        finally:
            walk.set()
        assert reply.result().status == 200


@pytest.mark.parametrize("reference", ["", "v1"])
def test_an_image_can_be_cleared_on_a_full_disk(
    disk: Disk, small: RunningServer, registry: FakeRegistry, new: Digest, reference: str
) -> None:
    add_manifest(registry, "library/app", layer(100, 3 * MIB), tag="v1")
    pull(small, "app", "v1")
    disk.fill()
    reply = purge(small, "app", reference)
    assert (reply.status, reply.json["manifests"], reply.json["blobs"]) == (202, 1, 2)
    wait_until_removed(small)
    assert disk.free > 3 * MIB - 100 * KIB
    assert not held(small)
    assert small.blob("app", new).status == 200


def test_many_clients_on_a_disk_that_is_far_too_small_get_what_they_ask_for(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    data = [layer(200 + number, MIB) for number in range(30)]
    digests = [registry.add_blob("library/app", part) for part in data]
    disk.fill(leave=8 * MIB)

    def ask(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(15):
            number = dice.randrange(len(data))
            reply = small.blob("app", digests[number])
            assert (reply.status, reply.body == data[number]) == (200, True)

    with ThreadPoolExecutor(3) as pool:
        for result in [pool.submit(ask, seed) for seed in range(3)]:
            result.result()
    rest(small)  # a descriptor of a file that has gone would keep its space
    check_counted(small)


def test_who_seeks_room_while_it_is_being_made_finds_it(
    disk: Disk,
    small: RunningServer,
    registry: FakeRegistry,
    new: Digest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Removing a large file takes its name at once, and gives its space back a while later."""
    put(small, registry, 1, "mygroup")
    disk.fill(leave=100 * KIB)
    remove = Blobs.remove

    def slow_remove(self: Blobs, digest: Digest) -> None:
        held_open = self._open(digest)
        remove(self, digest)
        if held_open is not None:
            time.sleep(CHANCE)
            os.close(held_open)

    monkeypatch.setattr(Blobs, "remove", slow_remove)
    assert small.blob("app", new).status == 200
