"""Room on the disk: when little is left, blobs that nobody uses go, across all groups."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from depproxy.cache.eviction import IdleBlob, make_room
from depproxy.cache.flights import Flights
from depproxy.cache.in_use import InUse
from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.store.data_dir import DataDir
from depproxy.store.inventory import key_of
from depproxy.store.tree import Tree

_log = logging.getLogger(__name__)

_EXTRA = 4
"""Making room frees a quarter of ``min_free`` more, so that not every fill has to."""


class Room:
    """Keeps ``min_free`` bytes free, or a tenth of the file system where that is less.

    Pointers and manifests stay: the next pull fetches the rest again.
    """

    def __init__(
        self,
        data: DataDir,
        in_use: InUse,
        disk: Executor,
        min_free: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        self._data = data
        self._in_use = in_use
        self._disk = disk
        self._min_free = min_free
        self._stop = stop
        self._turn = asyncio.Lock()
        self._making = threading.Lock()
        self._searches: Flights[None] = Flights()

    async def seek(self, wanted: int) -> bool:
        """Make room for ``wanted`` bytes, if there is none; returns whether there is some now."""
        async with self._turn:  # who waited for another one may find enough
            if self._missing(wanted) > 0:
                await self._searches.wait(self._begin(wanted))
        return self._free() > wanted

    def seek_soon(self) -> None:
        """Make room if little is left, and let nobody wait for it: it may be enough for what is to
        come."""
        if self._missing(0) > 0 and not self._turn.locked():
            self._begin(0)

    async def stop(self) -> None:
        """Give up on searching."""
        await self._searches.cancel()

    def _begin(self, wanted: int) -> "asyncio.Task[None]":
        return self._searches.join(wanted, lambda: self._search(wanted))

    async def _search(self, wanted: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self._disk, self._make, wanted)

    def _missing(self, wanted: int) -> int:
        return self._to_leave() + wanted - self._free()

    def _make(self, wanted: int) -> None:
        with self._making:  # what another one has just freed is not taken for too little
            missing = self._missing(wanted)
            if missing > 0:
                self._free_idle(missing, wanted)

    def _free_idle(self, missing: int, wanted: int) -> None:
        idle = list(self._idle())
        if wanted > sum(blob.size for blob in idle) + self._free():
            return  # it will never fit: let the others keep what they have
        freed = 0
        for blob in make_room(idle, missing + self._to_leave() // _EXTRA):
            for tree, digest in blob.names:
                if not self._in_use.is_used(tree, digest):
                    tree.remove_blob(digest)
            freed += blob.size
        _log.info("the disk was nearly full: %d bytes of blobs that nobody uses went", freed)

    def _free(self) -> int:
        """Bytes; where that cannot be told, none is missing."""
        try:
            return self._data.free()[0]
        except StoreError:
            return self._min_free()

    def _to_leave(self) -> int:
        """Bytes to leave free."""
        try:
            return min(self._min_free(), self._data.free()[1] // 10)
        except StoreError:
            return 0

    def _idle(self) -> Iterator[IdleBlob[tuple[Tree, Digest]]]:
        """Files of which no group uses or needs anything now. One may have several names."""
        files: dict[int, tuple[float, int, list[tuple[Tree, Digest]]]] = {}
        kept: set[int] = set()
        for tree in self._data.trees():
            tree.blobs.flush_uses()
            if not tree.holdings.is_exact:
                tree.survey(self._stop)  # else manifests would not be known as such
            for file in tree.blob_files():
                if self._is_kept(tree, file.digest):
                    kept.add(file.inode)
                known = files.setdefault(file.inode, (file.used, file.size, []))
                known[2].append((tree, file.digest))
        for inode, (used, size, names) in files.items():
            if inode not in kept:
                yield IdleBlob(used, size, names)

    def _is_kept(self, tree: Tree, digest: Digest) -> bool:
        key = key_of(digest)
        return self._in_use.is_used(tree, digest) or tree.holdings.ask(
            lambda inventory: key in inventory.manifests or inventory.graph.is_document(key)
        )
