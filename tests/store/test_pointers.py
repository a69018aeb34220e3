"""Pointers are written by whoever holds the lock of their folder, and looked at under it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.pointer_format import TagPointer
from depproxy.store.repository import Repository
from tests.store.trees import open_tree

ALPINE = Repository("docker.io", ImageName("library/alpine"))
KNOWN, NEWER = (Descriptor(Digest.of(body), OCI_INDEX, len(body)) for body in (b"{}", b"{ }"))
LATEST = Tag("latest")


def test_a_pointer_that_another_process_has_written_meanwhile_is_not_replaced(
    tmp_path: Path,
) -> None:
    tree, other = open_tree(tmp_path), open_tree(tmp_path)
    assert other.pointers.swap_tag(ALPINE, LATEST, None, TagPointer(current=KNOWN))
    assert not tree.pointers.swap_tag(ALPINE, LATEST, None, TagPointer(current=NEWER))
    assert other.pointers.read_tag(ALPINE, LATEST) == TagPointer(current=KNOWN)


def test_a_change_is_made_to_what_the_pointer_has_become_meanwhile(tmp_path: Path) -> None:
    tree, other = open_tree(tmp_path), open_tree(tmp_path)
    seen: list[TagPointer | None] = []

    def change(pointer: TagPointer | None) -> TagPointer:
        if not seen:
            other.pointers.swap_tag(ALPINE, LATEST, None, TagPointer(current=KNOWN))
        seen.append(pointer)
        return TagPointer(pointer.current if pointer else None, NEWER)

    tree.pointers.update_tag(ALPINE, LATEST, change)
    assert seen == [None, TagPointer(current=KNOWN)]
    assert other.pointers.read_tag(ALPINE, LATEST) == TagPointer(KNOWN, NEWER)


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
