"""Blobs of one tree: bytes that are named by their digest, verified before they got the name."""

import os
import stat
from types import TracebackType
from typing import Self

from depproxy.oci.digest import Digest
from depproxy.store.files import Directory, translated, unlink_quietly
from depproxy.store.seal import is_sealed, seal

_PIECE = 1024 * 1024
"""Bytes that are hashed at once: large enough to let other threads run meanwhile."""


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

    def open(self, digest: Digest) -> OpenBlob | None:
        """None where there is no such blob that can be read. Raises `SealBroken`."""
        try:
            fd = os.open(
                blob_path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._tree.fd
            )
        except OSError:
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        if not is_sealed(status):
            os.close(fd)
            raise SealBroken(digest)
        return OpenBlob(fd, status.st_size)

    def recheck(self, digest: Digest) -> bool:
        """Hash a blob whose seal is broken: seal it again, or take its name away.

        Returns whether it is right. Blocks for as long as reading it takes.
        """
        try:
            fd = os.open(blob_path(digest), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._tree.fd)
        except OSError:
            return False
        try:
            if hash_file(fd, digest) == digest:
                seal(fd)
                return True
        except OSError:
            pass
        finally:
            os.close(fd)
        unlink_quietly(blob_path(digest), self._tree.fd)
        return False


def hash_file(fd: int, digest: Digest) -> Digest:
    """The digest of a whole open file, by ``digest``'s algorithm. Raises OSError."""
    hasher = digest.hasher()
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        hasher.update(piece)
        offset += len(piece)
    return Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
