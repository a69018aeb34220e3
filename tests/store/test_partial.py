"""A blob being written: where it is kept, what becomes of it, and who may take it away."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.store.partial import DifferentBytes, Partial
from depproxy.store.spool import Spool
from depproxy.store.tree import Tree
from tests.store.trees import open_tree

DATA = b"of a layer that comes in pieces"
LAYER = Digest.of(DATA)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return open_tree(tmp_path)


@pytest.fixture
def partial(tree: Tree) -> Iterator[Partial]:
    partial = tree.begin(LAYER)
    yield partial
    partial.close()


def names(tmp_path: Path) -> list[str]:
    """Of the files that are not blobs yet."""
    return [path.name for path in (tmp_path / "partial").iterdir()]


def test_what_another_process_writes_is_not_swept_away(partial: Partial, tmp_path: Path) -> None:
    open_tree(tmp_path).sweep()
    assert len(names(tmp_path)) == 1
    partial.write(0, memoryview(DATA))
    partial.hash_written()
    partial.publish()
    assert names(tmp_path) == []


def test_what_a_process_left_that_is_no_more_is_swept_away(
    partial: Partial, tmp_path: Path
) -> None:
    partial.close()
    assert len(names(tmp_path)) == 1
    open_tree(tmp_path).sweep()
    assert names(tmp_path) == []


def test_what_comes_again_is_compared_and_what_is_new_is_appended(partial: Partial) -> None:
    partial.write(0, memoryview(DATA[:20]))
    partial.write(0, memoryview(DATA[:10]))
    partial.write(10, memoryview(DATA[10:]))
    assert partial.read(0, 100) == DATA
    with pytest.raises(DifferentBytes):
        partial.write(5, memoryview(b"!"))
    assert partial.read(0, 100) == DATA


def test_no_gap_is_left(partial: Partial) -> None:
    with pytest.raises(StoreError, match="gap"):
        partial.write(1, memoryview(DATA))
    assert partial.written == 0


def test_only_what_was_hashed_to_its_end_is_right(partial: Partial) -> None:
    partial.write(0, memoryview(DATA[:-1]))
    partial.hash_written()
    assert not partial.is_right()
    partial.write(len(DATA) - 1, memoryview(DATA[-1:]))
    assert not partial.is_right()
    assert partial.hash_written() == len(DATA)
    assert partial.is_right()


def test_right_bytes_are_not_the_blob_where_another_size_was_told(partial: Partial) -> None:
    partial.reserve(len(DATA) + 1)
    partial.write(0, memoryview(DATA))
    partial.hash_written()
    assert not partial.is_right()


def test_what_was_discarded_can_be_read_by_who_has_it_open(
    partial: Partial, tmp_path: Path
) -> None:
    partial.write(0, memoryview(DATA))
    partial.discard()
    assert names(tmp_path) == []
    assert partial.read(0, 100) == DATA


def write_spool(tree: Tree) -> tuple[Spool, Callable[[], object]]:
    spool = tree.spool()
    return spool, lambda: spool.append(memoryview(DATA))


def write_partial(tree: Tree) -> tuple[Partial, Callable[[], object]]:
    partial = tree.begin(LAYER)
    return partial, lambda: partial.write(0, memoryview(DATA))


def closing_first(
    file: Spool | Partial, call: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    """The call, just before which another thread closes the file, and opens another one: that has
    the number then, if it is free."""
    other: list[int] = []

    def close_and_call(fd: int, *arguments: Any) -> Any:
        if not other:
            file.close()
            other.append(os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT))
        return call(fd, *arguments)

    return close_and_call


@pytest.mark.parametrize("begin", [write_spool, write_partial])
def test_what_is_closed_under_its_writer_is_written_nowhere_else(
    tree: Tree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[Tree], tuple[Spool | Partial, Callable[[], object]]],
) -> None:
    file, write = begin(tree)
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", closing_first(file, pwrite, tmp_path))
        write()
    assert (tmp_path / "other").read_bytes() == b""
    with pytest.raises(StoreError):
        write()


def test_what_is_closed_while_it_is_hashed_is_what_is_hashed(
    partial: Partial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").write_bytes(b"x" * len(DATA))
    partial.write(0, memoryview(DATA))
    monkeypatch.setattr(os, "preadv", closing_first(partial, os.preadv, tmp_path))
    partial.hash_written()
    assert partial.is_right()


def test_what_is_closed_while_it_is_published_is_what_is_sealed(
    tree: Tree, partial: Partial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server stops, and the disk is slow."""
    partial.write(0, memoryview(DATA))
    partial.hash_written()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", closing_first(partial, os.fsync, tmp_path))
        partial.publish()
    blob = tree.blobs.open(LAYER)
    assert blob
    assert blob.read(0, 100) == DATA
    blob.close()
