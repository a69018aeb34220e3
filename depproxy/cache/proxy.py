"""The façade that handlers see: groups, what is in them, and clearing them."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any

from depproxy.cache.blobs import Blobs
from depproxy.cache.image_policy import check_image
from depproxy.cache.listings import Listings
from depproxy.cache.manifests import Manifests
from depproxy.cache.source import Source
from depproxy.cache.upstream_choice import DOCKER_HUB, Choice, UpstreamNames
from depproxy.config import GroupConfig
from depproxy.errors import GroupUnknown, NoMirror, StoreError
from depproxy.oci.names import GroupName
from depproxy.store.census import Totals
from depproxy.store.data_dir import DataDir
from depproxy.store.pointers import Repository
from depproxy.store.tree import Tree
from depproxy.upstream.registries import Registries

_log = logging.getLogger(__name__)

FLUSH_EVERY = 60.0
"""Seconds between two writings of times: what a crash may lose."""

_LEAST_FREE = 16 * 1024 * 1024
"""Bytes below which a disk counts as full: manifests and pointers need some, layers more."""


class DependencyProxy:
    """All groups of this server. Its parts are public: ``manifests``, ``blobs``, ``listings``."""

    def __init__(
        self,
        data: DataDir,
        groups: Mapping[str, GroupConfig],
        registries: Registries,
        names: UpstreamNames,
        manifests: Manifests,
        blobs: Blobs,
        listings: Listings,
        notes: Executor,
        chores: Executor,
        mirror: GroupName | None = None,
    ) -> None:
        self.manifests = manifests
        self.blobs = blobs
        self.listings = listings
        self._data = data
        self._groups = groups
        self._registries = registries
        self._names = names
        self._notes = notes
        self._chores = chores
        self._stopping = threading.Event()
        self._mirror = mirror
        self._tasks: set[asyncio.Task[None]] = set()

    def group(self, name: GroupName) -> GroupConfig:
        """Raises `GroupUnknown`."""
        group = self._groups.get(name)
        if group is None:
            raise GroupUnknown(str(name))
        return group

    def source(
        self, group: GroupConfig, name: str, ns: str | None, own_hosts: Collection[str]
    ) -> Source:
        """The image that ``name`` means in a group, now. ``ns`` and ``own_hosts``: see
        `UpstreamNames.choose`.

        Raises `NameInvalid`, `NameUnknown` and `Denied`.
        """
        return self._source(group, self._names.choose(group, name, ns, own_hosts))

    def mirrored(self, name: str, ns: str | None, own_hosts: Collection[str]) -> Source:
        """The image that ``name`` means on a path without a group: in the mirror's group, and of
        Docker Hub where nothing else is said.

        Raises as `source` does, and `NoMirror` where no group is mirrored.
        """
        if self._mirror is None:
            raise NoMirror
        group = self.group(self._mirror)
        return self._source(group, self._names.choose(group, name, ns, own_hosts, DOCKER_HUB))

    def _source(self, group: GroupConfig, choice: Choice) -> Source:
        check_image(group, choice, self._names.hosts(choice.upstream))
        return Source(
            group,
            self._tree(group.name),
            self._registries.get(group, choice.upstream),
            Repository(choice.upstream, choice.image),
        )

    def upstream_named(self, host: str) -> str | None:
        """The upstream of which ``host`` is the name or an alias."""
        return self._names.owner(host)

    async def purge(self, group: GroupConfig) -> Totals:
        """Clear a group at once; returns what it held. Fills under way end in what was cleared.

        Raises `StoreError`.
        """
        loop = asyncio.get_running_loop()
        tree = await loop.run_in_executor(self._notes, self._data.purge, group.name)
        if tree is None:
            return Totals(0, 0, 0, exact=True)
        totals = tree.census.totals()
        self._spawn(self._empty_trash())
        _log.info("cleared %s: %d bytes", group.name, totals.size)
        return totals

    def usage(self, group: GroupConfig) -> dict[str, object]:
        """What a group holds, as the API tells it."""
        totals = self._tree(group.name).census.totals()
        inexact = {} if totals.exact else {"exact": False}
        return {
            "prefix": f"{group.name}/dependency_proxy/containers",
            "manifests": totals.manifests,
            "blobs": totals.blobs,
            "bytes": totals.size,
            **inexact,
        }

    def why_degraded(self) -> str | None:
        """Why misses cannot be stored now; None if they can."""
        return self._data.why_degraded(_LEAST_FREE)

    def is_readable(self) -> bool:
        """Whether hits can be served."""
        return self._data.is_readable()

    def start(self) -> None:
        """Begin what runs beside the requests."""
        for name in self._groups:
            self._spawn(self._do(self._tree(GroupName(name)).sweep))
        self._spawn(self._empty_trash())
        self._spawn(self._flush_regularly())

    async def stop(self, patience: float) -> None:
        """Store what is about to be stored, at most for ``patience`` seconds, and drop the rest."""
        self._stopping.set()
        await self.manifests.stop()
        await self.listings.stop()
        await self.blobs.finish(patience)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._flush()

    def _tree(self, group: GroupName) -> Tree:
        """The group's tree; one that nobody has counted yet is counted in the background."""
        tree = self._data.tree(group)
        if tree.census.claim():
            self._spawn(self._do(tree.census.walk, self._stopping))
        elif tree.is_new:
            tree.is_new = False
            self._spawn(self._do(self._data.sync_tree, group))
        return tree

    async def _do(self, chore: Callable[..., object], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._chores, chore, *arguments)

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await self._do(self._flush)

    async def _empty_trash(self) -> None:
        try:
            await self._do(self._data.empty_trash, self._stopping)
        except StoreError as exc:
            _log.warning("what was cleared cannot be deleted yet: %s", exc)

    def _flush(self) -> None:
        for tree in self._data.trees():
            tree.times.flush()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
