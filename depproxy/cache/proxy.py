"""The façade that handlers see: groups, what is in them, and clearing them."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from depproxy.cache.blobs import Blobs
from depproxy.cache.catalogue import Catalogue
from depproxy.cache.image_policy import check_image
from depproxy.cache.listings import Listings
from depproxy.cache.manifests import Manifests
from depproxy.cache.meter import Meter
from depproxy.cache.purges import Purges
from depproxy.cache.source import Source
from depproxy.cache.trees import Trees
from depproxy.cache.upstream_choice import DOCKER_HUB, UpstreamNames
from depproxy.config import GroupConfig
from depproxy.errors import GroupUnknown, NoMirror
from depproxy.oci.names import GroupName
from depproxy.store.repository import Repository
from depproxy.upstream.registries import Registries
from depproxy.upstream.registry import Registry

LEAST_FREE = 16 * 1024 * 1024
"""Bytes below which a disk counts as full: manifests and pointers need some, layers more."""

_NAMES_KEPT = 1024
"""Names whose meaning is not found out again, which takes 5 µs; each has some 500 bytes."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a name means in a group, which serves it."""

    repository: Repository
    registry: Registry


class DependencyProxy:
    """All groups of this server. Its parts are public: ``manifests``, ``blobs``, ``listings``,
    ``purges``, ``catalogue`` and ``meter``."""

    def __init__(
        self,
        groups: Mapping[str, GroupConfig],
        mirror: GroupName | None,
        names: UpstreamNames,
        registries: Registries,
        trees: Trees,
        *,
        manifests: Manifests,
        blobs: Blobs,
        listings: Listings,
        purges: Purges,
        catalogue: Catalogue,
        meter: Meter,
    ) -> None:
        self.manifests = manifests
        self.blobs = blobs
        self.listings = listings
        self.purges = purges
        self.catalogue = catalogue
        self.meter = meter
        self._groups = groups
        self._mirror = mirror
        self._names = names
        self._registries = registries
        self._trees = trees
        self._choose_kept = lru_cache(_NAMES_KEPT)(self._choose)

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
        return self._source(group, self._chosen(group, name, ns, own_hosts, None))

    def mirrored(self, name: str, ns: str | None, own_hosts: Collection[str]) -> Source:
        """The image that ``name`` means on a path without a group: in the mirror's group, and of
        Docker Hub where nothing else is said.

        Raises as `source` does, and `NoMirror` where no group is mirrored.
        """
        if self._mirror is None:
            raise NoMirror
        group = self.group(self._mirror)
        return self._source(group, self._chosen(group, name, ns, own_hosts, DOCKER_HUB))

    def repository(self, group: GroupConfig, name: str) -> Repository:
        """Which image of a group's cache ``name`` means, if only one that the group no longer has
        the upstream of. Raises `NameInvalid`."""
        choice = self._names.choose_stored(group, name)
        return Repository(choice.upstream, choice.image)

    def _source(self, group: GroupConfig, chosen: "_Chosen") -> Source:
        return Source(group, self._trees.get(group.name), chosen.registry, chosen.repository)

    def _chosen(
        self,
        group: GroupConfig,
        name: str,
        ns: str | None,
        own_hosts: Collection[str],
        default: str | None,
    ) -> "_Chosen":
        if ns:
            return self._choose(group.name, name, default, ns, own_hosts)
        return self._choose_kept(group.name, name, default)

    def _choose(
        self,
        group_name: GroupName,
        name: str,
        default: str | None,
        ns: str | None = None,
        own_hosts: Collection[str] = (),
    ) -> "_Chosen":
        group = self._groups[group_name]
        choice = self._names.choose(group, name, ns, own_hosts, default)
        check_image(group, choice, self._names.hosts(choice.upstream))
        registry = self._registries.get(group, choice.upstream)
        return _Chosen(Repository(choice.upstream, choice.image), registry)

    def upstream_named(self, host: str) -> str | None:
        """The upstream of which ``host`` is the name or an alias."""
        return self._names.owner(host)

    def why_degraded(self) -> str | None:
        """Why misses cannot be stored now; None if they can."""
        return self._trees.data.why_degraded(LEAST_FREE)

    def is_readable(self) -> bool:
        """Whether hits can be served."""
        return self._trees.data.is_readable()

    async def stop(self, patience: float) -> None:
        """Store what is about to be stored, at most for ``patience`` seconds, and drop the rest."""
        await asyncio.gather(self.manifests.stop(), self.listings.stop())
        await self.blobs.finish(patience)
