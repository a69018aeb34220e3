"""Trees on disk as tests of the store make them: opened anew, and filled as pulls fill them."""

import os
from pathlib import Path

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.oci.names import GroupName, Tag
from depproxy.store.files import DIRECTORY
from depproxy.store.pointer_format import TagPointer
from depproxy.store.remembered import Bodies
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree


def open_tree(path: Path, shared: SharedFiles | None = None) -> Tree:
    """As another process, or the same one after a restart, sees it."""
    return Tree(GroupName("acme"), os.open(path, DIRECTORY), shared or SharedFiles(), Bodies())


def store(tree: Tree, digest: Digest, data: bytes) -> None:
    tree.store(digest, data)
    tree.holdings.add_blob(digest, len(data))


def pull(tree: Tree, repository: Repository, tag: Tag | None, image: Image) -> None:
    """All of an image, by a tag or by its digest."""
    for digest, data in image.blobs.items():
        store(tree, digest, data)
    for digest, (media_type, body) in image.manifests.items():
        store(tree, digest, body)
        tree.holdings.learn(digest, body)
        tree.pointers.write_digest(repository, Descriptor(digest, media_type, len(body)))
    if tag:
        point(tree, repository, tag, image)
    tree.times.pull(repository, tag or image.index, image.index, 1000)


def point(tree: Tree, repository: Repository, tag: Tag, image: Image) -> None:
    """Let a tag mean an image whose manifests are on disk."""
    media_type, body = image.manifests[image.index]
    known = Descriptor(image.index, media_type, len(body))
    tree.pointers.update_tag(repository, tag, lambda _: TagPointer(current=known))


def clone(template: Path, path: Path) -> Path:
    """A copy by hard links: nobody writes a file in place."""
    for folder, _, names in os.walk(template):
        copy = path / os.path.relpath(folder, template)
        copy.mkdir(exist_ok=True)
        for name in names:
            os.link(f"{folder}/{name}", copy / name)
    return path
