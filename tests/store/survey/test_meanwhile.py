"""A count that is stopped, or during which something happens, at any moment."""

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from depproxy.demo.image import make_image
from depproxy.oci.names import Tag
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.survey.two_images import (
    APP,
    DEEP,
    FILES,
    FIRST,
    FOREIGN,
    GO_ON,
    GONE,
    LATEST,
    OLD,
    OTHER,
    counted,
    picture,
)
from tests.store.trees import clone, open_tree, pull, store

STEP = 5
"""Every fifth moment will do; those next to each other differ little."""


class Meddling(threading.Event):
    """Does something, or is set, when it was asked so often."""

    def __init__(self, calls: int, act: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.calls = calls
        self._act = act

    def is_set(self) -> bool:
        self.calls -= 1
        if self.calls == 0 and self._act:
            self._act()
        return self.calls <= 0 and self._act is None

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def test_wherever_a_count_stops_everything_is_as_it_was(path: Path) -> None:
    tree = open_tree(path)
    store(tree, FOREIGN, b"a foreign file")
    before = picture(tree)
    for calls in count(1):
        stop = Meddling(calls)
        tree.survey(stop)
        if stop.calls > 0:
            break
        if not tree.holdings.is_exact:
            assert picture(tree) == before
    assert calls > 20
    assert tree.holdings.is_exact
    assert picture(tree) == picture(counted(path))


def remove(tree: Tree, repository: Repository, tag: Tag | None) -> None:
    """Where the whole is not counted, the blobs follow when it is."""
    removal = tree.remover.begin([tree.selection(repository, tag)])
    if removal.totals.exact:
        tree.remover.finish(removal, lambda _: False, GO_ON)
    else:
        tree.remover.leave(removal)


def remove_image(tree: Tree) -> None:
    remove(tree, APP, None)


def remove_tag(tree: Tree) -> None:
    remove(tree, DEEP, OLD)


def take_pointers_of_image(tree: Tree) -> None:
    tree.remover.leave(tree.remover.begin([tree.selection(APP, None)]))


def take_pointers_of_tag(tree: Tree) -> None:
    tree.remover.leave(tree.remover.begin([tree.selection(DEEP, OLD)]))


def pull_another(tree: Tree) -> None:
    pull(tree, DEEP, LATEST, make_image("Pulled meanwhile.", FILES))


def move_tag(tree: Tree) -> None:
    pull(tree, DEEP, GONE, OTHER)


def remove_blob(tree: Tree) -> None:
    tree.remove_blob(FIRST.index)


@pytest.mark.parametrize(
    "change",
    [
        remove_image,
        remove_tag,
        take_pointers_of_image,
        take_pointers_of_tag,
        pull_another,
        move_tag,
        remove_blob,
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "again"])
def test_whatever_happens_whenever_during_a_count_it_ends_as_the_files_are(
    template: Path, tmp_path: Path, change: Callable[[Tree], None], is_first: bool
) -> None:
    for calls in count(1, STEP):
        path = clone(template, tmp_path / str(calls))
        tree = open_tree(path) if is_first else counted(path)

        def act(tree: Tree = tree) -> None:
            change(tree)

        stop = Meddling(calls, act)
        tree.survey(stop)
        assert picture(tree) == picture(counted(path))
        if stop.calls > 0:
            break
    assert calls > 20
