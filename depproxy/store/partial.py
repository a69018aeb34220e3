"""A blob being written: bytes without a name until their digest is known to be right."""

import os
import secrets

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.store.blobs import blob_path
from depproxy.store.files import (
    Directory,
    OpenFile,
    allocate,
    create_locked,
    make_directories,
    settle,
    translated,
    unlink_quietly,
)
from depproxy.store.seal import seal

PARTIALS = "partial"
"""The folder of a tree in which files grow; flat."""

_PIECE = 256 * 1024
"""Bytes that are read back and hashed at once, into the same buffer: with
a new MiB each time, the peak was 4 MiB higher."""


class DifferentBytes(Exception):
    """What came again is not what came before."""


class Partial:
    """A file in ``partial/``, locked while it is in use, that can become a blob.

    One thread at a time writes and one hashes, never behind `written`; any may read what is
    written. It holds the tree's directory, so that it is published where it began, purged or not.
    """

    def __init__(self, tree: Directory, digest: Digest) -> None:
        """Raises `StoreError`."""
        self.digest = digest
        self.size: int | None = None
        self.written = 0
        self._hasher = digest.hasher()
        self._hashed = 0
        self._tree = tree
        self._path = f"{PARTIALS}/{digest.algorithm}-{digest.hex}.{secrets.token_hex(4)}"
        with translated("a download begins"):
            make_directories(PARTIALS, tree.fd)
            self._file = OpenFile(create_locked(self._path, tree.fd))

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes from the disk now, where the file system can. Raises `StoreFull`."""
        self.size = size
        with translated(f"no room for {size} bytes"), self._file.in_call() as fd:
            allocate(fd, size)

    def write(self, offset: int, data: memoryview) -> None:
        """Append, or compare what comes again with what is there.

        Raises `StoreError`, and `DifferentBytes` where they differ.
        """
        known = min(len(data), self.written - offset)
        if known < 0:
            raise StoreError("a download left a gap")
        with translated("a blob is written"), self._file.in_call() as fd:
            if known and os.pread(fd, known, offset) != data[:known]:
                raise DifferentBytes
            fresh = data[known:]
            while fresh:
                count = os.pwrite(fd, fresh, self.written)
                self.written += count
                fresh = fresh[count:]

    @property
    def fd(self) -> int:
        """The open file."""
        return self._file.fd

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``. Raises `StoreError`."""
        with translated("a blob is read"):
            return os.pread(self._file.fd, length, offset)

    def hash_written(self) -> int:
        """Hash what has been written since the last call; returns how far that is, in bytes.

        The bytes are read back, so that what is judged is what readers get. Raises `StoreError`.
        """
        with translated("a blob is verified"), self._file.in_call() as fd:
            end = self.written
            piece = memoryview(bytearray(min(_PIECE, end - self._hashed)))
            while self._hashed < end:
                count = os.preadv(fd, [piece[: end - self._hashed]], self._hashed)
                if not count:
                    raise StoreError("a partial file shrank")
                self._hasher.update(piece[:count])
                self._hashed += count
        return self._hashed

    def is_right(self) -> bool:
        """Whether all that was written, and hashed, is what the digest names."""
        return (
            self._hashed == self.written
            and (self.size is None or self.written == self.size)
            and self._hasher.hexdigest() == self.digest.hex
        )

    def publish(self) -> None:
        """Give a right file its name: synced, sealed, renamed, and the folder synced.

        Raises `StoreError`; `StorePurged` where its tree is gone already.
        """
        path = blob_path(self.digest)
        with translated("a blob is stored"), self._file.in_call() as fd:
            os.fsync(fd)
            seal(fd)
            make_directories(os.path.dirname(path), self._tree.fd)
            os.rename(self._path, path, src_dir_fd=self._tree.fd, dst_dir_fd=self._tree.fd)
        self._path = ""
        settle(path, self._tree.fd)

    def discard(self) -> None:
        """Take the name away; the bytes go when `close` is called."""
        if self._path:
            unlink_quietly(self._path, self._tree.fd)
            self._path = ""

    def close(self) -> None:
        """Safe to call twice."""
        self._file.close()
