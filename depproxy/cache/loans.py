"""A blob that another group has already: one file for both, by a hard link.

What is in a group's cache is no right to it, so the upstream has to say yes to this group first.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from depproxy.cache.flights import Flights
from depproxy.cache.source import Source
from depproxy.config import GroupConfig
from depproxy.errors import StoreError, UpstreamError
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir
from depproxy.store.inventory import key_of
from depproxy.store.tree import Tree


class Loans:
    """Links between the trees of groups that share an upstream."""

    def __init__(
        self, data: DataDir, groups: Callable[[], Mapping[str, GroupConfig]], notes: Executor
    ) -> None:
        """``groups`` tells those that are configured now."""
        self._data = data
        self._groups = groups
        self._notes = notes
        self._asking: Flights[bool] = Flights()

    async def borrow(self, source: Source, digest: Digest) -> bool:
        """Whether the blob is on disk now, since another group has it, and the upstream answers a
        HEAD of it, for this image and with this group's credentials, with the same length."""
        lenders = self._lenders(source, digest)
        if not lenders:
            return False
        task = self._asking.join(
            (source.registry, source.tree, source.repository, digest),
            lambda: self._link(source, digest, lenders),
        )
        return await self._asking.wait(task)

    async def stop(self) -> None:
        """Give up on what is being asked."""
        await self._asking.cancel()

    def _lenders(self, source: Source, digest: Digest) -> list[tuple[Tree, int]]:
        """Trees of other groups with the same upstream that hold the blob, and its bytes there."""
        key = key_of(digest)
        found = []
        for group in self._groups().values():
            if group.name == source.group.name or source.registry.name not in group.upstreams:
                continue
            tree = self._data.known_tree(GroupName(group.name))
            size = tree.holdings.size(key) if tree else 0
            if tree and size:
                found.append((tree, size))
        return found

    async def _link(self, source: Source, digest: Digest, lenders: list[tuple[Tree, int]]) -> bool:
        try:
            async with asyncio.timeout(source.registry.revalidate_timeout):
                told = await source.registry.ask_blob_size(source.repository.image, digest)
        except (UpstreamError, TimeoutError):
            return False  # an ordinary fill will tell why
        loop = asyncio.get_running_loop()
        for lender, size in lenders:
            if told != size:
                continue
            try:
                if await loop.run_in_executor(self._notes, source.tree.link, digest, lender):
                    return True
            except StoreError:
                continue
        return False
