"""One file for two groups: hard links between trees, what they count, and when there is none."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST, Descriptor
from depproxy.oci.names import GroupName, ImageName, Tag
from depproxy.store.blobs import blob_path
from depproxy.store.data_dir import DataDir, look_into_data_dir, open_data_dir
from depproxy.store.files import Directory
from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Reference, key_of
from depproxy.store.pointer_format import TagPointer
from depproxy.store.repository import Repository
from depproxy.store.survey import walk_references
from depproxy.store.tree import Tree

LENDER, BORROWER = GroupName("lender"), GroupName("borrower/of/much")
DATA = b"a layer" * 100
DIGEST = Digest.of(DATA)
ALPINE = Repository("docker.io", ImageName("library/alpine"))
LATEST = Tag("latest")
GO_ON = threading.Event()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    data = open_data_dir(tmp_path)
    yield data
    data.close()


def store(tree: Tree, data: bytes) -> Digest:
    digest = Digest.of(data)
    tree.store(digest, data)
    tree.holdings.add_blob(digest, len(data))
    return digest


@pytest.fixture
def lender(data: DataDir) -> Tree:
    tree = data.tree(LENDER)
    store(tree, DATA)
    return tree


@pytest.fixture
def borrower(data: DataDir) -> Tree:
    return data.tree(BORROWER)


@pytest.fixture
def linked(lender: Tree, borrower: Tree) -> Tree:
    """The borrower, when it has borrowed."""
    assert borrower.link(DIGEST, lender)
    return borrower


def file(tmp_path: Path, group: GroupName) -> Path:
    return tmp_path / "groups" / group / "-" / blob_path(DIGEST)


def is_served(tree: Tree) -> bool:
    blob = tree.blobs.open(DIGEST)
    if blob is None:
        return False
    with blob:
        return blob.read(0, blob.size) == DATA


def sizes(*trees: Tree) -> list[int]:
    return [tree.holdings.totals().size for tree in trees]


def test_a_lender_that_lets_go_at_once_lends_nothing(
    lender: Tree, borrower: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is made, and not yet noted."""
    add = Holdings.add_blob

    def add_and_remove(self: Holdings, digest: Digest, size: int) -> None:
        add(self, digest, size)
        lender.remove_blob(digest)

    with monkeypatch.context() as patch:
        patch.setattr(Holdings, "add_blob", add_and_remove)
        assert borrower.link(DIGEST, lender)
    assert (lender.holdings.totals().size, borrower.holdings.totals().size) == (0, len(DATA))


def test_a_lender_that_is_being_counted_lends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count has found the blob with one name, and has not ended."""
    before = open_data_dir(tmp_path)
    store(before.tree(LENDER), DATA)
    before.close()
    again = open_data_dir(tmp_path)
    lender, borrower = again.tree(LENDER), again.tree(BORROWER)
    assert not lender.holdings.is_exact

    def link_first(tree: Directory) -> Iterator[Reference]:
        assert borrower.link(DIGEST, lender)
        return walk_references(tree)

    with monkeypatch.context() as patch:
        patch.setattr("depproxy.store.survey.walk_references", link_first)
        lender.count(GO_ON)
    assert (lender.holdings.totals().size, borrower.holdings.totals().size) == (0, 0)
    again.close()


def test_a_linked_blob_is_one_file_with_two_names(
    lender: Tree, linked: Tree, tmp_path: Path
) -> None:
    assert file(tmp_path, LENDER).samefile(file(tmp_path, BORROWER))
    assert file(tmp_path, LENDER).stat().st_nlink == 2
    assert is_served(lender)
    assert is_served(linked)


def test_both_have_the_blob_and_neither_counts_its_bytes(lender: Tree, linked: Tree) -> None:
    """Neither would give space back alone."""
    assert [tree.holdings.totals().blobs for tree in (lender, linked)] == [1, 1]
    assert sizes(lender, linked) == [0, 0]
    assert linked.holdings.size(key_of(DIGEST)) == len(DATA)


def test_counting_anew_counts_the_same(lender: Tree, linked: Tree) -> None:
    for tree in (lender, linked):
        tree.survey(GO_ON)
    assert sizes(lender, linked) == [0, 0]


def test_links_are_known_again_after_a_restart(linked: Tree, tmp_path: Path) -> None:
    assert linked.is_there
    again = look_into_data_dir(tmp_path)
    trees = [again.tree(LENDER), again.tree(BORROWER)]
    for tree in trees:
        tree.survey(GO_ON)
    assert sizes(*trees) == [0, 0]
    trees[1].remove_blob(DIGEST)
    assert sizes(*trees) == [len(DATA), 0]
    again.close()


@pytest.mark.parametrize("leaver", [LENDER, BORROWER])
def test_a_purge_of_one_group_leaves_the_other_its_file(
    data: DataDir, lender: Tree, linked: Tree, tmp_path: Path, leaver: GroupName
) -> None:
    stayer = lender if leaver == BORROWER else linked
    purged = data.purge(leaver)
    assert purged
    assert purged.holdings.totals().size == 0
    purged.release()
    data.empty_trash(GO_ON)
    assert is_served(stayer)
    assert sizes(stayer) == [len(DATA)]
    assert file(tmp_path, stayer.group).stat().st_nlink == 1
    stayer.survey(GO_ON)
    assert sizes(stayer) == [len(DATA)]


def test_a_purge_by_another_process_gives_the_bytes_to_who_stays(
    data: DataDir, lender: Tree, linked: Tree, tmp_path: Path
) -> None:
    """As `depproxy purge GROUP` beside the server."""
    command = look_into_data_dir(tmp_path)
    assert command.purge(BORROWER)
    command.empty_trash(GO_ON)
    command.close()
    assert data.tree(BORROWER) is not linked
    lender.survey(GO_ON)
    assert sizes(lender) == [len(DATA)]


def test_a_removed_image_frees_what_no_other_group_holds(lender: Tree, linked: Tree) -> None:
    config = store(linked, b"a config")
    body = f'{{"config": {{"digest": "{config}"}}, "layers": [{{"digest": "{DIGEST}"}}]}}'.encode()
    manifest = Descriptor(store(linked, body), OCI_MANIFEST, len(body))
    linked.holdings.learn(manifest.digest, body)
    linked.pointers.write_digest(ALPINE, manifest)
    linked.pointers.swap_tag(ALPINE, LATEST, None, TagPointer(current=manifest))
    removal = linked.remover.begin([linked.selection(ALPINE, LATEST)])
    assert removal.totals.blobs == 2
    assert removal.totals.size == len(body) + len(b"a config")
    linked.remover.finish(removal, lambda _: False, GO_ON)
    assert not is_served(linked)
    assert is_served(lender)
    assert sizes(lender, linked) == [len(DATA), 0]


def test_linking_again_changes_nothing(lender: Tree, linked: Tree, tmp_path: Path) -> None:
    assert linked.link(DIGEST, lender)
    assert file(tmp_path, LENDER).stat().st_nlink == 2
    linked.remove_blob(DIGEST)
    assert sizes(lender, linked) == [len(DATA), 0]


def test_three_groups_may_share_one_file(data: DataDir, lender: Tree, linked: Tree) -> None:
    third = data.tree(GroupName("third"))
    assert third.link(DIGEST, linked)
    lender.remove_blob(DIGEST)
    assert sizes(lender, linked, third) == [0, 0, 0]
    linked.remove_blob(DIGEST)
    assert sizes(lender, linked, third) == [0, 0, len(DATA)]


def test_a_blob_that_is_not_there_is_not_linked(lender: Tree, borrower: Tree) -> None:
    assert not borrower.link(Digest.of(b"never"), lender)
    assert borrower.holdings.totals().blobs == 0


@pytest.mark.parametrize("content", [b"something else", DATA + b"!", b""])
def test_an_altered_blob_is_not_linked(
    lender: Tree, borrower: Tree, tmp_path: Path, content: bytes
) -> None:
    file(tmp_path, LENDER).write_bytes(content)
    assert not borrower.link(DIGEST, lender)
    assert not file(tmp_path, BORROWER).exists()
    assert borrower.holdings.totals().blobs == 0
    assert sizes(lender) == [len(DATA)]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOSPC])
def test_where_no_link_can_be_made_there_is_none(
    lender: Tree, borrower: Tree, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Another file system, too many links, a file system without links, a full disk."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    assert not borrower.link(DIGEST, lender)
    assert borrower.holdings.totals().blobs == 0
    assert sizes(lender) == [len(DATA)]


@pytest.mark.parametrize("link_first", [True, False])
def test_a_link_into_a_tree_that_is_purged_meanwhile_is_held_by_nobody(
    data: DataDir, lender: Tree, borrower: Tree, tmp_path: Path, link_first: bool
) -> None:
    """A pull that began before the purge ends in the tree it began in."""
    purged = data.purge(BORROWER)
    assert purged is borrower
    if link_first:
        borrower.link(DIGEST, lender)
    borrower.release()
    if not link_first:
        borrower.link(DIGEST, lender)
    data.empty_trash(GO_ON)
    assert not file(tmp_path, BORROWER).exists()
    assert sizes(lender) == [len(DATA)]
    assert not borrower.link(DIGEST, lender)


def test_a_fill_that_was_quicker_keeps_its_own_file(
    lender: Tree, borrower: Tree, tmp_path: Path
) -> None:
    """Then there are two files, and each group counts its own."""
    store(borrower, DATA)
    borrower.link(DIGEST, lender)
    assert not file(tmp_path, LENDER).samefile(file(tmp_path, BORROWER))
    assert is_served(borrower)
    assert sizes(lender, borrower) == [len(DATA), len(DATA)]


def test_a_blob_that_goes_while_it_is_linked_is_no_error(
    lender: Tree, borrower: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove it as soon as it has its name."""
    link = os.link

    def link_and_lose(
        source: str, target: str, *, src_dir_fd: int | None, dst_dir_fd: int | None
    ) -> None:
        link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        file(tmp_path, BORROWER).unlink()

    monkeypatch.setattr(os, "link", link_and_lose)
    assert not borrower.link(DIGEST, lender)
    assert sizes(lender) == [len(DATA)]
