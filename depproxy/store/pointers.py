"""Pointers of one tree: JSON files that say which manifest a reference of an image means.

``manifests/<upstream>/<component>/…/-/tags/<tag>.json`` and ``…/-/digests/<algorithm>/<hex>.json``.
A pointer is written only when what it means changes, by compare-and-swap under a lock of its
folder, so that other processes may work on the same tree.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from depproxy.errors import DigestInvalid
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.oci.names import Tag
from depproxy.store.files import (
    DIRECTORY,
    Directory,
    exists,
    make_directories,
    read_file,
    translated,
    unlink_quietly,
    walk,
    write_file,
)
from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Reference
from depproxy.store.partial import PARTIALS
from depproxy.store.pointer_format import (
    MAX_POINTER,
    TagPointer,
    decode_digest,
    decode_tag,
    encode_digest,
    encode_tag,
)
from depproxy.store.remembered import Readings
from depproxy.store.repository import Repository


class Pointers:
    """The pointers below one tree's directory."""

    def __init__(self, tree: Directory, holdings: Holdings) -> None:
        self._tree = tree
        self._holdings = holdings
        self._tags: Readings[TagPointer | None] = Readings(tree, MAX_POINTER)
        self._digests: Readings[Descriptor | None] = Readings(tree, MAX_POINTER)

    def is_there(self, repository: Repository, reference: Tag | Digest) -> bool:
        """Whether an image has a pointer by this name."""
        return exists(repository.path(reference, ".json"), self._tree.fd)

    def read_tag(self, repository: Repository, tag: Tag) -> TagPointer | None:
        """None where there is no pointer, or none that can be read."""
        return self._tags.read(repository.path(tag, ".json"), decode_tag)

    def swap_tag(
        self, repository: Repository, tag: Tag, old: TagPointer | None, new: TagPointer
    ) -> bool:
        """Replace a pointer that still reads ``old``; False where it does not.

        Raises `StoreError`.
        """
        path = repository.path(tag, ".json")
        with translated("a tag's pointer is written"), self._locked(os.path.dirname(path)):
            if self.read_tag(repository, tag) != old:
                return False
            if old != new:
                write_file(path, encode_tag(new), self._tree.fd, PARTIALS)
                self._tags.forget(path)
                assert new.means, "a pointer points"
                self._holdings.set_tag(
                    Reference(repository, tag, new.means, self._written(path), new.gone)
                )
            return True

    def update_tag(
        self,
        repository: Repository,
        tag: Tag,
        change: Callable[[TagPointer | None], TagPointer | None],
    ) -> None:
        """Compare and swap until nobody came between; ``change`` may say None, for leave it.

        Raises `StoreError`.
        """
        while True:
            old = self.read_tag(repository, tag)
            new = change(old)
            if new is None or new == old or self.swap_tag(repository, tag, old, new):
                return

    def tags_announcing(self, repository: Repository, digest: Digest) -> list[Tag]:
        """The tags of an image whose pointers announce ``digest``. Reads all of them."""
        try:
            folder = os.open(f"{repository.folder}/tags", DIRECTORY, dir_fd=self._tree.fd)
        except OSError:
            return []
        try:
            names = os.listdir(folder)
        finally:
            os.close(folder)
        tags = [Tag(name.removesuffix(".json")) for name in names if name.endswith(".json")]
        return [
            tag
            for tag in tags
            if (pointer := self.read_tag(repository, tag))
            and pointer.announced
            and pointer.announced.digest == digest
        ]

    def read_digest(self, repository: Repository, digest: Digest) -> Descriptor | None:
        """What this image knows of a manifest; None where it does not know it."""
        return self._digests.read(
            repository.path(digest, ".json"), lambda data: decode_digest(data, digest)
        )

    def write_digest(self, repository: Repository, descriptor: Descriptor) -> None:
        """Let an image know a manifest that is on disk. Raises `StoreError`."""
        path = repository.path(descriptor.digest, ".json")
        body = encode_digest(descriptor)
        with translated("a digest's pointer is written"), self._locked(os.path.dirname(path)):
            # Under the lock: else it could be taken away right after it was found to be there.
            if self.read_digest(repository, descriptor.digest) == descriptor:
                return
            write_file(path, body, self._tree.fd, PARTIALS)
            self._digests.forget(path)
            self._holdings.set_digest(
                Reference(repository, descriptor.digest, descriptor, self._written(path))
            )

    def _written(self, path: str) -> float:
        """When a pointer was written, in seconds since the epoch."""
        return os.stat(path, dir_fd=self._tree.fd).st_mtime

    def find_digest(self, digest: Digest) -> Descriptor | None:
        """What any image of this tree knows of a manifest. Walks all images: for rare cases."""
        tail = f"digests/{digest.algorithm}/{digest.hex}.json"
        for folder, names, _, folder_fd in walk("manifests", self._tree.fd):
            if os.path.basename(folder) == "-":
                names.clear()
                found = decode_digest(read_file(tail, folder_fd, MAX_POINTER), digest)
                if found:
                    return found
        return None

    def remove_unreadable(self) -> Iterator[str]:
        """Take away pointers that nobody can read; yields their paths, relative to the tree."""
        for folder, _, names, folder_fd in walk("manifests", self._tree.fd):
            if "/-/tags" not in folder and "/-/digests/" not in folder:
                continue
            for name in names:
                if name.endswith(".json") and not _is_readable(folder, name, folder_fd):
                    with suppress(FileNotFoundError), self._locked(folder):  # else it was cleared
                        if not _is_readable(folder, name, folder_fd):
                            unlink_quietly(name, folder_fd)
                            yield f"{folder}/{name}"

    @contextmanager
    def locked(self, repository: Repository) -> Iterator[bool]:
        """Keep everybody else from writing pointers of an image: by a lock of the folder around
        its own, which stays where it is when the image is taken away. Yields whether there is such
        an image. Raises `StoreError`."""
        if not exists(repository.folder, self._tree.fd):
            yield False
            return
        with translated("an image is locked"):
            fd = self._lock(repository.folder)
        try:
            yield True
        finally:
            os.close(fd)

    @contextmanager
    def _locked(self, folder: str) -> Iterator[None]:
        """As `locked`, for whoever writes into one of the image's folders. Raises OSError."""
        fd = self._lock(folder[: folder.index("/-") + 2])
        try:
            make_directories(PARTIALS, self._tree.fd)
            make_directories(folder, self._tree.fd)
            yield
        finally:
            os.close(fd)

    def _lock(self, image_folder: str) -> int:
        around = os.path.dirname(image_folder)
        make_directories(around, self._tree.fd)
        fd = os.open(around, DIRECTORY, dir_fd=self._tree.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _is_readable(folder: str, name: str, folder_fd: int) -> bool:
    data = read_file(name, folder_fd, MAX_POINTER)
    if folder.endswith("/tags"):
        return decode_tag(data) is not None
    try:
        digest = Digest.parse(f"{os.path.basename(folder)}:{name.removesuffix('.json')}")
    except DigestInvalid:
        return False
    return decode_digest(data, digest) is not None
