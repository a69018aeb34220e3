"""A blob as its reader sees it, wherever its bytes come from."""

from collections.abc import Callable
from typing import Protocol

from depproxy.cache.far_range import FAR
from depproxy.cache.fill import Fill
from depproxy.cache.status import CacheStatus
from depproxy.store.blobs import OpenBlob


class BlobStream(Protocol):
    """A blob that can be read while it may still be growing. Close it."""

    status: CacheStatus
    size: int | None
    """Bytes; None where nobody knows before the end."""
    fd: int | None
    """An open file with the same offsets, for the kernel to send from; None where there is none."""

    async def readable_to(self, offset: int) -> int:
        """Wait until there are bytes behind ``offset``; returns where they end, ``offset`` itself
        at the end of the blob. Raises `UpstreamError` or `StoreError` where it won't come whole."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes, not beyond what `readable_to` told. Raises `StoreError`."""
        ...

    def close(self) -> None: ...


Leave = Callable[[int | None], None]
"""Told when a reader ends, with the blob's size in bytes, if it is known."""


class Stored:
    """A blob on disk."""

    status = CacheStatus.HIT

    def __init__(self, blob: OpenBlob, leave: Leave) -> None:
        self.size: int | None = blob.size
        self._blob = blob
        self._end = blob.size
        self._leave: Leave | None = leave
        self.fd: int | None = blob.fd
        self.read = blob.read

    async def readable_to(self, offset: int) -> int:
        return max(offset, self._end)

    def close(self) -> None:
        self._blob.close()
        if self._leave:
            leave, self._leave = self._leave, None
            leave(self._end)


class Following:
    """A blob that its fill is bringing."""

    def __init__(self, fill: Fill, size: int | None, status: CacheStatus, leave: Leave) -> None:
        """``fill`` is held already."""
        self.status = status
        self.size = size
        self._fill = fill
        self._leave: Leave | None = leave
        self.readable_to = fill.readable_to
        self.fd: int | None = fill.fd
        self.read = fill.read

    def is_far(self, start: int) -> bool:
        """Whether the fill is a long way from an offset."""
        return start - self._fill.written > FAR

    def close(self) -> None:
        if self._leave:
            leave, self._leave = self._leave, None
            self._fill.release()
            leave(self._fill.known_size)


async def followed(fill: Fill, status: CacheStatus, leave: Leave) -> Following:
    """A fill as its reader sees it, as soon as headers may be sent. Raises why it failed."""
    fill.hold()
    try:
        size = await fill.size()
    except BaseException:
        fill.release()
        raise
    return Following(fill, size, status, leave)
