"""The walk that counts a tree: it finds what is there, passes over what is not, and may stop."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MAX_MANIFEST, OCI_INDEX, Descriptor
from depproxy.oci.names import GroupName, ImageName, Tag
from depproxy.store.blobs import blob_path
from depproxy.store.files import DIRECTORY
from depproxy.store.holdings import Totals
from depproxy.store.inventory import Inventory, Selection, key_of
from depproxy.store.pointer_format import TagPointer
from depproxy.store.remembered import Bodies
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree
from tests.store.trees import open_tree, pull, store

APP = Repository("docker.io", ImageName("library/app"))
DEEP = Repository("quay.io", ImageName("a/very/deep/image"))
LATEST, OLD, GONE = Tag("latest"), Tag("1.0"), Tag("gone")
FILES = {"file": b"a layer that all images share"}
FIRST, SECOND, OTHER = (make_image(f"Image {number}.", FILES) for number in range(3))
BIG = Digest.of(b"of 512 bits", "sha512")
GO_ON = threading.Event()
TAGS = "manifests/docker.io/library/app/-/tags"
DIGESTS = "manifests/docker.io/library/app/-/digests/sha256"


def descriptor(image: Image) -> Descriptor:
    media_type, body = image.manifests[image.index]
    return Descriptor(image.index, media_type, len(body))


def pull_all(tree: Tree) -> None:
    pull(tree, APP, LATEST, FIRST)
    pull(tree, APP, None, SECOND)
    pull(tree, DEEP, OLD, OTHER)
    pull(tree, DEEP, GONE, FIRST)
    tree.pointers.update_tag(DEEP, GONE, lambda old: old and replace(old, gone=True))
    store(tree, BIG, b"of 512 bits")
    tree.flush()


def picture(tree: Tree) -> object:
    """All that can be asked of a tree's holdings."""

    references: list[Tag | Digest] = [LATEST, OLD, GONE, *FIRST.manifests, *SECOND.manifests]

    def look(inventory: Inventory) -> object:
        return {
            (repository, reference): (selection.tags, sorted(selection.digests))
            for repository in (APP, DEEP)
            for reference in references
            if (selection := inventory.selection(repository, reference))
        }

    holdings = tree.holdings
    manifests = [*FIRST.manifests, *SECOND.manifests, *OTHER.manifests]
    return (
        holdings.sizes(),
        holdings.totals(),
        sorted(holdings.roots(), key=str),
        set(holdings.orphans(holdings.sizes())),
        {
            digest: (holdings.reach(digest), set(holdings.links(key_of(digest))))
            for digest in manifests
        },
        holdings.ask(look),
    )


@pytest.fixture(scope="module", autouse=True)
def no_sync() -> Iterator[None]:
    """No power cut is tested here, and trees are made by the hundred."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A tree that was told of everything that is in it."""
    shared = SharedFiles()
    path = tmp_path_factory.mktemp("told")
    tree = Tree(GroupName("acme"), os.open(path, DIRECTORY), shared, Bodies(), is_new=True)
    pull_all(tree)
    return tree


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, told: Tree) -> Path:
    return tmp_path_factory.getbasetemp() / "told0"


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "tree"))


def clone(template: Path, path: Path) -> Path:
    """A copy by hard links, for those who write no file in place."""
    for folder, _, names in os.walk(template):
        copy = path / os.path.relpath(folder, template)
        copy.mkdir()
        for name in names:
            os.link(f"{folder}/{name}", copy / name)
    return path


def counted(path: Path) -> Tree:
    tree = open_tree(path)
    tree.survey(GO_ON)
    return tree


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


# -- what is passed over ---------------------------------------------------------------------

FOREIGN = Digest.of(b"a foreign file")
SOME = next(iter(FIRST.blobs))


def write(path: str, content: bytes = b"") -> Callable[[Path], None]:
    def act(tree: Path) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).unlink(missing_ok=True)
        (tree / path).write_bytes(content)

    return act


def make(path: str) -> Callable[[Path], None]:
    return lambda tree: (tree / path).mkdir(parents=True)


def link(path: str, target: str) -> Callable[[Path], None]:
    def act(tree: Path) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(tree / target)

    return act


POINTER = json.dumps(
    {"digest": FIRST.index, "media_type": OCI_INDEX, "size": len(FIRST.manifests[FIRST.index][1])}
).encode()


@pytest.mark.parametrize(
    "act",
    [
        write("README", b"moved by rsync"),
        write("blobs/README"),
        write("blobs/sha256/README"),
        write("blobs/sha256/ab/README"),
        write("blobs/sha256/ab/" + "ab" * 31),
        write("blobs/sha256/AB/" + "AB" * 32),
        write("blobs/sha512/ab/" + "ab" * 32),
        write("blobs/md5/ab/" + "ab" * 16),
        write(blob_path(FOREIGN) + ".tmp"),
        write(blob_path(FOREIGN) + "/deeper"),
        write(f"blobs/{FOREIGN.hex}"),
        write(f"blobs/sha256/{FOREIGN.hex}"),
        write(f"blobs/sha256/00/{FOREIGN.hex}"),
        write(f"blobs/sha256/{FOREIGN.hex[:2]}/deeper/{FOREIGN.hex}"),
        make(blob_path(FOREIGN)),
        link(blob_path(FOREIGN), blob_path(SOME)),
        link(blob_path(FOREIGN), "nowhere"),
        write("manifests/x.json", POINTER),
        write("manifests/docker.io/-/tags/x.json", POINTER),
        write("manifests/docker.io/library/app/tags/x.json", POINTER),
        write("manifests/docker.io/library/app/-/x.json", POINTER),
        write("manifests/docker.io/library/app/-/lists/x.json", POINTER),
        write(f"{TAGS}/deeper/x.json", POINTER),
        write(f"{TAGS}/.hidden.json", POINTER),
        write(f"{TAGS}/{'x' * 129}.json", POINTER),
        write(f"{TAGS}/no tag.json", POINTER),
        write(f"{TAGS}/x", POINTER),
        write(f"{TAGS}/x.json.tmp", POINTER),
        write(f"{TAGS}/x.json", b""),
        write(f"{TAGS}/x.json", b"{"),
        write(f"{TAGS}/x.json", b"[]"),
        write(f"{TAGS}/x.json", b"{}"),
        write(f"{TAGS}/x.json", b"\xff\xfe"),
        write(f"{TAGS}/x.json", b"[" * 4000),
        write(f"{TAGS}/x.json", POINTER + b" " * 4096),
        write(f"{TAGS}/x.json", POINTER.replace(b"sha256", b"md5")),
        write(f"{TAGS}/x.json", POINTER.replace(OCI_INDEX.encode(), b"text/html")),
        write(f"{TAGS}/x.json", b'{"announced": 5, "gone": "yes"}'),
        make(f"{TAGS}/x.json"),
        link(f"{TAGS}/x.json", f"{TAGS}/latest.json"),
        write(f"{DIGESTS}/{FOREIGN.hex}.json", POINTER),
        write(f"{DIGESTS}/x.json", POINTER),
        write(f"{DIGESTS}/{FIRST.index.hex}", POINTER),
        write(f"{TAGS}/latest.times", b"[" * 1000),
        write(f"{TAGS}/latest.times", b'{"pulled": "yesterday"}'),
        write("removed/README"),
        write("partial/sha256-x.0000"),
        make("partial/folder"),
    ],
    ids=count(),
)
def test_foreign_and_broken_files_are_passed_over(
    told: Tree, template: Path, tmp_path: Path, act: Callable[[Path], None]
) -> None:
    path = clone(template, tmp_path / "tree")
    act(path)
    assert picture(counted(path)) == picture(told)


@pytest.mark.parametrize("folder", ["blobs", "manifests", "removed", "partial"])
def test_a_file_in_a_folders_place_is_passed_over(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_text("")
    assert counted(tmp_path).holdings.totals() == Totals(0, 0, 0, exact=True)


def test_a_reference_whose_manifest_is_missing_leads_nowhere(path: Path) -> None:
    (path / blob_path(OTHER.index)).unlink()
    tree = counted(path)
    assert (DEEP, OLD) not in {(root.repository, root.reference) for root in tree.holdings.roots()}
    assert tree.holdings.reach(OTHER.index) == set()
    assert tree.holdings.is_exact


@pytest.mark.parametrize("content", [b"", b"{", b"x" * (MAX_MANIFEST + 1)])
def test_a_manifest_that_cannot_be_read_leads_nowhere(path: Path, content: bytes) -> None:
    (path / blob_path(OTHER.index)).write_bytes(content)
    tree = counted(path)
    assert tree.holdings.reach(OTHER.index) == {key_of(OTHER.index)}
    assert tree.holdings.size(key_of(OTHER.index)) == len(content)


# -- stopping, and what happens meanwhile ----------------------------------------------------


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


def test_one_image_is_known_before_the_whole_is_counted(told: Tree, path: Path) -> None:
    for reference in (LATEST, SECOND.index):
        tree, known = open_tree(path), told.selection(APP, reference)
        selection = tree.selection(APP, reference)
        assert (selection.tags, set(selection.digests)) == (known.tags, set(known.digests))
        assert not tree.holdings.is_exact
    assert open_tree(path).selection(APP, None) == Selection(APP, is_whole=True)


# -- hard links ------------------------------------------------------------------------------


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
