"""The walk that makes a tree's picture exact."""

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from depproxy.errors import DigestInvalid, TagInvalid
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MAX_MANIFEST
from depproxy.oci.names import Tag
from depproxy.store.blobs import blob_path
from depproxy.store.counting import Counting
from depproxy.store.files import Directory, read_file, walk
from depproxy.store.graph import Key
from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Reference, digest_of, key_of
from depproxy.store.pointer_format import MAX_POINTER, decode_digest, decode_tag
from depproxy.store.repository import Repository, repository_of
from depproxy.store.times import Times

_BREATH = 64
"""Files after which other threads get their turn: a walk of 100,000 files must not be felt."""

_PAUSE = 0.0005
"""Seconds of that turn."""


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A file with a digest's name; ``used`` in seconds since the epoch."""

    digest: Digest
    size: int
    used: float
    inode: int
    links: int

    @property
    def path(self) -> str:
        """Relative to the tree."""
        return blob_path(self.digest)


def survey(tree: Directory, holdings: Holdings, times: Times, stop: threading.Event) -> None:
    """Count everything. Blocks for as long as reading all folders and manifests takes, or until
    ``stop`` is set."""
    breath = _Breath(stop)
    with holdings.counting() as counting:
        for blob in walk_blobs(tree):
            inode = blob.inode if blob.links > 1 else None
            counting.found_blob(key_of(blob.digest), blob.size, inode)
            if breath.is_last():
                return
        for reference in walk_references(tree):
            times.load(reference.repository, reference.reference)
            if isinstance(reference.reference, Digest):
                counting.found_digest(reference)
            else:
                counting.found_tag(reference)
            if breath.is_last():
                return
        if not _read_manifests(tree, counting, times, breath):
            return
        counting.complete = True


def survey_image(tree: Directory, holdings: Holdings, times: Times, repository: Repository) -> None:
    """Learn at once of one image, before the whole is counted."""
    for reference in walk_references(tree, repository.folder):
        times.load(reference.repository, reference.reference)
        digest = reference.descriptor.digest
        body = read_file(blob_path(digest), tree.fd, MAX_MANIFEST)
        if body is not None:
            holdings.add_blob(digest, len(body))
            holdings.learn(digest, body)
        if isinstance(reference.reference, Digest):
            holdings.set_digest(reference)
        else:
            holdings.set_tag(reference)


class _Breath:
    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._count = 0

    def is_last(self) -> bool:
        """Whether to stop; now and then, lets others go on."""
        self._count += 1
        return self._stop.wait(_PAUSE) if self._count % _BREATH == 0 else self._stop.is_set()


def _read_manifests(tree: Directory, counting: Counting, times: Times, breath: _Breath) -> bool:
    """Learn what the manifests lead to, also those that no pointer names any more and that a client
    may still be at; False where it was stopped."""
    seen: set[Key] = set()
    at_work = set(times.handed_out_since(0.0))
    while unread := [key for key in counting.unread(at_work) if key not in seen]:
        for key in unread:
            seen.add(key)
            body = read_file(blob_path(digest_of(key)), tree.fd, MAX_MANIFEST)
            if body is not None:
                counting.found_body(key, body)
            if breath.is_last():
                return False
    return True


def walk_blobs(tree: Directory) -> Iterator[BlobFile]:
    """Every blob file of a tree."""
    for folder, _, names, folder_fd in walk("blobs", tree.fd):
        if folder.count("/") != 2:
            continue
        _, algorithm, beginning = folder.split("/")
        for name in names:
            if not name.startswith(beginning):
                continue
            try:
                digest = Digest.parse(f"{algorithm}:{name}")
                status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except (OSError, DigestInvalid):
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            yield BlobFile(digest, status.st_size, status.st_atime, status.st_ino, status.st_nlink)


def walk_references(tree: Directory, top: str = "manifests") -> Iterator[Reference]:
    """Every tag and digest below a folder, all images' by default, that has a manifest."""
    for folder, _, names, folder_fd in walk(top, tree.fd):
        place, _, kind = folder.rpartition("/-/")
        repository = repository_of(f"{place}/-")
        if repository is None or not (kind == "tags" or kind.startswith("digests/")):
            continue
        for name in names:
            if not name.endswith(".json"):
                continue
            found = _read(repository, kind, name.removesuffix(".json"), name, folder_fd)
            if found:
                yield found


def _read(
    repository: Repository, kind: str, name: str, file: str, folder_fd: int
) -> Reference | None:
    data = read_file(file, folder_fd, MAX_POINTER)
    try:
        cached = os.stat(file, dir_fd=folder_fd).st_mtime
        if kind == "tags":
            pointer = decode_tag(data)
            if pointer is None or pointer.means is None:
                return None
            return Reference(repository, Tag.parse(name), pointer.means, cached, pointer.gone)
        digest = Digest.parse(f"{kind.removeprefix('digests/')}:{name}")
    except (OSError, TagInvalid, DigestInvalid):
        return None
    descriptor = decode_digest(data, digest)
    return Reference(repository, digest, descriptor, cached) if descriptor else None
