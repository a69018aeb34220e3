"""Blobs: from disk, or from the fill that is bringing them."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from depproxy.cache.far_range import FAR, FarRange
from depproxy.cache.fill import Fill, State
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.errors import BlobUnknown, StoreError, UpstreamError
from depproxy.oci.digest import Digest
from depproxy.oci.ranges import ByteRange
from depproxy.store.blobs import OpenBlob, SealBroken
from depproxy.store.tree import Tree


class BlobStream(Protocol):
    """A blob that can be read while it may still be growing. Close it."""

    status: CacheStatus
    size: int | None
    """Bytes; None where nobody knows before the end."""

    async def readable_to(self, offset: int) -> int:
        """Wait until there are bytes behind ``offset``; returns where they end, ``offset`` itself
        at the end of the blob. Raises `UpstreamError` or `StoreError` where it won't come whole."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes, not beyond what `readable_to` told. Raises `StoreError`."""
        ...

    def close(self) -> None: ...


class _Stored:
    """A blob on disk."""

    status = CacheStatus.HIT

    def __init__(self, blob: OpenBlob) -> None:
        self.size: int | None = blob.size
        self._end = blob.size
        self.read = blob.read
        self.close = blob.close

    async def readable_to(self, offset: int) -> int:
        return max(offset, self._end)


class _Following:
    """A blob that is on its way."""

    def __init__(self, fill: Fill, status: CacheStatus) -> None:
        self.status = status
        self.size: int | None = None
        self._fill = fill
        self._open = True
        fill.hold()
        self.readable_to = fill.readable_to
        self.read = fill.read

    async def wait_for_size(self) -> None:
        self.size = await self._fill.size()

    def is_far(self, start: int) -> bool:
        """Whether the fill is a long way from an offset."""
        return start - self._fill.written > FAR

    def close(self) -> None:
        if self._open:
            self._open = False
            self._fill.release()


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
        self, disk: Executor, hashing: Executor, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._disk = disk
        self._hashing = hashing
        self._pause = pause
        self._running: dict[tuple[Tree, Digest], _Running] = {}

    async def open(self, source: Source, digest: Digest) -> BlobStream:
        """The blob from disk, or from a fill that is joined or begun.

        Raises `BlobUnknown`, `NameUnknown`, `UpstreamError`, `StoreError`.
        """
        while True:
            stored = await self._stored(source, digest)
            if stored:
                return _Stored(stored)
            running = self._running.get((source.tree, digest))
            status = _joining(running)
            running = running or self._start(source, digest)
            stream = _Following(running.fill, status)
            try:
                await stream.wait_for_size()
                return stream
            except UpstreamError as exc:
                stream.close()
                if not running.source.concerns(exc, source):
                    continue
                raise source.told(exc, BlobUnknown) from exc
            except BaseException:
                stream.close()
                raise

    async def open_range(
        self, source: Source, digest: Digest, stream: BlobStream, asked: ByteRange
    ) -> BlobStream:
        """The stream to read a range from: ``stream`` itself, unless that is a fill that will not
        get there soon. The one that is not returned is closed."""
        if not isinstance(stream, _Following) or not stream.is_far(asked.start) or not stream.size:
            return stream
        fetch = partial(source.registry.fetch_range, source.repository.image, digest)
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
        storing = [r.task for r in self._running.values() if r.fill.state is State.VERIFIED]
        if storing:
            await asyncio.wait(storing, timeout=patience)
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stored(self, source: Source, digest: Digest) -> OpenBlob | None:
        blobs = source.tree.blobs
        try:
            return blobs.open(digest)
        except SealBroken:
            loop = asyncio.get_running_loop()
            blob = await loop.run_in_executor(self._hashing, blobs.recheck, digest)
            if blob is None:
                source.tree.census.remove(digest)
            return blob

    def _start(self, source: Source, digest: Digest) -> _Running:
        registry, image = source.registry, source.repository.image
        fill = Fill(
            source.tree.begin(digest),
            fetch=partial(registry.fetch_blob, image, digest),
            measure=partial(registry.ask_blob_size, image, digest),
            upstream=registry.name,
            disk=self._disk,
            hashing=self._hashing,
            pause=self._pause,
            verified=partial(source.tree.census.add_blob, digest),
        )
        task = asyncio.get_running_loop().create_task(self._run(fill, source, digest))
        running = self._running[source.tree, digest] = _Running(fill, source, task)
        return running

    async def _run(self, fill: Fill, source: Source, digest: Digest) -> None:
        try:
            await fill.run()
            if fill.state is not State.STORED:
                source.tree.census.remove(digest)
        finally:
            del self._running[source.tree, digest]


def _joining(running: _Running | None) -> CacheStatus:
    """How a request is answered that finds this fill, or none. One that only has to be synced is as
    good as a hit: its bytes are on disk, and nothing more is asked of the upstream."""
    if running is None:
        return CacheStatus.STORED
    return CacheStatus.HIT if running.fill.state is State.VERIFIED else CacheStatus.COLLAPSED
