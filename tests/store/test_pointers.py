"""Pointers are written by whoever holds the lock of their folder, and looked at under it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, Descriptor
from depproxy.oci.names import ImageName
from depproxy.store.repository import Repository
from tests.store.trees import open_tree

ALPINE = Repository("docker.io", ImageName("library/alpine"))
KNOWN = Descriptor(Digest.of(b"{}"), OCI_INDEX, 2)


def test_what_is_taken_away_while_it_is_written_again_is_there_in_the_end(tmp_path: Path) -> None:
    """Who looks before he has the lock finds the pointer, and writes none."""
    tree = open_tree(tmp_path)
    tree.pointers.write_digest(ALPINE, KNOWN)
    file = tmp_path / ALPINE.path(KNOWN.digest, ".json")
    with ThreadPoolExecutor(1) as pool:
        with tree.pointers.locked(ALPINE):
            again = pool.submit(tree.pointers.write_digest, ALPINE, KNOWN)
            assert not again.done()
            file.unlink()
        again.result()
    assert tree.pointers.read_digest(ALPINE, KNOWN.digest) == KNOWN
    assert file.exists()


def test_a_pointer_that_is_known_is_not_written_again(tmp_path: Path) -> None:
    tree = open_tree(tmp_path)
    tree.pointers.write_digest(ALPINE, KNOWN)
    file = tmp_path / ALPINE.path(KNOWN.digest, ".json")
    before = file.stat().st_ino
    tree.pointers.write_digest(ALPINE, KNOWN)
    assert file.stat().st_ino == before
