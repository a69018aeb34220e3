"""One generation of a group: its directory ``groups/<group>/-``, held open.

Whoever began in a tree ends in it: files are opened, made and renamed relative to its descriptor,
never by path, so that a purge takes along what was still on its way.
"""

import os
import threading
from collections.abc import Iterator

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName, Tag
from depproxy.store.blobs import Blobs
from depproxy.store.files import Directory, sweep
from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Selection
from depproxy.store.lists import Lists
from depproxy.store.partial import PARTIALS, Partial
from depproxy.store.pointers import Pointers
from depproxy.store.remembered import Bodies
from depproxy.store.removal import Remover
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles
from depproxy.store.spool import Spool
from depproxy.store.survey import BlobFile, survey, survey_image, walk_blobs
from depproxy.store.times import Times


class Tree:
    """What a group holds between two purges.

    Its directory stays open as long as a fill or a reader works in it.
    """

    def __init__(
        self,
        group: GroupName,
        fd: int,
        shared: SharedFiles,
        bodies: Bodies,
        *,
        is_new: bool = False,
    ) -> None:
        """``fd`` becomes the tree's own; -1 makes an empty tree that takes nothing. One that
        ``is_new`` has nothing in it that would have to be counted."""
        self.group = group
        self.is_new = is_new
        self._directory = Directory(fd)
        self._status = os.fstat(fd) if fd >= 0 else None
        self._counting = threading.Lock()
        self.holdings = Holdings(shared, exact=is_new or fd < 0)
        self.blobs = Blobs(self._directory, bodies)
        self.pointers = Pointers(self._directory, self.holdings)
        self.times = Times(self._directory)
        self.lists = Lists(self._directory)
        self.remover = Remover(self._directory, self.pointers, self.holdings, self.times)

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
        return self._status is not None and os.path.samestat(self._status, status)

    def survey(self, stop: threading.Event) -> None:
        """Count everything, and go on with removals that a crash has interrupted. Blocks for as
        long as reading all manifests takes, or until ``stop`` is set."""
        interrupted = self.remover.interrupted()
        self.remover.expect(interrupted)
        self.count(stop)
        if self.holdings.is_exact and not stop.is_set():
            self.remover.finish_interrupted(stop, interrupted)

    def count(self, stop: threading.Event) -> None:
        """As `survey`, and change nothing."""
        with self._counting:
            stamp = self.remover.stamp()
            survey(self._directory, self.holdings, self.times, stop)
            if not stop.is_set():
                self.remover.note_counted(stamp)

    def selection(self, repository: Repository, reference: Tag | Digest | None) -> Selection:
        """What goes with a reference; None: the whole image. Blocks for as long as it takes to read
        the image's pointers, where it has the reference and nothing is counted yet."""
        if reference is None:
            return Selection(repository, is_whole=True)
        if not self.holdings.is_exact and self.pointers.is_there(repository, reference):
            with self.pointers.locked(repository):
                survey_image(self._directory, self.holdings, self.times, repository)
        return self.holdings.ask(lambda inventory: inventory.selection(repository, reference))

    def blob_files(self) -> Iterator[BlobFile]:
        """Every blob as its file is now. Walks all folders."""
        return walk_blobs(self._directory)

    def remove_blob(self, digest: Digest) -> None:
        """Take a blob's name away, whatever leads to it; who reads it goes on."""
        self.blobs.remove(digest)
        self.holdings.remove_blob(digest)

    def look_again(self, digest: Digest) -> None:
        """Let the picture know whether a blob is there."""
        self.holdings.look_again(digest, lambda: self.blobs.find(digest))

    def link(self, digest: Digest, other: "Tree") -> bool:
        """Let the blob of another tree be this one's as well, by a hard link; False where that
        cannot be. Raises `StoreError`."""
        linked = self.blobs.link(digest, other.blobs)
        if linked is None:
            return False
        self.holdings.add_blob(digest, linked.st_size)
        if linked.st_nlink > 1:  # not where a fill was quicker
            self.holdings.share(digest, linked.st_ino)
            other.holdings.share(digest, linked.st_ino)
        return True

    def release(self) -> None:
        """The tree was purged: it no longer holds what others hold too."""
        self.holdings.release()

    def flush(self) -> None:
        """Write times that are not written yet. Blocks."""
        self.times.flush()
        self.blobs.flush_uses()

    def sweep(self) -> None:
        """Remove the unfinished files of crashed processes."""
        sweep(PARTIALS, self._directory.fd)
