"""Purges: a group by one rename, an image or a reference by moving its pointers; the disk follows
in the background."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from depproxy.cache.chores import Chores
from depproxy.cache.in_use import InUse
from depproxy.cache.missing import Missing
from depproxy.errors import StoreError, StorePurged
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName, Tag
from depproxy.store.data_dir import DataDir
from depproxy.store.graph import Key
from depproxy.store.holdings import NOTHING
from depproxy.store.holdings import Totals as Totals
from depproxy.store.inventory import digest_of
from depproxy.store.removal import Removal
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree

_log = logging.getLogger(__name__)

_PAUSE = 0.01
"""Seconds between two looks whether what is to go is still being written."""

_LOOKS = 1000
"""Looks after which it stays, as what nothing leads to."""


class Purges:
    """Clears what it is asked to, now; nobody waits for files to be deleted."""

    def __init__(
        self,
        data: DataDir,
        tree: Callable[[GroupName], Tree],
        in_use: InUse,
        missing: Missing,
        notes: Executor,
        chores: Chores,
    ) -> None:
        self._data = data
        self._tree = tree
        self._in_use = in_use
        self._missing = missing
        self._notes = notes
        self._chores = chores

    async def group(self, group: GroupName) -> Totals:
        """Clear a group; returns what it held. Fills under way end in what was cleared.

        Raises `StoreError`.
        """
        loop = asyncio.get_running_loop()
        tree = await loop.run_in_executor(self._notes, self._data.purge, group)
        if tree is None:
            return NOTHING
        totals = tree.holdings.totals()
        tree.release()
        self._chores.begin(self.empty_trash)
        _log.info("cleared %s: %d bytes", group, totals.size)
        return totals

    async def image(
        self, group: GroupName, repository: Repository, reference: Tag | Digest | None
    ) -> Totals:
        """Clear an image, or one reference of it with what only that leads to; returns what goes.

        Raises `StoreError`.
        """
        loop = asyncio.get_running_loop()
        tree = self._tree(group)
        try:
            removal = await loop.run_in_executor(
                self._notes, self._take_pointers, tree, repository, reference
            )
        except StoreError as exc:
            if isinstance(exc, StorePurged) and self._is_replaced(tree):
                return NOTHING  # the whole group was cleared meanwhile
            if tree.holdings.doubt():  # some of it may have gone
                self._chores.begin(tree.survey)
            raise
        self._missing.forget_cleared(tree, repository, reference)
        if tree.holdings.is_exact:
            self._chores.begin(lambda stop: self._finish(tree, removal, stop))
        else:
            tree.remover.leave(removal)
            if tree.holdings.is_exact:  # the count has ended just now, and may not have seen it
                self._chores.begin(tree.remover.finish_interrupted)
        name = f"{repository}{'' if reference is None else f' {reference}'}"
        _log.info("cleared %s of %s: %d bytes", name, group, removal.totals.size)
        return removal.totals

    async def amount(
        self, group: GroupName, repository: Repository | None, reference: Tag | Digest | None
    ) -> Totals:
        """What `image` would clear, or `group` where no image is named; changes nothing."""
        tree = self._tree(group)
        if repository is None:
            return tree.holdings.totals()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._notes, lambda: tree.holdings.amount(tree.selection(repository, reference))
        )

    def empty_trash(self, stop: threading.Event) -> None:
        """Delete what was purged. Blocks."""
        try:
            self._data.empty_trash(stop)
        except StoreError as exc:
            _log.warning("what was cleared cannot be deleted yet: %s", exc)

    def _is_replaced(self, tree: Tree) -> bool:
        """Whether the group has another tree by now: it was cleared."""
        current = self._tree(tree.group)
        return current.is_there and current is not tree

    def _take_pointers(
        self, tree: Tree, repository: Repository, reference: Tag | Digest | None
    ) -> Removal:
        return tree.remover.begin([tree.selection(repository, reference)])

    def _finish(self, tree: Tree, removal: Removal, stop: threading.Event) -> None:
        def is_needed(key: Key) -> bool:
            return self._in_use.is_written(tree, digest_of(key))

        for _ in range(_LOOKS):  # what has just come is written until everybody knows of it
            if not any(map(is_needed, removal.unused)) or stop.wait(_PAUSE):
                break
        tree.remover.finish(removal, is_needed, stop)
