"""What files said, for as long as they are the same files.

Nothing here replaces the disk: each question costs one `stat`, which tells whether the file is
gone, or another one. What is spared is opening, reading, closing and understanding it: a hit on a
manifest takes 160 µs instead of 200 by this. Other processes may work on the same files.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from depproxy.oci.digest import Digest
from depproxy.store.files import Directory, read_file

T = TypeVar("T")

MAX_SMALL = 64 * 1024
"""Bytes of a body that is kept in memory: manifests, configs, and layers of a few files."""

MAX_BODIES = 8 * 1024 * 1024
"""Bytes of all bodies together: some thousand manifests, a tenth of what this server may take."""

_MAX_READINGS = 2048
"""Pointers of one tree; each has some 700 bytes."""

Identity = tuple[int, int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """What changes when a file is written to, or another one takes its name."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class Readings(Generic[T]):
    """What small files of one tree mean. Safe to use from any thread."""

    def __init__(self, tree: Directory, longest: int) -> None:
        """``longest`` is how many bytes a file may have that is read."""
        self._tree = tree
        self._longest = longest
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[Identity, T]] = OrderedDict()

    def read(self, path: str, understand: Callable[[bytes | None], T]) -> T:
        """What the file says now; ``understand`` gets None where it is missing or unreadable."""
        try:
            found = identity(os.stat(path, dir_fd=self._tree.fd, follow_symlinks=False))
        except OSError:
            self.forget(path)
            return understand(None)
        known = self._known.get(path)
        if known and known[0] == found:
            return known[1]
        meaning = understand(read_file(path, self._tree.fd, self._longest))
        with self._lock:
            self._known[path] = found, meaning
            if len(self._known) > _MAX_READINGS:
                self._known.popitem(last=False)
        return meaning

    def forget(self, path: str) -> None:
        """This process has just written the file: on a file system with coarse times and numbers
        that are used again, the next one may look like the last but one."""
        if path in self._known:
            with self._lock:
                self._known.pop(path, None)


class Bodies:
    """Small blobs of all trees, those that were read last. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0
        self._known: OrderedDict[Digest, tuple[Identity, bytes]] = OrderedDict()

    def get(self, digest: Digest, status: os.stat_result) -> bytes | None:
        """The body of the file that ``status`` is about, if that is the one that was kept."""
        with self._lock:
            known = self._known.get(digest)
            if known is None or known[0] != identity(status):
                return None
            self._known.move_to_end(digest)
            return known[1]

    def keep(self, digest: Digest, status: os.stat_result, body: bytes) -> None:
        with self._lock:
            known = self._known.pop(digest, None)
            self._size += len(body) - (len(known[1]) if known else 0)
            self._known[digest] = identity(status), body
            while self._size > MAX_BODIES:
                _, (_, oldest) = self._known.popitem(last=False)
                self._size -= len(oldest)
