"""Ways to be interrupted, at any moment of a removal."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from depproxy.store.graph import Key
from depproxy.store.inventory import Selection, key_of
from depproxy.store.tree import Tree
from tests.store.removal.four_images import (
    APP,
    BASE,
    GO_ON,
    LATEST,
    LOOSE,
    ONE,
    blobs,
    left_over,
    nobody,
    reachable,
)
from tests.store.trees import open_tree


class Stop(threading.Event):
    """Is set when it was asked so often, or does something instead."""

    def __init__(self, calls: int, act: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._left = calls
        self._act = act

    def is_set(self) -> bool:
        self._left -= 1
        if self._left == -1 and self._act:
            self._act()
        return self.is_over and self._act is None

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()

    @property
    def is_over(self) -> bool:
        return self._left < 0


class Crash(BaseException):
    """The process ends here."""


Begin = Callable[[Tree], list[Selection]]

REMOVALS: dict[str, Begin] = {
    "tag": lambda tree: [tree.selection(APP, ONE)],
    "digest": lambda tree: [tree.selection(APP, LOOSE.index)],
    "image": lambda tree: [tree.selection(APP, None)],
    "several": lambda tree: [tree.selection(APP, None), tree.selection(BASE, LATEST)],
}


def assert_tidy(path: Path) -> None:
    """After a restart nothing is left that nothing leads to, and nothing is missing."""
    tree = open_tree(path)
    tree.survey(GO_ON)
    assert blobs(path) == reachable(path)
    assert left_over(path) == []
    assert tree.holdings.is_exact
    assert tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(path)}
    assert list(tree.holdings.orphans(tree.holdings.sizes())) == []


def is_interrupted_by_stop(tree: Tree, begin: Begin, calls: int) -> bool:
    stop = Stop(calls)
    tree.remover.finish(tree.remover.begin(begin(tree)), nobody, stop)
    return stop.is_over


def is_interrupted_by_error(tree: Tree, begin: Begin, calls: int) -> bool:
    left = iter(range(calls))

    def ask(_: Key) -> bool:
        if next(left, None) is None:
            raise Crash
        return False

    try:
        tree.remover.finish(tree.remover.begin(begin(tree)), ask, GO_ON)
    except Crash:
        return True
    return False


def is_interrupted_by_crash(tree: Tree, begin: Begin, calls: int) -> bool:
    """Before any change of the disk, of pointers, blobs or folders."""
    selections = begin(tree)
    left = iter(range(calls))

    def before(change: Callable[..., None]) -> Callable[..., None]:
        def crash_or_do(*arguments: object, **keywords: object) -> None:
            if next(left, None) is None:
                raise Crash
            change(*arguments, **keywords)

        return crash_or_do

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, before(getattr(os, name)))
        try:
            tree.remover.finish(tree.remover.begin(selections), nobody, GO_ON)
        except Crash:
            return True
    return False
