"""Blobs of one tree: bytes that are named by their digest, verified before they got the name."""

import os
import stat
import threading
from collections import OrderedDict
from contextlib import suppress
from types import TracebackType
from typing import Self

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.store.files import (
    Directory,
    exists,
    make_directories,
    settle,
    translated,
    unlink_quietly,
)
from depproxy.store.remembered import MAX_SMALL, Bodies
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

    @property
    def fd(self) -> int:
        """The open file."""
        return self._fd

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

    def __init__(self, tree: Directory, bodies: Bodies) -> None:
        """``bodies`` may be those of other trees, too."""
        self._tree = tree
        self._bodies = bodies
        self._rechecking = threading.Lock()
        self._right: OrderedDict[Digest, tuple[int, int, int]] = OrderedDict()
        self._uses: dict[Digest, float] = {}

    def remove(self, digest: Digest) -> None:
        """Take a blob's name away."""
        unlink_quietly(blob_path(digest), self._tree.fd)

    def is_there(self, digest: Digest) -> bool:
        """Whether a blob has its name."""
        return exists(blob_path(digest), self._tree.fd)

    def find(self, digest: Digest) -> os.stat_result | None:
        """The file that has a blob's name, right or wrong."""
        try:
            return os.stat(blob_path(digest), dir_fd=self._tree.fd, follow_symlinks=False)
        except OSError:
            return None

    def note_use(self, digest: Digest, when: float) -> None:
        """A blob was pulled, at so many seconds since the epoch."""
        self._uses[digest] = when

    def last_used(self, digest: Digest) -> float:
        """When a blob was last pulled, in seconds since the epoch; 0 where it is not there."""
        try:
            status = os.stat(blob_path(digest), dir_fd=self._tree.fd)
        except OSError:
            return 0.0
        return max(status.st_atime, self._uses.get(digest, 0.0))

    def flush_uses(self) -> None:
        """Write to the files when they were last pulled: as access times, which stay when a tree is
        copied with its times, and which a mount without them does not touch. Blocks; threads that
        do it at once share the work."""
        while True:
            try:
                digest, when = self._uses.popitem()
            except KeyError:
                return
            fd = self._open(digest)
            if fd is None:
                continue
            try:
                os.utime(fd, ns=(int(when * 1e9), os.fstat(fd).st_mtime_ns))
            except OSError:
                pass
            finally:
                os.close(fd)

    def link(self, digest: Digest, other: "Blobs") -> os.stat_result | None:
        """Give another tree's blob a name in this one. None where that cannot be: another file
        system, too many links, gone or altered meanwhile."""
        path = blob_path(digest)
        try:
            blob = other.open(digest)
        except SealBroken:
            return None
        if blob is None:
            return None
        with blob:
            try:
                make_directories(os.path.dirname(path), self._tree.fd)
                os.link(path, path, src_dir_fd=other._tree.fd, dst_dir_fd=self._tree.fd)
            except FileExistsError:
                pass
            except OSError:
                return None
            settle(path, self._tree.fd)
            try:
                named = os.stat(path, dir_fd=self._tree.fd, follow_symlinks=False)
            except OSError:
                return None
            return named if stat.S_ISREG(named.st_mode) else None

    def open(self, digest: Digest) -> OpenBlob | None:
        """None where there is no such blob that can be read. Raises `SealBroken`."""
        fd = self._open(digest)
        if fd is None:
            return None
        status = os.fstat(fd)
        if self._is_right(digest, status):
            return OpenBlob(fd, status.st_size)
        os.close(fd)
        raise SealBroken(digest)

    def size(self, digest: Digest) -> int | None:
        """Bytes; None where there is no such blob. Raises `SealBroken`."""
        status = self._status(digest)
        return None if status is None else status.st_size

    def read_whole(self, digest: Digest, limit: int) -> bytes | None:
        """All of a blob; None where there is none that can be read, or one of more than ``limit``
        bytes. Raises `SealBroken`."""
        status = self._status(digest)
        if status is None or status.st_size > limit:
            return None
        body = self._bodies.get(digest, status)
        if body is not None:
            return body
        blob = self.open(digest)
        if blob is None:
            return None
        with blob:
            try:
                body = blob.read(0, blob.size)
            except StoreError:
                return None
        if len(body) != status.st_size:
            return None
        if len(body) <= MAX_SMALL:
            self._bodies.keep(digest, status, body)
        return body

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

    def verify(self, digest: Digest, stop: threading.Event) -> bool | None:
        """Hash a blob, whatever its seal says; one that is wrong loses its name, one that is right
        is sealed. None where there is none, or ``stop`` was set. Blocks.

        Raises `StoreError` where it cannot be read, or is wrong and keeps its name."""
        path = blob_path(digest)
        with translated(f"{path} is verified"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._tree.fd)
            except FileNotFoundError:
                return None
            try:
                used = os.fstat(fd).st_atime_ns
                found = hash_file(fd, digest, stop)
                if stop.is_set():
                    return None
                is_right = found == digest
                if not is_right:
                    self._take_name(fd, digest)
                with suppress(OSError):  # of another user's file, or on a read-only disk
                    if is_right and not is_sealed(os.fstat(fd)):
                        seal(fd)
                    os.utime(fd, ns=(used, os.fstat(fd).st_mtime_ns))  # nobody has pulled it
                if not is_right and self._has_name(fd, digest):
                    raise StoreError(f"{path} is wrong, and cannot be removed")
            finally:
                os.close(fd)
        return is_right

    def _status(self, digest: Digest) -> os.stat_result | None:
        """Raises `SealBroken`."""
        status = self.find(digest)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        if self._is_right(digest, status):
            return status
        raise SealBroken(digest)

    def _is_right(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether a file is as it was when it was verified, by its seal or by our memory."""
        return is_sealed(status) or self._right.get(digest) == _identity(status)

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
        if self._has_name(fd, digest):
            unlink_quietly(blob_path(digest), self._tree.fd)

    def _has_name(self, fd: int, digest: Digest) -> bool:
        """Whether an open file is the one that has a blob's name."""
        named = self.find(digest)
        return named is not None and os.path.samestat(named, os.fstat(fd))


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def hash_file(fd: int, digest: Digest, stop: threading.Event | None = None) -> Digest:
    """The digest of a whole open file, by ``digest``'s algorithm; of nobody knows what, where
    ``stop`` is set meanwhile. Raises OSError."""
    hasher = digest.hasher()
    offset = 0
    while not (stop and stop.is_set()) and (piece := os.pread(fd, _PIECE, offset)):
        hasher.update(piece)
        offset += len(piece)
    return Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
