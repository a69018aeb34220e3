"""Removing references: what goes, and what stays."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from depproxy.demo.image import make_image
from depproxy.errors import StorePurged
from depproxy.oci.digest import Digest
from depproxy.oci.names import ImageName, Tag
from depproxy.store.files import make_directories
from depproxy.store.graph import Key
from depproxy.store.holdings import Holdings, Totals
from depproxy.store.inventory import Selection, digest_of, key_of
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.removal.four_images import (
    APP,
    BASE,
    FIRST,
    GO_ON,
    LATEST,
    LOOSE,
    ONE,
    SECOND,
    THIRD,
    TWO,
    blobs,
    bodies,
    counted,
    everything,
    left_over,
    nobody,
    reachable,
    remove,
    remove_blobs,
    remove_image,
)
from tests.store.trees import clone, open_tree, point, pull, store


def test_nothing_is_missing_before_anything_is_removed(tree: Tree, tmp_path: Path) -> None:
    assert blobs(tmp_path) == reachable(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)
    assert tree.holdings.is_exact


def test_a_tag_goes_with_its_own_and_leaves_what_others_share(tree: Tree, tmp_path: Path) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    kept = everything(SECOND, THIRD, LOOSE)
    assert reachable(tmp_path) == kept
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == kept
    own = everything(FIRST) - kept
    assert removal.totals == Totals(len(FIRST.manifests), len(own) - 3, freed, exact=True)
    assert freed == sum(len(data) for digest, data in bodies(FIRST).items() if digest in own)
    assert left_over(tmp_path) == []


def test_an_image_goes_whole_and_leaves_others_alone(tree: Tree, tmp_path: Path) -> None:
    remove(tree, tree.selection(APP, None))
    assert blobs(tmp_path) == reachable(tmp_path) == everything(THIRD)
    assert tree.lists.read(APP, "tags") is None
    assert tree.pointers.read_tag(BASE, LATEST)
    assert not list((tmp_path / "manifests/docker.io").rglob("*.json"))
    assert not list((tmp_path / "manifests/docker.io").rglob("*.times"))


def test_a_digest_goes_with_what_it_leads_to(tree: Tree, tmp_path: Path) -> None:
    remove(tree, tree.selection(APP, LOOSE.index))
    assert blobs(tmp_path) == everything(FIRST, SECOND, THIRD)
    assert tree.pointers.read_digest(APP, LOOSE.index) is None


def test_several_go_at_once(tree: Tree, tmp_path: Path) -> None:
    def selections() -> Iterator[Selection]:
        """One after the other, since what goes with one depends on what went before."""
        for repository, reference in ((APP, ONE), (APP, TWO), (BASE, LATEST)):
            yield tree.selection(repository, reference)

    removal = tree.remover.begin(selections())
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(LOOSE)
    assert (removal.totals.manifests, removal.totals.size) == (9, freed)


def test_what_is_gone_can_be_removed_again(tree: Tree, tmp_path: Path) -> None:
    selection = tree.selection(APP, ONE)
    remove(tree, selection)
    removal = tree.remover.begin([selection, tree.selection(APP, Tag("never"))])
    assert removal.totals == Totals(0, 0, 0, exact=True)
    assert tree.remover.finish(removal, nobody, GO_ON) == 0
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)


def test_what_was_removed_can_be_pulled_again(tree: Tree, tmp_path: Path) -> None:
    before = tree.holdings.totals()
    remove(tree, tree.selection(APP, ONE))
    pull(tree, APP, ONE, FIRST)
    assert tree.holdings.totals() == before
    assert blobs(tmp_path) == reachable(tmp_path)


def test_what_is_pulled_again_meanwhile_stays(tree: Tree, tmp_path: Path) -> None:
    """Between the pointers and the blobs."""
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    pull(tree, APP, ONE, FIRST)
    assert tree.remover.finish(removal, nobody, GO_ON) == 0
    assert blobs(tmp_path) == reachable(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)


@contextmanager
def meanwhile(is_time: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """As soon as a renaming makes it ``is_time``, another thread acts; whoever renamed goes on when
    that has ended, or waits for the lock of a file."""
    acts: list[Future[object]] = []
    has_ended_or_waits = threading.Event()
    lock, rename = fcntl.flock, os.rename

    def lock_and_tell(fd: int, operation: int) -> None:
        try:
            lock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            has_ended_or_waits.set()
            lock(fd, operation)

    def rename_and_wait(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if not acts and is_time():
            acts.append(Future())
            acts[0] = pool.submit(act)
            acts[0].add_done_callback(lambda _: has_ended_or_waits.set())
            has_ended_or_waits.wait()

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_and_tell)
        patch.setattr(os, "rename", rename_and_wait)
        yield
        assert acts
        acts[0].result()


@pytest.mark.parametrize("reference", [None, ONE])
def test_what_is_pulled_again_as_soon_as_its_pointers_are_gone_stays(
    tree: Tree, tmp_path: Path, reference: Tag | None
) -> None:
    pointer = tmp_path / APP.path(ONE, ".json")
    selection = tree.selection(APP, reference)
    with meanwhile(lambda: not pointer.exists(), lambda: pull(tree, APP, ONE, FIRST)):
        removal = tree.remover.begin([selection])
    tree.remover.finish(removal, nobody, GO_ON)
    assert pointer.exists()
    assert blobs(tmp_path) == reachable(tmp_path)
    assert tree.holdings.totals() == counted(tmp_path).holdings.totals()


@pytest.mark.parametrize("reference", [None, LOOSE.index])
def test_what_nothing_leads_to_goes_though_a_count_has_missed_it_meanwhile(
    tree: Tree, tmp_path: Path, reference: Digest | None
) -> None:
    """The count comes when the pointers are gone, and ends before anything else happens."""
    pointer = tmp_path / APP.path(LOOSE.index, ".json")
    selection = tree.selection(APP, reference)
    before = tree.holdings.totals()
    with meanwhile(lambda: not pointer.exists(), lambda: tree.count(GO_ON)):
        removal = tree.remover.begin([selection])
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == reachable(tmp_path)
    assert removal.totals.size == freed == before.size - tree.holdings.totals().size


def test_an_image_that_comes_when_it_was_just_found_to_be_missing_goes_whole(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Repository("docker.io", ImageName("library/new"))
    ask = Holdings.unused_without

    def ask_late(self: Holdings, selection: Selection) -> list[Key]:
        patch.undo()
        pull(tree, new, LATEST, make_image("A new image.", {"file": b"of its own"}))
        return ask(self, selection)

    with monkeypatch.context() as patch:
        patch.setattr(Holdings, "unused_without", ask_late)
        remove(tree, tree.selection(new, None))
    assert blobs(tmp_path) == reachable(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)
    assert tree.holdings.totals() == counted(tmp_path).holdings.totals()


def test_a_count_leaves_alone_what_is_about_to_be_removed(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a folder for it, and nothing in it yet."""

    def make_and_survey(path: str, fd: int, **more: bool) -> None:
        make_directories(path, fd, **more)
        tree.survey(GO_ON)
        assert len(left_over(tmp_path)) == 1

    with monkeypatch.context() as patch:
        patch.setattr("depproxy.store.removal.make_directories", make_and_survey)
        removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert left_over(tmp_path) == []


def test_a_pointer_that_is_removed_as_soon_as_it_is_written_is_gone(
    tree: Tree, tmp_path: Path
) -> None:
    """Whoever wrote it may be told so."""
    new = Tag("new")
    pointer = tmp_path / APP.path(new, ".json")
    with meanwhile(pointer.exists, lambda: remove_image(tree)), suppress(StorePurged):
        point(tree, APP, new, FIRST)
    assert not pointer.exists()
    assert [root.reference for root in tree.holdings.roots()] == [LATEST]
    assert tree.holdings.totals() == counted(tmp_path).holdings.totals()


def test_before_a_count_an_image_is_removed_by_what_it_is_seen_to_have(
    template: Path, tmp_path: Path
) -> None:
    """The blobs follow when the count has told what others lead to."""
    clone(template, tmp_path)
    tree = open_tree(tmp_path)
    selection = tree.selection(APP, ONE)
    assert set(selection.digests) == set(FIRST.manifests)
    removal = tree.remover.begin([selection])
    assert not removal.totals.exact
    tree.remover.leave(removal)
    assert tree.pointers.read_tag(APP, ONE) is None
    tree.survey(GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert left_over(tmp_path) == []


def test_a_removal_that_began_before_a_count_may_be_finished_after_it(
    template: Path, tmp_path: Path
) -> None:
    """A count may end at any moment."""
    tree = open_tree(clone(template, tmp_path))
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.survey(GO_ON)
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert left_over(tmp_path) == []


def test_a_count_leaves_alone_what_is_being_removed(tree: Tree, tmp_path: Path) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.survey(GO_ON)
    assert len(left_over(tmp_path)) == 1
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)


def test_the_picture_after_a_removal_is_what_a_new_count_finds(tree: Tree, tmp_path: Path) -> None:
    for reference in (FIRST.index, ONE, TWO):
        remove(tree, tree.selection(APP, reference))
        other = open_tree(tmp_path)
        other.survey(GO_ON)
        assert tree.holdings.totals() == other.holdings.totals()
        assert tree.holdings.sizes() == other.holdings.sizes()


# -- what is protected -----------------------------------------------------------------------


def test_what_is_protected_stays(tree: Tree, tmp_path: Path) -> None:
    kept = everything(SECOND, THIRD, LOOSE)
    own = everything(FIRST) - kept
    protected = set(list(FIRST.blobs)[:2]) & own
    assert protected
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.remover.finish(removal, lambda key: digest_of(key) in protected, GO_ON)
    assert blobs(tmp_path) == kept | protected
    assert set(tree.holdings.orphans(tree.holdings.sizes())) == set(map(key_of, protected))
    remove_blobs(tree, list(map(key_of, protected)), nobody)
    assert blobs(tmp_path) == kept


def test_orphans_go_unless_they_are_protected_or_used(tree: Tree, tmp_path: Path) -> None:
    loose = [b"nobody leads here", b"nor here, but it is read"]
    for data in loose:
        store(tree, Digest.of(data), data)
    keys = [key_of(Digest.of(data)) for data in loose]
    freed = remove_blobs(tree, [*keys, key_of(FIRST.index)], lambda key: key == keys[1])
    assert freed == len(loose[0])
    assert blobs(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE) | {Digest.of(loose[1])}
