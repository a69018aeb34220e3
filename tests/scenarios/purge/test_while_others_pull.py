"""Purges in the middle of pulls: nobody is harmed, and what comes again stays."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from depproxy.cache.documents import Documents
from depproxy.cache.purges import Purges
from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.store.blobs import Blobs
from depproxy.store.inventory import key_of
from depproxy.store.partial import Partial
from depproxy.store.pointers import Pointers
from depproxy.store.removal import Remover
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import (
    check_counted,
    check_pointers,
    held,
    wait_until_removed,
    wait_until_trash_is_empty,
)
from tests.pulling import pull
from tests.purging import ZEROS, check_told, clear, purge
from tests.running import PREFIX, RunningServer
from tests.waiting import CHANCE, PATIENCE, wait_for


def test_who_reads_a_blob_reads_it_to_its_end(
    server: RunningServer, registry: FakeRegistry
) -> None:
    data = layer(1, 32 * 2**20)
    add_manifest(registry, "library/app", data, tag="v1")
    pull(server, "app", "v1")
    with server.open(f"{PREFIX}/app/blobs/{Digest.of(data)}") as response:
        assert response.read(1000) == data[:1000]
        assert clear(server, "app").json["blobs"] == 2
        assert not held(server)
        assert response.read() == data[1000:]


def test_a_purge_in_the_middle_of_a_pull_harms_nobody(
    server: RunningServer, registry: FakeRegistry
) -> None:
    data = layer(1, 4 * 2**20)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    digest = Digest.of(data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    server.manifest("app", "v1")
    with server.open(f"{PREFIX}/app/blobs/{digest}") as response:
        assert response.read(1000) == data[:1000]
        reply = purge(server, "app")
        assert (reply.json["manifests"], reply.json["blobs"]) == (1, 0)
        gate.open()
        assert response.read() == data[1000:]
    wait_until_removed(server)
    assert manifest in pull(server, "app", "v1")
    assert len(registry.asked("GET", f".*{digest}")) == 1  # one blob costs one download
    clear(server, "app")
    assert not held(server)


def test_pulls_and_purges_side_by_side_end_right(
    server: RunningServer, registry: FakeRegistry
) -> None:
    for number in range(3):
        shared = layer(number % 2, 200_000)
        add_manifest(registry, "library/app", shared, layer(10 + number), tag=f"v{number}")
    add_manifest(registry, "library/two", layer(0, 200_000), layer(5), tag="latest")
    two = pull(server, "two")
    done = threading.Event()

    def pull_until_done(number: int) -> int:
        count = 0
        while not done.is_set():
            pull(server, "app", f"v{number}")
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        pulls = [pool.submit(pull_until_done, number) for number in range(3)]
        try:
            for number in range(60):
                reference = ("", "v0", "v1", "v2")[number % 4]
                assert purge(server, "app", reference).status == 202
        finally:
            done.set()
        assert all(result.result() for result in pulls)
    wait_until_removed(server)
    for number in range(3):
        pull(server, "app", f"v{number}")
    check_counted(server)
    clear(server, "app")
    assert set(held(server)) >= two
    registry.requests.clear()
    pull(server, "two")
    assert not registry.asked("GET")


@pytest.mark.parametrize("reference", ["", "latest"])
def test_a_pull_that_comes_while_pointers_are_taken_away_is_kept_and_counted(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
) -> None:
    """The disk is synced between a pointer's removal and the rest, which takes a while."""
    got = pull(server, "hello")
    move = Remover._move_pointers
    with ThreadPoolExecutor(1) as pool:
        pulls: list[Future[set[Digest]]] = []

        def slow_move(self: Remover, *arguments: Any, **more: Any) -> Any:
            moved = move(self, *arguments, **more)
            if not pulls:
                pulls.append(pool.submit(pull, server, "hello"))
                wait(pulls, timeout=CHANCE)
            return moved

        monkeypatch.setattr(Remover, "_move_pointers", slow_move)
        clear(server, "hello", reference)
        assert pulls[0].result() == got
    assert pull(server, "hello") == got
    check_counted(server)
    check_pointers(server)
    before = held(server)
    assert check_told(server, clear(server, "hello"), before, hello.manifests) == got


def test_a_pull_whose_manifest_is_just_being_taken_leaves_no_pointer_without_one(
    server: RunningServer, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body was found on disk, and goes before the pointer to it is written."""
    got = pull(server, "hello")
    about_to_point, taken = threading.Event(), threading.Event()
    finish, write = Remover.finish, Pointers.write_digest

    def late_finish(self: Remover, *arguments: Any) -> int:
        about_to_point.wait(PATIENCE)
        freed = finish(self, *arguments)
        taken.set()
        return freed

    def late_write(self: Pointers, *arguments: Any) -> None:
        about_to_point.set()
        taken.wait(PATIENCE)
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", late_finish)
        patch.setattr(Pointers, "write_digest", late_write)
        purge(server, "hello")
        reply = server.manifest("hello", "latest")
        assert (reply.status, reply.body) == (200, hello.manifests[hello.index][1])
    wait_until_removed(server)
    check_pointers(server)
    assert pull(server, "hello") == got
    check_pointers(server)
    check_counted(server)


def test_a_blob_that_comes_back_while_an_old_purge_is_looking_for_it_is_counted(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two purges had it on their lists: the first has deleted it, a pull brings it again, and the
    second finds nothing just before it gets its name."""
    digest = Digest.of(layer(1))
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    may_finish, finished, verified = (threading.Event() for _ in range(3))
    finish, publish = Remover.finish, Partial.publish
    slow_ones = iter([may_finish])

    def late_finish(self: Remover, *arguments: Any) -> int:
        waits = next(slow_ones, None)
        if waits:
            waits.wait(PATIENCE)
        freed = finish(self, *arguments)
        if waits:
            finished.set()
        return freed

    def late_publish(self: Partial) -> None:
        verified.set()
        finished.wait(PATIENCE)
        publish(self)

    monkeypatch.setattr(Remover, "finish", late_finish)
    purge(server, "app")
    pull(server, "app", "v1")
    purge(server, "app")
    wait_for(lambda: not held(server))
    monkeypatch.setattr(Partial, "publish", late_publish)
    assert server.blob("app", digest).body == layer(1)
    assert verified.wait(PATIENCE)
    may_finish.set()
    assert set(held(server)) == {digest}
    check_counted(server)


def test_a_body_that_is_just_being_taken_is_not_taken_for_one_that_is_there(
    server: RunningServer, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found that nobody writes it, and then somebody did."""
    got = pull(server, "hello")
    asked, moving, looked = (threading.Event() for _ in range(3))
    finish, move, is_there = Remover.finish, Remover._move, Blobs.is_there
    make_known = Documents._make_known

    def late_finish(self: Remover, *arguments: Any) -> int:
        asked.wait(PATIENCE)
        return finish(self, *arguments)

    async def late_known(self: Documents, *arguments: Any) -> None:
        asked.set()
        await asyncio.to_thread(moving.wait, PATIENCE)
        await make_known(self, *arguments)

    def late_move(self: Remover, key: bytes, folder: str) -> bool:
        if key == key_of(hello.index):
            moving.set()
            looked.wait(CHANCE)
        return move(self, key, folder)

    def look(self: Blobs, digest: Digest) -> bool:
        found = is_there(self, digest)
        looked.set()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", late_finish)
        patch.setattr(Remover, "_move", late_move)
        patch.setattr(Documents, "_make_known", late_known)
        patch.setattr(Blobs, "is_there", look)
        purge(server, "hello")
        assert server.manifest("hello", hello.index).status == 200
        wait_until_removed(server)
    check_pointers(server)
    assert pull(server, "hello") == got


def test_clearing_an_image_while_its_group_is_cleared_clears_nothing_more(
    server: RunningServer, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, "hello")
    take = Purges._take_pointers

    def late_take(self: Purges, *arguments: Any) -> Any:
        assert server.purge().status == 202
        wait_until_trash_is_empty(server)
        return take(self, *arguments)

    monkeypatch.setattr(Purges, "_take_pointers", late_take)
    reply = purge(server, "hello")
    assert (reply.status, reply.json) == (202, ZEROS)


def test_what_two_clear_at_once_is_told_to_one(
    server: RunningServer, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, "hello")
    move = Remover._move_pointers
    told: list[dict[str, int]] = []

    def move_and_clear_again(self: Remover, *arguments: Any) -> Any:
        moved = move(self, *arguments)
        told.append(purge(server, "hello").json)
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "_move_pointers", move_and_clear_again)
        told.append(purge(server, "hello").json)
    assert [answer["bytes"] > 0 for answer in told] == [True, False]
    assert told[1] == ZEROS
