"""Files that a count passes over, since nobody could pull by them."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from depproxy.oci.manifest import MAX_MANIFEST, OCI_INDEX
from depproxy.store.blobs import blob_path
from depproxy.store.holdings import Totals
from depproxy.store.inventory import key_of
from depproxy.store.tree import Tree
from tests.store.survey.two_images import (
    DEEP,
    DIGESTS,
    FIRST,
    FOREIGN,
    OLD,
    OTHER,
    TAGS,
    counted,
    picture,
)
from tests.store.trees import clone

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
