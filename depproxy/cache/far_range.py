"""A range far ahead of its fill, passed through at once.

Lazy pullers (eStargz, SOCI) read a layer's footer first, and then a few files of it; they verify by
themselves. Their ranges are fetched as they are, unverified, and kept nowhere: bytes are spooled
through a file without a name, so that a slow client holds no memory.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from depproxy.cache.change import Change
from depproxy.cache.status import CacheStatus
from depproxy.cache.transfer import Inflow
from depproxy.errors import DepproxyError, UpstreamSenseless, UpstreamUnreachable
from depproxy.oci.ranges import ByteRange
from depproxy.store.spool import Spool

_log = logging.getLogger(__name__)

FAR = 64 * 1024 * 1024
"""Bytes that a range must begin ahead of what a fill has: nearer ones are worth waiting for."""

FetchRange = Callable[[ByteRange, Inflow], Awaitable[None]]
"""Bring just these bytes into an inflow. Raises `UpstreamError`."""


class FarRange:
    """One client's range on its way; a `BlobStream`. It ends with its client."""

    status = CacheStatus.MISS
    fd: int | None = None

    def __init__(
        self, spool: Spool, asked: ByteRange, size: int, upstream: str, fetch: FetchRange
    ) -> None:
        self.size: int | None = size
        self._spool = spool
        self._asked = asked
        self._upstream = upstream
        self._end = asked.start
        self._begun = False
        self._error: DepproxyError | None = None
        self._change = Change()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(fetch))

    async def wait_for_head(self) -> None:
        """Until the upstream sends the range. Raises `UpstreamError` where it does not."""
        while not self._begun:
            self._raise_error()
            await self._change.wait()

    async def readable_to(self, offset: int) -> int:
        """See `BlobStream`; offsets are the blob's."""
        while self._end <= offset and not self._task.done():
            self._raise_error()
            await self._change.wait()
        self._raise_error()
        return max(offset, self._end)

    def read(self, offset: int, length: int) -> bytes:
        """See `BlobStream`; offsets are the blob's. Raises `StoreError`."""
        return self._spool.read(offset - self._asked.start, min(length, self._end - offset))

    def close(self) -> None:
        """Ask for no more; what came is gone."""
        self._task.cancel()
        self._task.add_done_callback(lambda _: self._spool.close())

    def begin(self, start: int, size: int | None) -> None:
        """See `Inflow`."""
        self._spool.reserve(self._asked.end - self._asked.start)
        self._loop.call_soon_threadsafe(self._note, start, True)

    def write(self, data: memoryview, /) -> None:
        """See `Inflow`."""
        if self._asked.start + self._spool.size + len(data) > self._asked.end:
            raise UpstreamSenseless(
                self._upstream, "it sends more than the range that it announced"
            )
        self._spool.append(data)
        self._loop.call_soon_threadsafe(self._note, self._asked.start + self._spool.size, True)

    def _note(self, end: int, begun: bool) -> None:
        self._end, self._begun = end, begun
        self._change.notify()

    async def _run(self, fetch: FetchRange) -> None:
        try:
            await fetch(self._asked, self)
            if self._asked.start + self._spool.size < self._asked.end:
                raise UpstreamUnreachable(self._upstream, "the transfer ended before the range did")
        except DepproxyError as exc:
            self._error = exc
        except Exception as exc:  # noqa: BLE001 - its client must not wait for ever
            _log.exception("a range of a blob ended unexpectedly")
            self._error = UpstreamUnreachable(
                self._upstream, f"the transfer ended unexpectedly: {exc}"
            )
        finally:
            self._loop.call_soon(self._change.notify)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
