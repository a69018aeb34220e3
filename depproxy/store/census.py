"""What a tree holds, counted in memory: exact once one walk in the background has ended."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from depproxy.oci.digest import Digest
from depproxy.store.files import Directory, walk


@dataclass(frozen=True, slots=True)
class Totals:
    """``manifests`` counts distinct manifest documents, ``blobs`` the other blobs, ``size`` the
    bytes of both. Not ``exact`` until the walk has ended: then they are at least so many."""

    manifests: int
    blobs: int
    size: int
    exact: bool


class Census:
    """The blobs of one tree, by name. Adding twice is adding once, so a walk and what happens
    meanwhile cannot disagree. Safe to use from any thread."""

    def __init__(self, tree: Directory, *, exact: bool) -> None:
        self._tree = tree
        self._claimed = exact
        self._lock = threading.Lock()
        self._sizes: dict[bytes, int] = {}
        self._manifests: set[bytes] = set()
        self._total = 0
        self._exact = exact

    def add_blob(self, digest: Digest, size: int) -> None:
        """A blob, of a layer or of a manifest, has appeared."""
        self._add(bytes.fromhex(digest.hex), size)

    def add_manifest(self, digest: Digest) -> None:
        """A blob is known to be a manifest."""
        with self._lock:
            self._manifests.add(bytes.fromhex(digest.hex))

    def remove(self, digest: Digest) -> None:
        """A blob has lost its name."""
        with self._lock:
            self._total -= self._sizes.pop(bytes.fromhex(digest.hex), 0)

    def totals(self) -> Totals:
        with self._lock:
            manifests = sum(1 for name in self._manifests if name in self._sizes)
            return Totals(manifests, len(self._sizes) - manifests, self._total, self._exact)

    def claim(self) -> bool:
        """Whether the caller is to `walk`: True for the first one, if there is need to."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
            return not claimed

    def walk(self, stop: threading.Event) -> None:
        """Count what was there before. Blocks for as long as reading all folders takes, or until
        ``stop`` is set."""
        for hexed, size in _walk_blobs(self._tree.fd):
            if stop.is_set():
                return
            self._add(hexed, size)
        for hexed in _walk_digest_pointers(self._tree.fd):
            if stop.is_set():
                return
            with self._lock:
                self._manifests.add(hexed)
        with self._lock:
            self._exact = True

    def _add(self, name: bytes, size: int) -> None:
        with self._lock:
            self._total += size - self._sizes.get(name, 0)
            self._sizes[name] = size


def _walk_blobs(tree_fd: int) -> Iterator[tuple[bytes, int]]:
    for folder, _, names, folder_fd in walk("blobs", tree_fd):
        if folder.count("/") != 2:
            continue
        for name in names:
            try:
                yield bytes.fromhex(name), os.stat(name, dir_fd=folder_fd).st_size
            except (OSError, ValueError):
                continue


def _walk_digest_pointers(tree_fd: int) -> Iterator[bytes]:
    for folder, _, names, _ in walk("manifests", tree_fd):
        if "/-/digests/" not in folder:
            continue
        for name in names:
            with suppress(ValueError):
                yield bytes.fromhex(name.removesuffix(".json"))
