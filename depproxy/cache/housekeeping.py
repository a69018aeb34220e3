"""The regular pass: what nobody has pulled for long, or is too much, goes."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from depproxy.cache.chores import Chores
from depproxy.cache.eviction import Entry, Limits, choose, oversized
from depproxy.cache.in_use import InUse
from depproxy.cache.room import Room
from depproxy.config import GroupConfig, HousekeepingConfig
from depproxy.errors import StoreError
from depproxy.oci.names import GroupName
from depproxy.store.graph import Key
from depproxy.store.inventory import Reference, Selection, digest_of, key_of
from depproxy.store.tree import Tree

_log = logging.getLogger(__name__)

_Entry = Entry[Reference | Key, Key]


class Housekeeping:
    """Keeps groups within their limits. ``wall_clock`` is in seconds since the epoch."""

    def __init__(
        self,
        config: HousekeepingConfig,
        groups: Mapping[str, GroupConfig],
        tree: Callable[[GroupName], Tree],
        in_use: InUse,
        room: Room,
        chores: Chores,
        wall_clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._groups = groups
        self._tree = tree
        self._in_use = in_use
        self._room = room
        self._chores = chores
        self._now = wall_clock
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._last = 0.0
        """When the last pass ended, or this began without one; seconds of the event loop."""

    def begin(self, before: "Housekeeping | None" = None) -> None:
        """A pass in every interval, from now on and in the place of ``before``: its interval goes
        on, so that frequent reloads put no pass off for ever."""
        self._last = before._last if before else asyncio.get_running_loop().time()
        if before:
            before.end()
        self._task = self._chores.spawn(self._run())

    def end(self) -> None:
        """Begin nothing any more; what is being removed goes to its end."""
        self._is_over = True
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._last + self._config.interval - loop.time()))
            await self._chores.attempt(self.tidy())
            self._last = loop.time()

    async def tidy(self) -> None:
        """One pass over all groups, and over the disk."""
        for group in self._groups.values():
            limits = Limits(group.expire_after, group.max_size)
            if limits:
                tree = self._tree(group.name)
                await self._chores.do(self.tidy_tree, tree, limits, self._chores.stop)
        await self._room.seek(0)

    def tidy_tree(self, tree: Tree, limits: Limits, stop: threading.Event) -> None:
        """Bring one group within its limits. Blocks."""
        began = self._now()
        try:
            tree.survey(stop)
            is_over = self._is_over or stop.is_set()
            gone, freed = (0, 0) if is_over else self._tidy(tree, limits, stop)
        except StoreError as exc:
            _log.warning("%s cannot be kept within its limits: %s", tree.group, exc)
            if tree.holdings.doubt():  # some of it may have gone
                tree.survey(stop)
        else:
            _log.info(
                "%s: housekeeping took %.1f s; %d references went, %d bytes were freed",
                *(tree.group, self._now() - began, gone, freed),
            )

    def _tidy(self, tree: Tree, limits: Limits, stop: threading.Event) -> tuple[int, int]:
        """How many references and orphans went, and how many bytes."""
        now = self._now()
        sizes = tree.holdings.sizes()
        busy = {key_of(digest) for digest in self._in_use.digests(tree)}
        for key in oversized(sizes, busy, limits):
            tree.remove_blob(digest_of(key))
            del sizes[key]
        protected = busy | self._handed_out(tree, now)
        chosen = choose(_entries(tree, sizes), sizes, protected, limits, now)
        if not chosen:
            return 0, 0
        removal = tree.remover.begin(_selections(tree, chosen), sync=False)
        removal.unused += [entry.name for entry in chosen if isinstance(entry.name, bytes)]
        freed = tree.remover.finish(
            removal,
            lambda key: key in protected or self._in_use.is_used(tree, digest_of(key)),
            stop,
        )
        return len(chosen), freed

    def _handed_out(self, tree: Tree, now: float) -> set[Key]:
        """Manifests that were handed out within ``grace``, and what they name."""
        found: set[Key] = set()
        for key in tree.times.handed_out_since(now - self._config.grace):
            found.add(key)
            found.update(tree.holdings.links(key))
        return found


def _entries(tree: Tree, sizes: dict[Key, int]) -> Iterator[_Entry]:
    for root in tree.holdings.roots(only_cached=False):
        blobs = frozenset(tree.holdings.reach(root.descriptor.digest))
        yield Entry(root, tree.times.last_pulled(root, blobs), blobs)
    for key in tree.holdings.orphans(sizes):
        yield Entry(key, tree.blobs.last_used(digest_of(key)), frozenset((key,)))


def _selections(tree: Tree, chosen: list[_Entry]) -> Iterator[Selection]:
    """One after the other, since what goes with one depends on what went before."""
    for entry in chosen:
        name = entry.name
        if not isinstance(name, Reference):
            continue
        if tree.times.last_pulled(name, entry.blobs) <= entry.pulled:
            yield tree.selection(name.repository, name.reference)
