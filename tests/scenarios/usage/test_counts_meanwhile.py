"""The numbers stay those of the disk, whatever comes, goes or fails while files are counted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.cache.documents import Documents
from depproxy.cache.source import Source
from depproxy.oci.digest import Digest
from depproxy.store.partial import Partial
from depproxy.store.pointers import Pointers
from depproxy.store.tree import Tree
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.group_api import usage
from tests.images import add_manifest, layer
from tests.on_disk import check_counted, file_of, held, rest, settle, wait_until_removed
from tests.pulling import pull
from tests.purging import clear, purge
from tests.running import RunningServer, Start
from tests.waiting import PATIENCE, wait_for

GO_ON = threading.Event()


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is not asked for again."""
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())


def change_from_outside(server: RunningServer) -> None:
    """As a command tells that has removed something."""
    (server.tree / "changed").touch()


def count_anew(server: RunningServer) -> None:
    change_from_outside(server)
    wait_for(lambda: usage(server).get("exact", True))


def test_a_change_from_outside_is_counted_once_however_many_ask(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    server.wait_for_counts()
    may_count = threading.Event()
    begun = []
    survey = Tree.survey

    def late_survey(self: Tree, stop: threading.Event) -> None:
        begun.append(self.group)
        may_count.wait(PATIENCE)
        survey(self, stop)

    monkeypatch.setattr(Tree, "survey", late_survey)
    change_from_outside(server)
    for _ in range(20):
        assert usage(server)["exact"] is False
    may_count.set()
    server.wait_for_counts()
    assert begun == ["mygroup"]


def test_a_blob_that_is_being_synced_during_a_count_is_counted(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = layer(1, 300_000)
    digest = Digest.of(data)
    add_manifest(registry, "library/app", data, tag="v1")
    may_publish = threading.Event()
    publish = Partial.publish

    def late_publish(self: Partial) -> None:
        if self.digest == digest:
            may_publish.wait(PATIENCE)
        publish(self)

    monkeypatch.setattr(Partial, "publish", late_publish)
    server.manifest("app", "v1")
    assert server.blob("app", digest).body == data
    count_anew(server)
    may_publish.set()
    rest(server)
    assert digest in held(server)
    assert usage(server)["blobs"] == 1
    assert clear(server, "app").json["blobs"] == 1
    assert not held(server)


def test_a_blob_that_is_being_synced_while_a_removal_is_finished_is_counted(
    server: RunningServer,
    registry: FakeRegistry,
    start: Start,
    walk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = Digest.of(layer(1))
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    server.stop()
    again = start()
    file_of(again, "mygroup", digest).unlink()  # as `min_free` does
    assert purge(again, "app").json["exact"] is False
    publish = Partial.publish

    def late_publish(self: Partial) -> None:
        walk.set()
        again.wait_for_counts()
        wait_until_removed(again)
        publish(self)

    monkeypatch.setattr(Partial, "publish", late_publish)
    assert again.blob("app", digest).body == layer(1)
    rest(again)
    assert set(held(again)) == {digest}
    check_counted(again)


def test_a_count_between_a_manifest_and_its_pointer_knows_what_it_leads_to(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = add_manifest(registry, "library/app", layer(1), tag="v1")
    write, point = Documents._write, Pointers.write_digest

    def write_slowly(self: Documents, source: Source, *arguments: Any) -> None:
        def late_point(self: Pointers, *arguments: Any) -> None:
            source.tree.survey(GO_ON)
            point(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Pointers, "write_digest", late_point)
            write(self, source, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Documents, "_write", write_slowly)
        assert server.manifest("app", manifest).status == 200
    pull(server, "app", "v1")
    clear(server, "app")
    assert not held(server)


@pytest.fixture
def manifest(server: RunningServer, registry: FakeRegistry, one_try: None) -> Digest:
    """Of an image with one layer. It came as such while somebody asked for it as a blob, in vain:
    that has another path at the upstream."""
    digest = add_manifest(registry, "library/app", layer(1), tag="v1")
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, 404), f".*/blobs/{digest}")
    with ThreadPoolExecutor(1) as pool:
        blob = pool.submit(server.blob, "app", digest)
        assert gate.reached.wait(PATIENCE)
        assert server.manifest("app", "v1").status == 200
        gate.open()
        assert blob.result().status == 404
    pull(server, "app", "v1")
    return digest


def test_what_came_by_another_way_than_a_fill_that_failed_is_counted(
    server: RunningServer, manifest: Digest
) -> None:
    assert manifest in held(server)
    check_counted(server)
    clear(server, "app")
    assert not held(server)


def test_what_it_leads_to_stays_when_another_image_goes(
    server: RunningServer, registry: FakeRegistry, manifest: Digest
) -> None:
    add_manifest(registry, "library/other", layer(1), layer(2), tag="latest")
    pull(server, "other")
    before = pull(server, "app", "v1")
    clear(server, "other")
    assert set(held(server)) == before


def fill_beside_a_loan(server: RunningServer, registry: FakeRegistry, *, is_there: bool) -> Digest:
    """A blob of ``mygroup`` comes to ``other`` by a link, while it is being filled there for an
    image of which the upstream has it, or has not."""
    data = layer(1)
    digest = registry.add_blob("library/app", data)
    registry.add_blob("library/second", data)
    server.blob("app", digest)
    settle(server)
    filling, asking = Gate(), Gate()
    registry.misbehave(behaviours.status(404), ".*/second/blobs/.*", "HEAD")
    gone = () if is_there else (404,)
    registry.misbehave(behaviours.hold(filling, *gone), ".*/second/blobs/.*", "GET")
    registry.misbehave(behaviours.hold(asking), ".*/app/blobs/.*", "HEAD")
    path = "/v2/other/dependency_proxy/containers/{}/blobs/" + digest
    with ThreadPoolExecutor(2) as pool:
        lent = pool.submit(server.ask, path.format("app"))
        assert asking.reached.wait(PATIENCE)
        filled = pool.submit(server.ask, path.format("second"))
        assert filling.reached.wait(PATIENCE)
        asking.open()
        assert lent.result().body == data
        filling.open()
        filled.result()
    rest(server)
    assert set(held(server, "other")) == {digest}
    return digest


def test_what_was_lent_while_a_fill_of_it_has_failed_is_counted(
    server: RunningServer, registry: FakeRegistry, one_try: None
) -> None:
    fill_beside_a_loan(server, registry, is_there=False)
    assert usage(server, "other")["blobs"] == 1


def test_a_fill_that_comes_over_a_loan_is_a_file_of_its_own(
    server: RunningServer, registry: FakeRegistry
) -> None:
    digest = fill_beside_a_loan(server, registry, is_there=True)
    size = held(server)[digest]
    assert [usage(server, group)["bytes"] for group in ("mygroup", "other")] == [size, size]
