"""The groups' trees: found, counted, swept and flushed."""

import asyncio
import logging
import threading
from collections.abc import Collection

from depproxy.cache.chores import Chores
from depproxy.cache.meter import Meter
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir
from depproxy.store.tree import Tree

_log = logging.getLogger(__name__)

FLUSH_EVERY = 60.0
"""Seconds between two writings of times and counters: what a crash may lose."""


class Trees:
    """The current generation of each group."""

    def __init__(self, data: DataDir, chores: Chores, meter: Meter) -> None:
        self.data = data
        self._chores = chores
        self._meter = meter

    def get(self, group: GroupName) -> Tree:
        """The group's tree; one that nobody has counted yet is counted in the background."""
        tree = self.data.tree(group)
        if tree.holdings.claim():
            self._chores.begin(tree.survey)
        elif tree.is_new:
            tree.is_new = False
            self._chores.begin(lambda _: self.data.sync_tree(group))
        return tree

    def recounted(self, group: GroupName) -> Tree:
        """As `get`; one that another process has changed is counted anew in the background."""
        for known in self.data.trees():  # what they share with this one counts, too
            tree = self.get(known.group)
            # Where it is not exact, somebody counts: should he see too little, the next one doubts.
            is_exact = tree.holdings.is_exact
            if is_exact and tree.remover.has_foreign_changes() and tree.holdings.doubt():
                self._chores.begin(tree.survey)
        return self.get(group)

    @property
    def are_exact(self) -> bool:
        """Whether all are counted: before, nobody knows which files several of them hold."""
        return all(tree.holdings.is_exact for tree in self.data.trees())

    def open(self, groups: Collection[GroupName]) -> None:
        """Count these groups, and sweep up what a crash has left, in the background."""
        for group in groups:
            tree = self.get(group)
            self._chores.begin(lambda _, tree=tree: tree.sweep())  # type: ignore[misc]

    def start(self) -> None:
        """Begin what runs beside the requests."""
        self._chores.spawn(self._flush_regularly())

    def flush(self, _: threading.Event | None = None) -> None:
        """Write times and counters that are not written yet. Blocks."""
        for tree in self.data.trees():
            tree.flush()
        self._meter.flush()

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await self._chores.attempt(self._chores.do(self.flush))
