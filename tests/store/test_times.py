"""When references were checked and pulled: kept beside their pointers, written in batches."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST, Descriptor
from depproxy.oci.names import GroupName, ImageName, Tag
from depproxy.store.files import DIRECTORY
from depproxy.store.inventory import Selection, key_of
from depproxy.store.pointer_format import TagPointer
from depproxy.store.remembered import Bodies
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree

ALPINE = Repository("docker.io", ImageName("library/alpine"))
BUSYBOX = Repository("docker.io", ImageName("library/busybox"))
LATEST, OLD = Tag("latest"), Tag("3.19")
MANIFEST = Descriptor(Digest.of(b"manifest"), OCI_MANIFEST, 8)
DIGEST, KEY = MANIFEST.digest, key_of(MANIFEST.digest)


def open_tree(path: Path) -> Tree:
    """As another process, or the same one after a restart, sees it."""
    return Tree(GroupName("acme"), os.open(path, DIRECTORY), SharedFiles(), Bodies())


def point(tree: Tree, repository: Repository) -> None:
    tree.pointers.write_digest(repository, MANIFEST)
    for tag in (LATEST, OLD):
        tree.pointers.swap_tag(repository, tag, None, TagPointer(current=MANIFEST))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = open_tree(tmp_path)
    for repository in (ALPINE, BUSYBOX):
        point(tree, repository)
    return tree


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The times of ``latest``."""
    return tmp_path / ALPINE.path(LATEST, ".times")


def test_times_lie_beside_pointers_as_json(tree: Tree, tmp_path: Path) -> None:
    tree.times.confirm(ALPINE, LATEST, 1000.1234)
    tree.times.pull(ALPINE, LATEST, DIGEST, 2000)
    tree.flush()
    folder = tmp_path / "manifests/docker.io/library/alpine/-"
    assert (folder / "tags/latest.json").exists()
    assert json.loads((folder / "tags/latest.times").read_text()) == {
        "checked": 1000.123,
        "pulled": 2000,
    }
    assert json.loads((folder / f"digests/sha256/{DIGEST.hex}.times").read_text()) == {
        "pulled": 2000
    }
    assert len(list(tmp_path.rglob("*.times"))) == 2


def test_what_was_flushed_is_known_after_a_restart(tree: Tree, tmp_path: Path) -> None:
    tree.times.confirm(ALPINE, LATEST, 1000)
    tree.times.pull(ALPINE, LATEST, DIGEST, 2000)
    assert open_tree(tmp_path).times.pulled(ALPINE, LATEST) is None
    tree.flush()
    times = open_tree(tmp_path).times
    assert times.checked(ALPINE, LATEST) == 1000
    assert times.pulled(ALPINE, LATEST) == 2000
    assert times.pulled(ALPINE, DIGEST) == 2000


def test_one_time_that_changes_leaves_the_other(tree: Tree, tmp_path: Path) -> None:
    tree.times.confirm(ALPINE, LATEST, 1000)
    tree.times.pull(ALPINE, LATEST, DIGEST, 2000)
    tree.flush()
    again = open_tree(tmp_path)
    again.times.pull(ALPINE, LATEST, DIGEST, 3000)
    again.flush()
    again = open_tree(tmp_path)
    assert (again.times.checked(ALPINE, LATEST), again.times.pulled(ALPINE, LATEST)) == (1000, 3000)
    again.times.confirm(ALPINE, LATEST, 4000)
    again.flush()
    times = open_tree(tmp_path).times
    assert (times.checked(ALPINE, LATEST), times.pulled(ALPINE, LATEST)) == (4000, 3000)


def test_every_tag_of_every_image_has_its_own_times(tree: Tree) -> None:
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    assert tree.times.pulled(ALPINE, OLD) is None
    assert tree.times.pulled(BUSYBOX, LATEST) is None
    assert tree.times.pulled(BUSYBOX, DIGEST) is None


def test_a_tag_that_nobody_confirmed_was_checked_when_its_pointer_was_written(
    tree: Tree, tmp_path: Path
) -> None:
    os.utime(tmp_path / "manifests/docker.io/library/alpine/-/tags/latest.json", (900, 900))
    assert tree.times.checked(ALPINE, LATEST) == 900
    tree.times.pull(ALPINE, LATEST, DIGEST, 5000)
    assert tree.times.checked(ALPINE, LATEST) == 900
    assert tree.times.checked(ALPINE, Tag("never")) is None


def test_a_manifest_is_handed_out_by_whatever_reference(tree: Tree) -> None:
    assert tree.times.handed_out(KEY) is None
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    assert tree.times.handed_out(KEY) == 1000
    tree.times.pull(BUSYBOX, DIGEST, DIGEST, 2000)
    assert tree.times.handed_out(KEY) == 2000


@pytest.mark.parametrize(("alpine", "busybox"), [(2000, 1000), (1000, 2000)])
def test_when_a_manifest_was_handed_out_is_known_after_a_count(
    tree: Tree, tmp_path: Path, alpine: float, busybox: float
) -> None:
    """The latest of all images counts, in whichever order they are read."""
    tree.times.pull(ALPINE, LATEST, DIGEST, alpine)
    tree.times.pull(BUSYBOX, LATEST, DIGEST, busybox)
    tree.flush()
    again = open_tree(tmp_path)
    assert again.times.handed_out(KEY) is None
    again.count(threading.Event())
    assert again.times.handed_out(KEY) == 2000
    again.times.pull(ALPINE, LATEST, DIGEST, 3000)
    again.count(threading.Event())
    assert again.times.handed_out(KEY) == 3000


def test_nothing_is_written_twice(tree: Tree, file: Path) -> None:
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.flush()
    file.unlink()
    tree.flush()
    assert not file.exists()


def test_a_reference_that_has_gone_is_forgotten(tree: Tree, file: Path) -> None:
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.times.forget(ALPINE, LATEST)
    tree.flush()
    assert not file.exists()
    assert tree.times.pulled(ALPINE, LATEST) is None
    assert tree.times.pulled(ALPINE, DIGEST) == 1000


def test_an_image_that_has_gone_is_forgotten_with_all_references(
    tree: Tree, tmp_path: Path
) -> None:
    for repository in (ALPINE, BUSYBOX):
        tree.times.pull(repository, LATEST, DIGEST, 1000)
    tree.times.forget(ALPINE)
    tree.flush()
    assert {path.parts[-4] for path in tmp_path.rglob("*.times")} == {"busybox", "-"}
    assert not list((tmp_path / "manifests/docker.io/library/alpine").rglob("*.times"))
    assert tree.times.pulled(BUSYBOX, LATEST) == 1000


def test_a_reference_that_is_removed_takes_its_times_along(tree: Tree, file: Path) -> None:
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.flush()
    assert file.exists()
    tree.remover.begin([Selection(ALPINE, tags=[LATEST])])
    assert not file.exists()
    point_again = TagPointer(current=MANIFEST)
    tree.pointers.swap_tag(ALPINE, LATEST, None, point_again)
    assert tree.times.pulled(ALPINE, LATEST) is None


def test_without_a_pointer_there_is_nothing_to_remember(tree: Tree, tmp_path: Path) -> None:
    """The image may have been purged by another process: no folder is made for it anew."""
    ghost = Repository("quay.io", ImageName("ghost"))
    tree.times.pull(ghost, LATEST, DIGEST, 1000)
    tree.flush()
    assert not (tmp_path / ghost.folder).exists()
    assert list((tmp_path / "partial").iterdir()) == []


def test_times_are_written_though_the_folder_of_partial_files_is_missing(
    tree: Tree, tmp_path: Path, file: Path
) -> None:
    """As in a tree that was copied without its empty folders."""
    (tmp_path / "partial").rmdir()
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.flush()
    assert file.exists()


def test_what_cannot_be_written_stays_for_the_next_time(tree: Tree, file: Path) -> None:
    file.mkdir()
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.flush()
    assert tree.times.pulled(ALPINE, LATEST) == 1000
    file.rmdir()
    tree.flush()
    assert json.loads(file.read_text()) == {"pulled": 1000}


def test_one_that_cannot_be_written_keeps_no_other_from_it(tree: Tree, file: Path) -> None:
    file.mkdir()
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.times.pull(BUSYBOX, LATEST, DIGEST, 1000)
    tree.flush()
    assert len([path for path in file.parents[5].rglob("*.times") if path.is_file()]) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"checked"',
        b"\xff\xfe",
        b"{}",
        b'{"checked": null, "pulled": "yesterday"}',
        b'{"checked": true, "pulled": [1]}',
        b'{"pulled": 1}' + b" " * 2000,
        b"[" * 1024,
        b'{"pulled": ' + b"9" * 1000 + b', "checked": ' + b"9" * 10 + b"9.}",
        b'{"pulled": ' + b"9" * 1000 + b"}",
    ],
    ids=lambda content: content[:16].decode("latin-1"),
)
def test_times_that_cannot_be_read_are_not_known(tree: Tree, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    os.utime(file.with_suffix(".json"), (900, 900))
    assert tree.times.pulled(ALPINE, LATEST) is None
    assert tree.times.checked(ALPINE, LATEST) == 900
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.flush()
    assert json.loads(file.read_text()) == {"pulled": 1000}


def test_times_that_are_no_file_are_not_known(tree: Tree, file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"pulled": 1}')
    file.symlink_to(tmp_path / "elsewhere")
    assert tree.times.pulled(ALPINE, LATEST) is None


def test_what_was_handed_out_lately_is_known(tree: Tree) -> None:
    other = Digest.of(b"other")
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    tree.times.pull(ALPINE, OLD, other, 2000)
    assert set(tree.times.handed_out_since(1000)) == {KEY, key_of(other)}
    assert tree.times.handed_out_since(1001) == [key_of(other)]
    assert tree.times.handed_out_since(2001) == []


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_a_pull_and_a_check_at_once_are_both_kept(tree: Tree) -> None:
    """Also where both begin with what the other is about to change."""

    def confirm() -> None:
        for when in range(1, 4000):
            tree.times.confirm(ALPINE, LATEST, when)
            assert tree.times.checked(ALPINE, LATEST) == when

    def pull() -> None:
        for when in range(1, 4000):
            tree.times.pull(ALPINE, LATEST, DIGEST, when)
            assert tree.times.pulled(ALPINE, LATEST) == when

    with ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(confirm), pool.submit(pull)]:
            work.result()


def test_a_pull_during_a_flush_is_written_by_the_next_one(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.times.pull(ALPINE, LATEST, DIGEST, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: tree.times.pull(ALPINE, LATEST, DIGEST, 2000))
        tree.times.flush()
    tree.times.flush()
    assert open_tree(tmp_path).times.pulled(ALPINE, LATEST) == 2000


@pytest.mark.usefixtures("hasty_threads")
def test_flushing_beside_pulls_loses_none(tree: Tree, tmp_path: Path) -> None:
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            tree.times.flush()

    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(flush)
        for when in range(200):
            tree.times.pull(ALPINE, LATEST, DIGEST, when)
        done.set()
        flushing.result()
    tree.flush()
    assert open_tree(tmp_path).times.pulled(ALPINE, LATEST) == 199
