"""A tree of four images that share a layer, and what is left of it on disk."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from depproxy.demo.image import Image, make_image
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.names import ImageName, Tag
from depproxy.store.graph import Key
from depproxy.store.inventory import Selection
from depproxy.store.lists import KeptList
from depproxy.store.removal import REMOVED
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.trees import open_tree, pull

APP = Repository("docker.io", ImageName("library/app"))
BASE = Repository("quay.io", ImageName("a/base"))
ONE, TWO, LATEST = Tag("one"), Tag("2"), Tag("latest")
FILES = {"file": b"a layer that all images share"}
FIRST, SECOND, THIRD, LOOSE = (make_image(f"Image {number}.", FILES) for number in range(4))
GO_ON = threading.Event()


def nobody(_: Key) -> bool:
    return False


def pull_all(tree: Tree) -> None:
    """Two tags and a digest of one image, and one of another."""
    pull(tree, APP, ONE, FIRST)
    pull(tree, APP, TWO, SECOND)
    pull(tree, APP, None, LOOSE)
    pull(tree, BASE, LATEST, THIRD)
    tree.lists.write(APP, KeptList("tags", 1000, "{}"))
    tree.flush()


def remove(tree: Tree, *selections: Selection) -> int:
    """Returns the bytes of what went."""
    return tree.remover.finish(tree.remover.begin(selections), nobody, GO_ON)


def remove_blobs(tree: Tree, keys: list[Key], is_protected: Callable[[Key], bool]) -> int:
    """As housekeeping does with what no reference leads to; returns the bytes of what went."""
    removal = tree.remover.begin(())
    removal.unused += keys
    return tree.remover.finish(removal, is_protected, GO_ON)


def remove_image(tree: Tree) -> None:
    remove(tree, tree.selection(APP, None))


def blobs(path: Path) -> set[Digest]:
    """What is on disk."""
    files = (path / "blobs").rglob("*")
    return {Digest(f"sha256:{file.name}") for file in files if file.is_file()}


def reachable(path: Path) -> set[Digest]:
    """What the pointers on disk lead to, by the bodies on disk, and everything it names."""
    ways = [
        Digest(digest)
        for file in (path / "manifests").rglob("*.json")
        if (digest := json.loads(file.read_text()).get("digest"))
    ]
    found: set[Digest] = set()
    while ways:
        digest = ways.pop()
        if digest not in found:
            found.add(digest)
            file = path / "blobs/sha256" / digest.hex[:2] / digest.hex
            ways += contents_of(file.read_bytes()).digests if file.exists() else ()
    return found


def left_over(path: Path) -> list[Path]:
    """What is still on its way out."""
    return list((path / REMOVED).iterdir()) if (path / REMOVED).exists() else []


def everything(*images: Image) -> set[Digest]:
    return {digest for image in images for digest in (*image.manifests, *image.blobs)}


def counted(path: Path) -> Tree:
    tree = open_tree(path)
    tree.count(GO_ON)
    return tree


def bodies(image: Image) -> dict[Digest, bytes]:
    return {**image.blobs, **{digest: body for digest, (_, body) in image.manifests.items()}}
