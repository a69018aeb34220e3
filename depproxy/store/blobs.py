"""Blobs of one tree: bytes that are named by their digest, verified before they got the name."""

import os
import stat
import threading
from collections import OrderedDict
from types import TracebackType
from typing import Self

from depproxy.oci.digest import Digest
from depproxy.store.files import Directory, translated, unlink_quietly
from depproxy.store.seal import is_sealed, seal

_PIECE = 1024 * 1024
"""Bytes that are hashed at once: large enough to let other threads run meanwhile."""

_MAX_REMEMBERED = 4096
"""Blobs that are known to be right although their file system keeps no seal."""


def blob_path(digest: Digest) -> str:
    """Relative to the tree: ``blobs/<algorithm>/<2 hex>/<hex>``."""
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


class OpenBlob:
    """A blob that is open for reading. It can be read to its end whatever happens to its name."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``. Raises `StoreError`."""
        with translated("a blob is read"):
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SealBroken(Exception):
    """The file is there, but not as it was verified: `Blobs.recheck` tells."""


class Blobs:
    """The blobs below one tree's directory."""

    def __init__(self, tree: Directory) -> None:
        self._tree = tree
        self._rechecking = threading.Lock()
        self._right: OrderedDict[Digest, tuple[int, int, int]] = OrderedDict()

    def open(self, digest: Digest) -> OpenBlob | None:
        """None where there is no such blob that can be read. Raises `SealBroken`."""
        fd = self._open(digest)
        if fd is None:
            return None
        status = os.fstat(fd)
        if is_sealed(status) or self._right.get(digest) == _identity(status):
            return OpenBlob(fd, status.st_size)
        os.close(fd)
        raise SealBroken(digest)

    def recheck(self, digest: Digest) -> OpenBlob | None:
        """Hash a blob whose seal is broken: seal it again, or take its name away.

        Returns it if it is right. Blocks for as long as reading it takes; one at a time in a tree.
        """
        with self._rechecking:
            try:
                return self.open(digest)  # another one was quicker
            except SealBroken:
                pass
            fd = self._open(digest)
            if fd is None:
                return None
            try:
                is_right = hash_file(fd, digest) == digest
            except OSError:
                os.close(fd)
                return None
            if is_right:
                return self._sealed(fd, digest)
            self._take_name(fd, digest)
            os.close(fd)
            return None

    def _open(self, digest: Digest) -> int | None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(blob_path(digest), flags, dir_fd=self._tree.fd)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _sealed(self, fd: int, digest: Digest) -> OpenBlob:
        """A right blob; where no seal holds, as on file systems with coarse times, on foreign files
        or read-only disks, it is remembered instead."""
        try:
            seal(fd)
        except OSError:
            pass
        status = os.fstat(fd)
        if not is_sealed(status):
            self._right[digest] = _identity(status)
            if len(self._right) > _MAX_REMEMBERED:
                self._right.popitem(last=False)
        return OpenBlob(fd, status.st_size)

    def _take_name(self, fd: int, digest: Digest) -> None:
        """Unlink a wrong file, unless a right one has taken its name meanwhile."""
        try:
            named = os.stat(blob_path(digest), dir_fd=self._tree.fd, follow_symlinks=False)
        except OSError:
            return
        if os.path.samestat(named, os.fstat(fd)):
            unlink_quietly(blob_path(digest), self._tree.fd)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def hash_file(fd: int, digest: Digest) -> Digest:
    """The digest of a whole open file, by ``digest``'s algorithm. Raises OSError."""
    hasher = digest.hasher()
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        hasher.update(piece)
        offset += len(piece)
    return Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
