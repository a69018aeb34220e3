"""Removals by several processes, and what each notices of the others."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from depproxy.oci.names import Tag
from depproxy.store.inventory import Selection, key_of
from depproxy.store.tree import Tree
from tests.store.removal.four_images import (
    APP,
    GO_ON,
    LOOSE,
    ONE,
    SECOND,
    THIRD,
    TWO,
    blobs,
    counted,
    everything,
    left_over,
    nobody,
    reachable,
    remove,
    remove_blobs,
)
from tests.store.removal.interruptions import REMOVALS, Stop
from tests.store.trees import clone, open_tree


@pytest.fixture
def other(tree: Tree, tmp_path: Path) -> Tree:
    """Another process on the same folder, which has counted too."""
    assert tree.is_there
    return counted(tmp_path)


def tidy_up(other: Tree) -> None:
    """As another process does after it has counted."""
    other.remover.finish_interrupted(GO_ON, other.remover.interrupted())


def remove_from_outside(other: Tree, tag: Tag | None) -> None:
    """As a command does beside the server."""
    remove(other, other.selection(APP, tag))
    other.remover.announce()


def test_ones_own_changes_are_not_foreign(tree: Tree) -> None:
    assert not tree.remover.has_foreign_changes()
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    assert not tree.remover.has_foreign_changes()
    tree.remover.finish(removal, nobody, GO_ON)
    remove_blobs(tree, [], nobody)
    tree.remover.finish_interrupted(GO_ON)
    assert not tree.remover.has_foreign_changes()


def test_reading_is_no_change(tree: Tree, other: Tree) -> None:
    other.selection(APP, None)
    other.survey(GO_ON)
    assert not tree.remover.has_foreign_changes()


def test_what_another_process_removes_is_noticed(tree: Tree, other: Tree, tmp_path: Path) -> None:
    for tag in (ONE, TWO):
        remove_from_outside(other, tag)
        assert tree.remover.has_foreign_changes()
        assert tree.holdings.doubt()
        tree.survey(GO_ON)
        assert not tree.remover.has_foreign_changes()
        assert tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(tmp_path)}
        assert tree.holdings.totals() == other.holdings.totals()


def test_a_foreign_change_is_not_covered_up_by_ones_own(tree: Tree, other: Tree) -> None:
    remove_from_outside(other, ONE)
    remove(tree, tree.selection(APP, TWO))
    assert tree.remover.has_foreign_changes()


def test_a_foreign_change_during_ones_own_is_noticed(tree: Tree, other: Tree) -> None:
    removal = tree.remover.begin([tree.selection(APP, TWO)])
    remove_from_outside(other, ONE)
    tree.remover.finish(removal, nobody, GO_ON)
    assert tree.remover.has_foreign_changes()


def test_a_count_that_was_given_up_leaves_a_foreign_change_to_be_noticed(
    tree: Tree, other: Tree
) -> None:
    remove_from_outside(other, ONE)
    tree.count(Stop(3))
    assert tree.remover.has_foreign_changes()


def test_a_foreign_change_during_a_count_is_counted_or_noticed(
    template: Path, tmp_path: Path
) -> None:
    """Whatever the walk has seen by then."""
    for calls in count(0, 2):
        path = clone(template, tmp_path / str(calls))
        tree, other = open_tree(path), counted(path)
        stop = Stop(calls, lambda other=other: remove_from_outside(other, None))  # type: ignore[misc]
        tree.count(stop)
        is_right = tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(path)}
        assert is_right or tree.remover.has_foreign_changes()
        if not stop.is_over:
            break
    assert calls > 20


def test_two_processes_may_remove_the_same(tree: Tree, other: Tree, tmp_path: Path) -> None:
    removals = [
        (process, process.remover.begin(REMOVALS["tag"](process))) for process in (tree, other)
    ]
    for process, removal in removals:
        process.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    for process in (tree, other):
        assert process.holdings.sizes().keys() == {key_of(digest) for digest in blobs(tmp_path)}


def test_another_process_may_finish_what_one_has_begun(
    tree: Tree, other: Tree, tmp_path: Path
) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    other.survey(GO_ON)
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert tree.holdings.totals() == other.holdings.totals()


@pytest.mark.parametrize("reference", [None, ONE])
def test_an_image_is_removed_though_another_process_tidies_up_meanwhile(
    tree: Tree, other: Tree, tmp_path: Path, reference: Tag | None
) -> None:
    """It finds a folder in which nothing is yet, and deletes it."""

    def selections() -> Iterator[Selection]:
        selection = tree.selection(APP, reference)
        tidy_up(other)
        yield selection

    tree.remover.finish(tree.remover.begin(selections()), nobody, GO_ON)
    assert tree.pointers.read_tag(APP, ONE) is None
    assert blobs(tmp_path) == reachable(tmp_path)


def test_blobs_go_though_another_process_has_taken_the_folder_that_collects_them(
    tree: Tree, other: Tree, tmp_path: Path
) -> None:
    """It does not know yet that nothing leads to them, and finds the pointers all the same."""
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tidy_up(other)
    assert left_over(tmp_path) == []
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert freed == removal.totals.size
    assert left_over(tmp_path) == []


def test_what_is_killed_while_another_process_counts_is_finished_by_the_next_count(
    tree: Tree, other: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointers were counted, and had moved when the count had ended."""
    finish = tree.remover.finish_interrupted

    def finish_late(*arguments: Any) -> None:
        other.remover.begin([other.selection(APP, ONE)])
        finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tree.remover, "finish_interrupted", finish_late)
        tree.survey(GO_ON)
    tree.survey(GO_ON)
    assert left_over(tmp_path) == []
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
