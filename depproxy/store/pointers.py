"""Pointers of one tree: JSON files that say which manifest a reference of an image means.

``manifests/<upstream>/<component>/…/-/tags/<tag>.json`` and ``…/-/digests/<algorithm>/<hex>.json``.
A pointer is written only when what it means changes, by compare-and-swap under a lock of its
folder, so that other processes may work on the same tree.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from depproxy.errors import DigestInvalid
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MEDIA_TYPES, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.files import (
    DIRECTORY,
    Directory,
    make_directories,
    read_file,
    translated,
    walk,
    write_file,
)
from depproxy.store.partial import PARTIALS

_MAX_POINTER = 4096
"""Bytes; a pointer has some 500."""


@dataclass(frozen=True, slots=True)
class Repository:
    """An image of an upstream, as the tree files it."""

    upstream: str
    image: ImageName

    @property
    def folder(self) -> str:
        return f"manifests/{self.upstream}/{self.image}/-"


@dataclass(frozen=True, slots=True)
class TagPointer:
    """What a tag means.

    ``current`` is the manifest that is on disk, ``announced`` a newer one that the upstream has
    named and nobody has fetched yet, ``gone`` that the upstream answered 404 since.
    """

    current: Descriptor | None = None
    announced: Descriptor | None = None
    gone: bool = False

    @property
    def newest(self) -> Descriptor | None:
        """What the upstream named last."""
        return self.announced or self.current


class Pointers:
    """The pointers below one tree's directory."""

    def __init__(self, tree: Directory) -> None:
        self._tree = tree

    def read_tag(self, repository: Repository, tag: Tag) -> TagPointer | None:
        """None where there is no pointer, or none that can be read."""
        return _decode(read_file(_tag_path(repository, tag), self._tree.fd, _MAX_POINTER))

    def swap_tag(
        self, repository: Repository, tag: Tag, old: TagPointer | None, new: TagPointer
    ) -> bool:
        """Replace a pointer that still reads ``old``; False where it does not.

        Raises `StoreError`.
        """
        path = _tag_path(repository, tag)
        with translated("a tag's pointer is written"), self._locked(os.path.dirname(path)):
            if self.read_tag(repository, tag) != old:
                return False
            if old != new:
                write_file(path, _encode(new), self._tree.fd, PARTIALS)
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
        return _decode_digest(
            read_file(_digest_path(repository, digest), self._tree.fd, _MAX_POINTER), digest
        )

    def write_digest(self, repository: Repository, descriptor: Descriptor) -> None:
        """Let an image know a manifest that is on disk. Raises `StoreError`."""
        if self.read_digest(repository, descriptor.digest) == descriptor:
            return
        path = _digest_path(repository, descriptor.digest)
        body = _json({"digest": descriptor.digest, **_described("", descriptor)})
        with translated("a digest's pointer is written"), self._locked(os.path.dirname(path)):
            write_file(path, body, self._tree.fd, PARTIALS)

    def find_digest(self, digest: Digest) -> Descriptor | None:
        """What any image of this tree knows of a manifest. Walks all images: for rare cases."""
        tail = f"digests/{digest.algorithm}/{digest.hex}.json"
        for folder, names, _, folder_fd in walk("manifests", self._tree.fd):
            if os.path.basename(folder) == "-":
                names.clear()
                found = _decode_digest(read_file(tail, folder_fd, _MAX_POINTER), digest)
                if found:
                    return found
        return None

    @contextmanager
    def _locked(self, folder: str) -> Iterator[None]:
        make_directories(PARTIALS, self._tree.fd)
        make_directories(folder, self._tree.fd)
        fd = os.open(folder, DIRECTORY, dir_fd=self._tree.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _tag_path(repository: Repository, tag: Tag) -> str:
    return f"{repository.folder}/tags/{tag}.json"


def _digest_path(repository: Repository, digest: Digest) -> str:
    return f"{repository.folder}/digests/{digest.algorithm}/{digest.hex}.json"


def _encode(pointer: TagPointer) -> bytes:
    current, announced = pointer.current, pointer.announced
    return _json(
        {
            "digest": current.digest if current else None,
            **_described("", current),
            "announced": announced.digest if announced else None,
            **_described("announced_", announced),
            "gone": pointer.gone,
        }
    )


def _described(prefix: str, descriptor: Descriptor | None) -> dict[str, Any]:
    return {
        f"{prefix}media_type": descriptor.media_type if descriptor else None,
        f"{prefix}size": descriptor.size if descriptor else None,
    }


def _decode(data: bytes | None) -> TagPointer | None:
    document = _document(data)
    if document is None:
        return None
    current = _descriptor(document, "digest", "")
    announced = _descriptor(document, "announced", "announced_")
    gone = document.get("gone") is True
    return TagPointer(current, announced, gone) if current or announced else None


def _decode_digest(data: bytes | None, digest: Digest) -> Descriptor | None:
    document = _document(data)
    found = _descriptor(document, "digest", "") if document else None
    return found if found and found.digest == digest else None


def _descriptor(document: dict[str, Any], key: str, prefix: str) -> Descriptor | None:
    media_type, size = document.get(f"{prefix}media_type"), document.get(f"{prefix}size")
    try:
        digest = Digest.parse(str(document.get(key)))
    except DigestInvalid:
        return None
    if media_type not in MEDIA_TYPES or not isinstance(size, int) or size < 0:
        return None
    return Descriptor(digest, str(media_type), size)


def _document(data: bytes | None) -> dict[str, Any] | None:
    try:
        document = json.loads(data) if data else None
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
