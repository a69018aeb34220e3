"""Blobs: from disk, or from the fill that is bringing them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from depproxy.cache.blob_stream import BlobStream, Following, Leave, Stored, followed
from depproxy.cache.events import Events
from depproxy.cache.far_range import FarRange
from depproxy.cache.fill import Fill, State
from depproxy.cache.in_use import InUse
from depproxy.cache.loans import Loans
from depproxy.cache.meter import Meter
from depproxy.cache.naming import image_name
from depproxy.cache.progress import Progress
from depproxy.cache.room import Room
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.cache.transfer import Inflow, Transfer
from depproxy.config import GroupConfig
from depproxy.errors import BlobUnknown, StoreError, StoreFull, UpstreamError
from depproxy.oci.digest import Digest
from depproxy.oci.ranges import ByteRange
from depproxy.store.blobs import OpenBlob, SealBroken
from depproxy.store.remembered import MAX_SMALL
from depproxy.store.tree import Tree

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlobHead:
    """``size`` in bytes; None where the upstream does not tell."""

    size: int | None
    status: CacheStatus


@dataclass(frozen=True, slots=True)
class _Running:
    fill: Fill
    source: Source
    task: "asyncio.Task[None]"


class Blobs:
    """All blobs of all groups, and the fills under way: one for each blob of a generation."""

    def __init__(
        self,
        disk: Executor,
        hashing: Executor,
        pause: Callable[[float], Awaitable[None]],
        in_use: InUse,
        room: Room,
        loans: Loans,
        meter: Meter,
        events: Events,
        wall_clock: Callable[[], float],
    ) -> None:
        self._disk = disk
        self._hashing = hashing
        self._pause = pause
        self._in_use = in_use
        self._room = room
        self._loans = loans
        self._meter = meter
        self._events = events
        self._now = wall_clock
        self._running: dict[tuple[Tree, Digest], _Running] = {}

    def small(self, source: Source, digest: Digest) -> bytes | None:
        """A blob on disk that has few bytes; None where it has many, or has to be looked at more
        closely. No file is opened for it, and nobody has to be kept from taking it away."""
        blobs = source.tree.blobs
        try:
            body = blobs.read_whole(digest, MAX_SMALL)
        except SealBroken:
            return None
        if body is not None:
            blobs.note_use(digest, self._now())
        return body

    def head_at_hand(self, source: Source, digest: Digest) -> BlobHead | None:
        """As `head`, of a blob on disk; None where something has to be waited for."""
        try:
            size = source.tree.blobs.size(digest)
        except SealBroken:
            return None
        return None if size is None else BlobHead(size, CacheStatus.HIT)

    async def open(self, source: Source, digest: Digest) -> BlobStream:
        """The blob from disk, or from a fill that is joined or begun.

        Raises `BlobUnknown`, `NameUnknown`, `UpstreamError`, `StoreError`.
        """
        leave = partial(self._left, source, digest)
        self._in_use.enter(source.tree, digest)  # from now on nobody takes it away
        try:
            stream = await self._open(source, digest, leave)
        except BaseException:
            leave(None)
            raise
        source.tree.blobs.note_use(digest, self._now())
        return stream

    async def _open(self, source: Source, digest: Digest, leave: Leave) -> BlobStream:
        has_borrowed = has_sought_room = False
        key = (source.tree, digest)
        while True:
            stored = await self._stored(source, digest)
            if stored:
                return Stored(stored, leave)
            if not has_borrowed and key not in self._running:
                has_borrowed = True
                if await self._loans.borrow(source, digest) or source.tree.blobs.is_there(digest):
                    continue  # lent, or brought by another one meanwhile
            running = self._running.get(key)
            status = _joining(running)
            fill: Fill | None = None
            try:
                running = running or self._start(source, digest)
                fill = running.fill
                return await followed(fill, status, leave)
            except StoreFull:
                wanted = fill.told_size if fill else None
                if has_sought_room or not await self._room.seek(wanted or 0):
                    raise
                has_sought_room = True
            except UpstreamError as exc:
                if running is None or running.source.concerns(exc, source):
                    raise source.told(exc, BlobUnknown) from exc

    def _left(self, source: Source, digest: Digest, size: int | None) -> None:
        """Somebody is done with a blob. One that is larger than the group may be went through for
        those who wanted it, and goes with the last of them."""
        self._in_use.leave(source.tree, digest)
        self._drop_if_oversized(source, digest, size)

    def _drop_if_oversized(self, source: Source, digest: Digest, size: int | None) -> None:
        limit = source.group.max_size
        is_used = self._in_use.is_used(source.tree, digest)
        if not is_used and size is not None and limit is not None and size > limit:
            self._disk.submit(source.tree.remove_blob, digest)

    async def open_range(
        self, source: Source, digest: Digest, stream: BlobStream, asked: ByteRange
    ) -> BlobStream:
        """The stream to read a range from: ``stream`` itself, unless that is a fill that will not
        get there soon. The one that is not returned is closed."""
        if not isinstance(stream, Following) or not stream.is_far(asked.start) or not stream.size:
            return stream
        fetch = self._metered(
            source, partial(source.registry.fetch_range, source.repository.image, digest)
        )
        try:
            spool = source.tree.spool()
            far = FarRange(spool, asked, stream.size, source.registry.name, fetch)
        except StoreError:
            return stream
        try:
            await far.wait_for_head()
        except (UpstreamError, StoreError):
            far.close()  # whoever cannot send a range may still send the whole
            return stream
        stream.close()
        return far

    def progress(self, group: GroupConfig) -> list[Progress]:
        """The group's fills that are under way, the oldest first."""
        return [
            Progress(
                image_name(group, running.source.repository),
                digest,
                running.fill.state.value,
                running.fill.written,
                running.fill.told_size or running.fill.known_size,
            )
            for (_, digest), running in self._running.items()
            if running.source.group.name == group.name
        ]

    def running(self) -> dict[tuple[str, ...], int]:
        """How many fills are under way, by group. May be called from any thread."""
        return Counter((running.source.group.name,) for running in list(self._running.values()))

    async def head(self, source: Source, digest: Digest) -> BlobHead:
        """What a GET would find, at the cost of no download.

        Raises `BlobUnknown`, `NameUnknown`, `UpstreamError`.
        """
        stored = await self._stored(source, digest)
        if stored:
            with stored:
                return BlobHead(stored.size, CacheStatus.HIT)
        running = self._running.get((source.tree, digest))
        if running and running.fill.known_size is not None:
            return BlobHead(running.fill.known_size, CacheStatus.COLLAPSED)
        try:
            size = await source.registry.ask_blob_size(source.repository.image, digest)
        except UpstreamError as exc:
            raise source.told(exc, BlobUnknown) from exc
        return BlobHead(size, CacheStatus.MISS)

    async def finish(self, patience: float) -> None:
        """Wait ``patience`` seconds for fills that only have to be stored; give up on the rest."""
        await self._loans.stop()
        await self._room.stop()
        storing = [r.task for r in self._running.values() if r.fill.state is State.VERIFIED]
        if storing:
            await asyncio.wait(storing, timeout=patience)
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for running in self._running.values():
            running.fill.give_up()  # was cancelled before its first step

    async def _stored(self, source: Source, digest: Digest) -> OpenBlob | None:
        blobs = source.tree.blobs
        try:
            return blobs.open(digest)
        except SealBroken:
            loop = asyncio.get_running_loop()
            blob = await loop.run_in_executor(self._hashing, blobs.recheck, digest)
            if blob is None:
                source.tree.look_again(digest)
            return blob

    def _start(self, source: Source, digest: Digest) -> _Running:
        registry, image = source.registry, source.repository.image
        transfer = Transfer(
            source.tree.begin(digest),
            fetch=self._metered(source, partial(registry.fetch_blob, image, digest)),
            upstream=registry.name,
            pause=self._pause,
        )
        fill = Fill(
            transfer,
            measure=partial(registry.ask_blob_size, image, digest),
            disk=self._disk,
            hashing=self._hashing,
            verified=partial(source.tree.holdings.add_blob, digest),
            resumed=partial(self._events.resumed, source.group.name),
        )
        task = asyncio.get_running_loop().create_task(self._run(fill, source, digest))
        running = self._running[source.tree, digest] = _Running(fill, source, task)
        return running

    async def _run(self, fill: Fill, source: Source, digest: Digest) -> None:
        self._in_use.begin_write(source.tree, digest)
        try:
            self._room.seek_soon()
            await fill.run()
            # Stored: a count that began before it had its name may have missed it. Not stored: it
            # may have come by another way.
            source.tree.look_again(digest)
        finally:
            self._events.filled(source.group.name, fill.state.value, fill.error)
            del self._running[source.tree, digest]
            self._in_use.end_write(source.tree, digest)
            self._drop_if_oversized(source, digest, fill.known_size)

    def _metered(
        self, source: Source, fetch: Callable[[T, Inflow], Awaitable[None]]
    ) -> Callable[[T, Inflow], Awaitable[None]]:
        """``fetch``, with what it brings counted for the group."""
        count = partial(self._meter.fetched, source.group.name)
        return lambda what, inflow: fetch(what, _Metered(inflow, count))


class _Metered:
    """An inflow whose bytes are counted."""

    def __init__(self, inflow: Inflow, count: Callable[[int], None]) -> None:
        self._inflow = inflow
        self._count = count
        self.begin = inflow.begin

    def write(self, data: memoryview, /) -> None:
        self._count(len(data))
        self._inflow.write(data)


def _joining(running: _Running | None) -> CacheStatus:
    """How a request is answered that finds this fill, or none. One that only has to be synced is as
    good as a hit: its bytes are on disk, and nothing more is asked of the upstream."""
    if running is None:
        return CacheStatus.STORED
    return CacheStatus.HIT if running.fill.state is State.VERIFIED else CacheStatus.COLLAPSED
