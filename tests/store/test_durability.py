"""What has a name outlives a power cut: its bytes are synced before, and its folder after."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.blobs import blob_path
from depproxy.store.lists import KeptList
from depproxy.store.pointer_format import TagPointer
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.trees import open_tree

ALPINE = Repository("docker.io", ImageName("library/alpine"))
DATA = b"of a layer"
LAYER = Digest.of(DATA)
KNOWN = Descriptor(LAYER, OCI_INDEX, len(DATA))


def point(tree: Tree) -> None:
    tree.pointers.update_tag(ALPINE, Tag("latest"), lambda _: TagPointer(current=KNOWN))


WRITES: dict[str, tuple[str, Callable[[Tree], None]]] = {
    "blob": (blob_path(LAYER), lambda tree: tree.store(LAYER, DATA)),
    "tag": (ALPINE.path(Tag("latest"), ".json"), point),
    "digest": (
        ALPINE.path(LAYER, ".json"),
        lambda tree: tree.pointers.write_digest(ALPINE, KNOWN),
    ),
    "list": (
        f"{ALPINE.folder}/lists/",
        lambda tree: tree.lists.write(ALPINE, KeptList("q", 1.0, "{}")),
    ),
}
"""What is written → where its name begins, and how it comes to be."""


@pytest.mark.parametrize("what", WRITES)
def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, write = WRITES[what]
    fsync, rename = os.fsync, os.rename
    synced: list[int] = []
    named: list[tuple[int, list[int]]] = []

    def noted_fsync(fd: int, /) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    def noted_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if target.startswith(name):
            named.append((os.stat(source, dir_fd=src_dir_fd).st_ino, synced.copy()))
            synced.clear()
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    write(open_tree(tmp_path))
    ((file, before),) = named
    assert file in before
    assert (tmp_path / os.path.dirname(name)).stat().st_ino in synced
