"""Blobs on disk: what is served, what is hashed again, and what loses its name."""

import os
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName
from depproxy.store import blobs
from depproxy.store.blobs import SealBroken, blob_path
from depproxy.store.files import DIRECTORY
from depproxy.store.remembered import Bodies
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree

DATA = b"a blob" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(GroupName("acme"), os.open(tmp_path, DIRECTORY), SharedFiles(), Bodies())
    tree.store(DIGEST, DATA)
    return tree


@pytest.fixture
def file(tmp_path: Path, tree: Tree) -> Path:
    return tmp_path / blob_path(DIGEST)


def is_right(tree: Tree) -> bool:
    blob = tree.blobs.recheck(DIGEST)
    if blob is None:
        return False
    with blob:
        return blob.read(0, blob.size) == DATA


def test_a_stored_blob_is_sealed_and_opened(tree: Tree) -> None:
    blob = tree.blobs.open(DIGEST)
    assert blob
    with blob:
        assert blob.read(0, 10**6) == DATA


def test_a_touched_blob_is_hashed_once_and_sealed_again(tree: Tree, file: Path) -> None:
    os.utime(file)
    with pytest.raises(SealBroken):
        tree.blobs.open(DIGEST)
    assert is_right(tree)
    blob = tree.blobs.open(DIGEST)
    assert blob
    blob.close()


def test_where_no_seal_holds_a_right_blob_is_hashed_once_and_remembered(
    tree: Tree, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems that keep whole seconds only."""
    os.utime(file, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(blobs, "seal", lambda _: None)
    assert is_right(tree)
    blob = tree.blobs.open(DIGEST)
    assert blob
    blob.close()
    os.utime(file, (1_700_000_001, 1_700_000_001))
    with pytest.raises(SealBroken):
        tree.blobs.open(DIGEST)


def test_a_right_blob_that_cannot_be_sealed_keeps_its_name(
    tree: Tree, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only disk, or where the file is somebody else's."""

    def refuse(_: int) -> None:
        raise PermissionError

    os.utime(file)
    monkeypatch.setattr(blobs, "seal", refuse)
    assert is_right(tree)
    assert file.exists()


def test_a_wrong_blob_loses_its_name(tree: Tree, file: Path) -> None:
    file.write_bytes(b"something else")
    assert not is_right(tree)
    assert not file.exists()
    assert tree.blobs.open(DIGEST) is None


def test_a_right_blob_that_took_the_name_meanwhile_keeps_it(
    tree: Tree, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(b"something else")
    hash_file = blobs.hash_file

    def hash_and_be_overtaken(fd: int, digest: Digest) -> Digest:
        found = hash_file(fd, digest)
        tree.store(DIGEST, DATA)
        return found

    monkeypatch.setattr(blobs, "hash_file", hash_and_be_overtaken)
    assert not is_right(tree)
    assert file.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["folder", "link", "nothing"])
def test_what_is_no_file_is_no_blob(tree: Tree, file: Path, kind: str) -> None:
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to("/etc/passwd")
    assert tree.blobs.open(DIGEST) is None
    assert tree.blobs.recheck(DIGEST) is None
