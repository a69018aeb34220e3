"""The walk that counts a tree finds what is there."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.store.blobs import blob_path
from depproxy.store.holdings import Totals
from depproxy.store.inventory import Selection, key_of
from depproxy.store.pointer_format import TagPointer
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree
from tests.store.survey.two_images import (
    APP,
    BIG,
    DEEP,
    DIGESTS,
    FIRST,
    GO_ON,
    GONE,
    LATEST,
    OLD,
    OTHER,
    SECOND,
    TAGS,
    counted,
    descriptor,
    picture,
)
from tests.store.trees import open_tree


def test_a_count_finds_what_was_stored(told: Tree, path: Path) -> None:
    tree = open_tree(path)
    assert tree.holdings.totals() == Totals(0, 0, 0, exact=False)
    tree.survey(GO_ON)
    assert picture(tree) == picture(told)
    tree.survey(GO_ON)
    assert picture(tree) == picture(told)


def test_a_count_finds_when_references_came_and_whether_they_are_gone(path: Path) -> None:
    os.utime(path / TAGS / "latest.json", (5000, 5000))
    roots = {(root.repository, root.reference): root for root in counted(path).holdings.roots()}
    assert set(roots) == {(APP, LATEST), (APP, SECOND.index), (DEEP, OLD), (DEEP, GONE)}
    assert roots[APP, LATEST].cached == 5000
    assert roots[APP, LATEST].descriptor == descriptor(FIRST)
    assert [name for (_, name), root in roots.items() if root.is_gone] == [GONE]


def test_an_empty_tree_is_counted_to_nothing(tmp_path: Path) -> None:
    assert counted(tmp_path).holdings.totals() == Totals(0, 0, 0, exact=True)
    assert list(tmp_path.iterdir()) == []


def test_a_tag_that_is_only_announced_has_nothing_yet(told: Tree, path: Path) -> None:
    tree = open_tree(path)
    announced = replace(descriptor(OTHER), digest=Digest.of(b"not fetched yet"))
    tree.pointers.swap_tag(APP, OLD, None, TagPointer(announced=announced))
    tree.survey(GO_ON)
    assert set(tree.holdings.roots()) == set(told.holdings.roots())
    assert tree.holdings.totals() == told.holdings.totals()


def test_a_manifest_that_no_reference_names_is_read_where_an_index_leads_to_it(
    told: Tree, path: Path
) -> None:
    """Its digest may have gone with a tag, while an older index still leads there."""
    for file in (path / "manifests").rglob("*.json"):
        if file.stem in {digest.hex for digest in SECOND.manifests if digest != SECOND.index}:
            file.unlink()
    tree = counted(path)
    assert tree.holdings.reach(SECOND.index) == told.holdings.reach(SECOND.index)
    assert tree.holdings.totals() == told.holdings.totals()
    assert list(tree.holdings.orphans(tree.holdings.sizes())) == [key_of(BIG)]
    before = len(tree.holdings.sizes())
    tree.remover.finish(
        tree.remover.begin([tree.selection(APP, SECOND.index)]), lambda _: False, GO_ON
    )
    own = {*SECOND.manifests, *SECOND.blobs} - {*FIRST.blobs}
    assert before - len(tree.holdings.sizes()) == len(own)


def test_a_manifest_that_only_a_tag_names_is_counted_as_one(told: Tree, path: Path) -> None:
    """Its digest may have been purged alone."""
    (path / DIGESTS / f"{FIRST.index.hex}.json").unlink()
    for file in (path / "manifests/quay.io").rglob(f"{FIRST.index.hex}.json"):
        file.unlink()
    assert counted(path).holdings.totals() == told.holdings.totals()


def test_one_image_is_known_before_the_whole_is_counted(told: Tree, path: Path) -> None:
    for reference in (LATEST, SECOND.index):
        tree, known = open_tree(path), told.selection(APP, reference)
        selection = tree.selection(APP, reference)
        assert (selection.tags, set(selection.digests)) == (known.tags, set(known.digests))
        assert not tree.holdings.is_exact
    assert open_tree(path).selection(APP, None) == Selection(APP, is_whole=True)


# -- hard links ----------------------------------------------------------------------------------


def test_files_with_several_names_are_seen_as_shared(told: Tree, path: Path) -> None:
    shared = SharedFiles()
    other = path.parent / "other"
    shutil.copytree(path, other, copy_function=os.link)
    trees = [open_tree(path, shared), open_tree(other, shared)]
    for tree in trees:
        tree.survey(GO_ON)
    whole = told.holdings.totals()
    assert [tree.holdings.totals().size for tree in trees] == [0, 0]
    assert [tree.holdings.shared_size() for tree in trees] == [whole.size, whole.size]
    assert [tree.holdings.totals().blobs for tree in trees] == [whole.blobs, whole.blobs]


def test_a_name_that_is_no_groups_shares_nothing(told: Tree, path: Path) -> None:
    """As a backup made of hard links."""
    shutil.copytree(path, path.parent / "backup", copy_function=os.link)
    assert picture(counted(path)) == picture(told)


def test_every_blob_file_is_told_with_its_path(path: Path) -> None:
    tree = open_tree(path)
    files = {file.digest: file for file in tree.blob_files()}
    assert BIG in files
    assert set(files) >= {*FIRST.manifests, *FIRST.blobs}
    for digest, file in files.items():
        status = (path / file.path).stat()
        assert (file.size, file.inode, file.links) == (status.st_size, status.st_ino, 1)
        assert file.path == blob_path(digest)
    for digest in contents_of(FIRST.manifests[FIRST.index][1]).digests:
        assert files[digest].size == len(FIRST.manifests[digest][1])
