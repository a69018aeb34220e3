"""A tree with tags and digests of two images, and all that can be asked of it."""

import threading
from dataclasses import replace
from pathlib import Path

from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.inventory import Inventory, key_of
from depproxy.store.repository import Repository
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


def counted(path: Path) -> Tree:
    tree = open_tree(path)
    tree.survey(GO_ON)
    return tree


FOREIGN = Digest.of(b"a foreign file")
