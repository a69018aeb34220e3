"""What a group holds and how it does, for people: usage, and the list of what is cached."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any

from depproxy.cache.meter import Counts, Meter
from depproxy.cache.naming import image_name
from depproxy.cache.trees import Trees
from depproxy.config import GroupConfig
from depproxy.oci.contents import contents_of, platform_of_config
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MAX_MANIFEST
from depproxy.oci.names import Tag
from depproxy.store.blobs import SealBroken
from depproxy.store.holdings import Totals
from depproxy.store.inventory import Reference
from depproxy.store.tree import Tree
from depproxy.upstream.health import RateLimit
from depproxy.upstream.registries import Registries

_MAX_CONFIG = 4 * 1024 * 1024
"""Bytes of an image's config that is looked at for its platform."""


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """``state`` is ``reachable``, ``failing`` or ``limited``; ``failing_for`` in seconds."""

    name: str
    state: str
    reason: str | None
    failing_for: float | None
    rate_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything about a group that is a number or a state."""

    totals: Totals
    counts: Counts
    since: float
    upstreams: list[UpstreamState]


@dataclass(frozen=True, slots=True)
class Variant:
    """A platform's manifest in an index; ``size`` is what of it is on disk, in bytes."""

    platform: str
    digest: Digest
    size: int
    is_cached: bool


@dataclass(frozen=True, slots=True)
class CachedImage:
    """A reference that is on disk. Times in seconds since the epoch, ``size`` in bytes: all that
    the reference leads to."""

    image: str
    reference: Tag | Digest
    digest: Digest
    media_type: str
    platforms: list[str]
    variants: list[Variant]
    size: int
    cached: float
    pulled: float | None
    checked: float | None
    is_gone: bool


@dataclass(frozen=True, slots=True)
class ImageCount:
    """``references`` are tags, and digests that were pulled by themselves."""

    images: int
    references: int


@dataclass(frozen=True, slots=True)
class Page:
    """``items`` of page ``number``; ``total`` counts those of all pages."""

    items: list[CachedImage]
    total: int
    number: int
    size: int

    @property
    def pages(self) -> int:
        return math.ceil(self.total / self.size)


@dataclass(slots=True)
class _Row:
    """A reference, and what of it has to be looked up: only where it is wanted."""

    tree: Tree
    root: Reference
    image: str

    @property
    def name(self) -> tuple[str, str]:
        return self.image, str(self.root.reference)

    def has(self, words: str) -> bool:
        """Whether a search finds it: by its name, or by the beginning of its digest."""
        if words in f"{self.image}:{self.root.reference}".lower():
            return True
        return self.digest.startswith(words) or self.digest.hex.startswith(words)

    @property
    def digest(self) -> Digest:
        return self.root.descriptor.digest

    def size(self) -> int:
        return self.tree.holdings.size_of(self.digest)

    def pulled(self) -> float:
        return self.tree.times.last_pulled(self.root, self.tree.holdings.reach(self.digest))

    def checked(self) -> float | None:
        reference = self.root.reference
        if isinstance(reference, Digest):
            return None
        return self.tree.times.checked(self.root.repository, reference)


_ORDERS: Mapping[str, Callable[[_Row], Any]] = {
    "image": lambda row: row.name,
    "reference": lambda row: str(row.root.reference),
    "digest": lambda row: row.digest,
    "bytes": _Row.size,
    "cached": lambda row: row.root.cached,
    "last_pulled": _Row.pulled,
    "last_checked": lambda row: row.checked() or 0.0,
}
ORDERS = tuple(_ORDERS)
"""What a list can be sorted by."""


class Catalogue:
    """Answers questions about groups; changes nothing."""

    def __init__(self, trees: Trees, registries: Registries, meter: Meter, pool: Executor) -> None:
        self._trees = trees
        self._registries = registries
        self._meter = meter
        self._pool = pool

    def usage(self, group: GroupConfig) -> Usage:
        """From memory, at once."""
        counts = self._meter.counts(group.name)
        totals = self._trees.recounted(group.name).holdings.totals()
        return Usage(
            replace(totals, exact=self._trees.are_exact),
            counts.total,
            counts.since,
            [self._upstream(group, name) for name in group.upstreams],
        )

    async def count(self, group: GroupConfig) -> ImageCount:
        """How many images are cached, and how many references of them."""
        tree = self._trees.recounted(group.name)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _count, tree)

    async def images(
        self, group: GroupConfig, *, search: str, order: str, number: int, size: int
    ) -> Page:
        """One page of what is cached. ``search`` is looked for in names and digests; ``order`` is
        one of `ORDERS`, with a hyphen before it downwards."""
        tree = self._trees.recounted(group.name)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._page, group, tree, search, order, number, size
        )

    def _page(
        self, group: GroupConfig, tree: Tree, search: str, order: str, number: int, size: int
    ) -> Page:
        wanted = search.lower()
        rows = [
            row
            for root in tree.holdings.roots()
            if (row := _Row(tree, root, image_name(group, root.repository))).has(wanted)
        ]
        rows.sort(key=_ORDERS["image"])
        rows.sort(key=_ORDERS[order.removeprefix("-")], reverse=order.startswith("-"))
        first = (number - 1) * size
        items = [_described(row) for row in rows[first : first + size]]
        return Page(items, len(rows), number, size)

    def _upstream(self, group: GroupConfig, name: str) -> UpstreamState:
        health = self._registries.get(group, name).health
        return UpstreamState(
            name,
            health.state,
            str(health.last_error) if health.last_error else None,
            health.failing_for(),
            health.rate_limit,
        )


def _count(tree: Tree) -> ImageCount:
    references = Counter(root.repository for root in tree.holdings.roots())
    return ImageCount(len(references), references.total())


def _described(row: _Row) -> CachedImage:
    tree, root = row.tree, row.root
    contents = contents_of(_read(tree, row.digest, MAX_MANIFEST))
    variants = []
    for variant in contents.variants:
        size = tree.holdings.size_of(variant.digest)
        variants.append(Variant(variant.platform, variant.digest, size, size > 0))
    platforms = [v.platform for v in variants if v.is_cached and v.platform]
    if contents.config:
        platforms = [platform_of_config(_read(tree, contents.config, _MAX_CONFIG))]
    return CachedImage(
        row.image,
        root.reference,
        row.digest,
        root.descriptor.media_type,
        list(dict.fromkeys(filter(None, platforms))),
        variants,
        row.size(),
        root.cached,
        row.pulled(),
        row.checked(),
        root.is_gone,
    )


def _read(tree: Tree, digest: Digest, limit: int) -> bytes:
    """A small blob; nothing where it is not there, or altered."""
    try:
        blob = tree.blobs.open(digest)
    except SealBroken:
        return b""
    if blob is None:
        return b""
    with blob:
        return blob.read(0, blob.size) if blob.size <= limit else b""


def policies(group: GroupConfig) -> dict[str, object]:
    """What the configuration says of a group, but for names of users and passwords. Durations in
    seconds, sizes in bytes."""
    hidden = ("name", "readers", "owners", "credentials")
    return {
        field.name: getattr(group, field.name)
        for field in fields(group)
        if field.name not in hidden
    }
