"""One generation of a group: its directory ``groups/<group>/-``, held open.

Whoever began in a tree ends in it: files are opened, made and renamed relative to its descriptor,
never by path, so that a purge takes along what was still on its way.
"""

import os

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName
from depproxy.store.blobs import Blobs
from depproxy.store.census import Census
from depproxy.store.files import Directory, sweep
from depproxy.store.lists import Lists
from depproxy.store.partial import PARTIALS, Partial
from depproxy.store.pointers import Pointers
from depproxy.store.spool import Spool
from depproxy.store.times import Times


class Tree:
    """What a group holds between two purges.

    Its directory stays open as long as a fill or a reader works in it.
    """

    def __init__(self, group: GroupName, fd: int, *, is_new: bool = False) -> None:
        """``fd`` becomes the tree's own; -1 makes an empty tree that takes nothing. One that
        ``is_new`` has nothing in it that would have to be counted."""
        self.group = group
        self.is_new = is_new
        self._directory = Directory(fd)
        self.blobs = Blobs(self._directory)
        self.pointers = Pointers(self._directory)
        self.times = Times(self._directory)
        self.lists = Lists(self._directory)
        self.census = Census(self._directory, exact=is_new or fd < 0)

    @property
    def is_there(self) -> bool:
        """Whether it has a directory."""
        return self._directory.fd >= 0

    def begin(self, digest: Digest) -> Partial:
        """A new file that may become the blob ``digest``. Raises `StoreError`."""
        return Partial(self._directory, digest)

    def spool(self) -> Spool:
        """A file for bytes on their way through. Raises `StoreError`."""
        return Spool(self._directory)

    def store(self, digest: Digest, data: bytes) -> None:
        """Make a blob of bytes at hand.

        Raises `StoreError`, also where they are not what the digest names.
        """
        partial = self.begin(digest)
        try:
            partial.reserve(len(data))
            partial.write(0, memoryview(data))
            partial.hash_written()
            if not partial.is_right():
                raise StoreError(f"these bytes are not {digest}")
            partial.publish()
        finally:
            partial.discard()
            partial.close()

    def is_at(self, status: os.stat_result) -> bool:
        """Whether this is still the directory that ``status`` is about."""
        return self.is_there and os.path.samestat(os.fstat(self._directory.fd), status)

    def sweep(self) -> int:
        """Remove the unfinished files of crashed processes; returns how many."""
        return sweep(PARTIALS, self._directory.fd)
