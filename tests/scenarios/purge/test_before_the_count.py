"""Purges before the first count after a start is complete: what others need stays."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.store.files import Directory
from depproxy.store.inventory import Reference
from depproxy.store.pointers import Pointers
from depproxy.store.removal import Removal, Remover
from depproxy.store.survey import walk_references
from depproxy.store.tree import Tree
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import check_counted, check_pointers, held, pointers, wait_until_removed
from tests.pulling import pull
from tests.purging import ZEROS, clear, purge
from tests.running import RunningServer, Start
from tests.waiting import CHANCE, PATIENCE


@pytest.fixture
def two_images(registry: FakeRegistry) -> set[Digest]:
    """Images `one` and `two` that share a layer; returns their manifests."""
    return {
        add_manifest(registry, "library/one", layer(1), layer(2), tag="latest"),
        add_manifest(registry, "library/two", layer(2), layer(3), tag="latest"),
    }


@pytest.mark.parametrize("reference", ["", "latest"])
def test_before_the_count_is_complete_an_image_goes_at_once_and_its_blobs_after_it(
    server: RunningServer,
    registry: FakeRegistry,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
    reference: str,
) -> None:
    one, two = pull(server, "one"), pull(server, "two")
    server.stop()
    again = start()
    reply = purge(again, "one", reference)
    assert (reply.status, reply.json["exact"]) == (202, False)
    assert reply.json["manifests"] <= 1
    assert {path.split("/")[2] for path in pointers(again)} == {"two"}
    assert set(held(again)) == one | two
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == two
    check_counted(again)
    registry.requests.clear()
    pull(again, "two")
    assert not registry.asked("GET")
    assert "exact" not in clear(again, "two").json


@pytest.mark.parametrize("reference", ["", "nothing", f"sha256:{64 * '0'}"])
def test_an_answer_waits_for_no_walk_through_an_image_either(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
) -> None:
    """Where the whole of it goes, or what it does not have."""
    one, two = pull(server, "one"), pull(server, "two")
    server.stop()
    again = start()
    walked: list[object] = []
    monkeypatch.setattr("depproxy.store.tree.survey_image", lambda *image: walked.append(image))
    assert purge(again, "one", reference).json == {**ZEROS, "exact": False}
    assert walked == []
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == (one | two if reference else two)
    check_counted(again)


def test_before_the_count_is_complete_what_another_tag_leads_to_stays(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start, walk: threading.Event
) -> None:
    registry.tag("library/hello", "v2", hello.index)
    got = pull(server, "hello") | pull(server, "hello", "v2")
    server.stop()
    again = start()
    reply = purge(again, "hello", "latest")
    assert reply.json == {**ZEROS, "exact": False}
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == got
    assert len(pointers(again)) == 3


def test_what_is_pulled_again_before_the_count_is_complete_stays(
    server: RunningServer,
    registry: FakeRegistry,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
) -> None:
    one, two = pull(server, "one"), pull(server, "two")
    server.stop()
    again = start()
    purge(again, "one")
    assert pull(again, "one") == one
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == one | two
    check_counted(again)
    check_pointers(again)


def test_a_count_that_ends_just_then_loses_no_blob_out_of_sight(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The purge has begun by what little was known, and ends when everything is."""
    pull(server, "one")
    two = pull(server, "two")
    server.stop()
    again = start()
    begin = Remover.begin

    def slow_begin(self: Remover, *arguments: Any, **more: Any) -> Removal:
        removal = begin(self, *arguments, **more)
        walk.set()
        again.wait_for_counts()
        return removal

    monkeypatch.setattr(Remover, "begin", slow_begin)
    clear(again, "one")
    assert set(held(again)) == two


def test_a_pointer_that_the_count_was_just_reading_does_not_come_back(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pull(server, "one")
    two = pull(server, "two")
    server.stop()
    reached, go_on = threading.Event(), threading.Event()
    load = "depproxy.store.times.Times.load"

    def slow_load(_: object, repository: object, reference: object) -> None:
        is_counting = threading.current_thread().name.startswith("chores")
        if is_counting and (str(repository), reference) == ("docker.io/library/one", "latest"):
            reached.set()
            go_on.wait(PATIENCE)

    monkeypatch.setattr(load, slow_load)
    again = start()
    assert reached.wait(PATIENCE)
    purge(again, "one")
    go_on.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == two
    check_counted(again)


def test_two_counts_at_once_take_nothing_that_others_need(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one after a start, and the housekeeper's or the one that seeks room: the first to end has
    been overtaken, and knows of nothing."""
    pull(server, "one")
    two = pull(server, "two")
    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", lambda *_: 0)
        purge(server, "one")
        server.stop()
    survey, references = Tree.survey, "depproxy.store.survey.walk_references"
    counting = threading.local()
    overtaken, first_has_ended = threading.Event(), threading.Event()
    numbers = itertools.count(1)

    def numbered_survey(tree: Tree, stop: threading.Event) -> None:
        counting.number = next(numbers) if tree.group == "mygroup" else 0
        survey(tree, stop)
        if counting.number == 1:
            first_has_ended.set()

    def slow_walk(tree: Directory, top: str = "manifests") -> Iterator[Reference]:
        if counting.number == 1:
            overtaken.wait(CHANCE)
        if counting.number == 2:
            overtaken.set()
            first_has_ended.wait(CHANCE)
        return walk_references(tree, top)

    monkeypatch.setattr(Tree, "survey", numbered_survey)
    monkeypatch.setattr(references, slow_walk)
    again = start(group="max_size: 1GiB", more="housekeeping: {interval: 50ms}\n")
    again.wait_for_counts()
    assert set(held(again)) >= two
    wait_until_removed(again)
    assert set(held(again)) == two


def test_a_manifest_that_is_being_noted_when_the_count_ends_is_there(
    server: RunningServer,
    hello: Image,
    start: Start,
    walk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was found on disk, since what was cleared waits for the count."""
    pull(server, "hello")
    server.stop()
    again = start()
    assert purge(again, "hello").json["exact"] is False
    point = Pointers.write_digest

    def late_point(self: Pointers, *arguments: Any) -> None:
        walk.set()
        again.wait_for_counts()
        wait_until_removed(again)
        point(self, *arguments)

    monkeypatch.setattr(Pointers, "write_digest", late_point)
    assert again.manifest("hello", "latest").status == 200
    check_pointers(again)
