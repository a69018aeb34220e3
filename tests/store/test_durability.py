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


WRITES: dict[str, Callable[[Tree], None]] = {
    blob_path(LAYER): lambda tree: tree.store(LAYER, DATA),
    ALPINE.path(Tag("latest"), ".json"): point,
    ALPINE.path(LAYER, ".json"): lambda tree: tree.pointers.write_digest(ALPINE, KNOWN),
    f"{ALPINE.folder}/lists": lambda tree: tree.lists.write(ALPINE, KeptList("q", 1.0, "{}")),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    WRITES[name](open_tree(tmp_path))
    ((file, before),) = named
    folder = tmp_path / name if (tmp_path / name).is_dir() else (tmp_path / name).parent
    assert file in before
    assert folder.stat().st_ino in synced
