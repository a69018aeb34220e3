"""The bytes of a blob on their way from the upstream into a partial file, in as many tries as it
takes.

A try that breaks is followed by another one, after a pause, for the rest. Where the upstream cannot
send that, it sends the whole again, and what comes again is compared with what is on disk.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from depproxy.cache.change import Pace
from depproxy.errors import (
    ContentMismatch,
    UpstreamCannotResume,
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamSenseless,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.store.partial import DifferentBytes, Partial

_log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each new try; as many tries without progress end the transfer."""

LONGEST_WAIT = 30.0
"""Seconds of ``Retry-After`` in the middle of a transfer that are waited for: its clients wait,
and proxies in between lose patience after a minute."""

_PASSING = (502, 503, 504)
"""Answers after which a new try may find the upstream well again."""


class Inflow(Protocol):
    """Where one try's bytes go; called on the thread that receives them."""

    def begin(self, start: int, size: int | None) -> None:
        """What follows begins at offset ``start`` of a blob of ``size`` bytes, None: unknown."""

    def write(self, data: memoryview, /) -> None:
        """The next bytes. What is raised ends the try."""


Fetch = Callable[[int, Inflow], Awaitable[None]]
"""Bring the blob from an offset on (0: the whole) into an inflow. Raises `UpstreamError`."""


class Listener(Protocol):
    """Hears on the event loop how a transfer gets on."""

    def began(self, size: int | None) -> None:
        """The upstream has begun to send, in this try, a blob of ``size`` bytes; None: unknown."""

    def grew(self) -> None:
        """More bytes are on disk. May come a moment after the last one, too."""

    def broke(self) -> None:
        """A try has come to nothing; a new one is due."""


class Transfer:
    """One blob's bytes. Lives on the event loop."""

    def __init__(
        self,
        partial: Partial,
        *,
        fetch: Fetch,
        upstream: str,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        """``pause`` waits for so many seconds."""
        self.partial = partial
        self.upstream = upstream
        self._fetch = fetch
        self._pause = pause
        self._can_resume = True

    async def run(self, listener: Listener) -> None:
        """Until all bytes are on disk, right or wrong. Raises `UpstreamError` and `StoreError`."""
        tries = 0
        while True:
            before = self.partial.written
            try:
                await self._one_try(listener)
                return
            except UpstreamError as exc:
                if not self._may_try_again(exc):
                    raise
                if self.partial.written > before:
                    tries = 0
                if tries == len(PAUSES):
                    raise
                _log.info("%s (%d bytes so far; trying again)", exc, self.partial.written)
                pause = max(PAUSES[tries], _asked_for(exc))
            listener.broke()
            await self._pause(pause)
            tries += 1

    async def _one_try(self, listener: Listener) -> None:
        start = self.partial.written if self._can_resume else 0
        inflow = _OneTry(self.partial, self.upstream, listener)
        try:
            await self._fetch(start, inflow)
        except UpstreamCannotResume:
            self._can_resume = False
            raise
        except DifferentBytes as exc:
            raise ContentMismatch(
                self.upstream, "it sends the same blob with other bytes than before"
            ) from exc
        finally:
            inflow.close()
        if self.partial.size is not None and self.partial.written < self.partial.size:
            raise UpstreamUnreachable(self.upstream, "the transfer ended before the blob did")

    def _may_try_again(self, error: UpstreamError) -> bool:
        if _asked_for(error) > LONGEST_WAIT:
            return False
        if self.partial.written and isinstance(error, UpstreamFailed | UpstreamLimited):
            return True  # it sent the beginning: this will pass
        if isinstance(error, UpstreamFailed):
            return error.status in _PASSING
        return isinstance(error, UpstreamUnreachable | UpstreamTimeout | UpstreamCannotResume)


def _asked_for(error: UpstreamError) -> float:
    """The seconds that the upstream wants to be left alone."""
    return float((isinstance(error, UpstreamLimited) and error.retry_after) or 0)


class _OneTry:
    """The inflow of one try, on the thread that receives; deaf once the try is over."""

    def __init__(self, partial: Partial, upstream: str, listener: Listener) -> None:
        self._partial = partial
        self._upstream = upstream
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._growth = Pace(listener.grew)
        self._position, self._closed = 0, False

    def begin(self, start: int, size: int | None) -> None:
        self._raise_if_closed()
        known = self._partial.size
        if known is None and size is not None:
            self._partial.reserve(size)
        elif size is not None and size != known and start:
            raise UpstreamCannotResume(self._upstream, "it tells another size than before")
        elif size is not None and size != known:
            raise UpstreamSenseless(
                self._upstream, f"it gives the blob {size} bytes, before it had {known}"
            )
        self._position = start
        self._loop.call_soon_threadsafe(self._report_began, size)

    def write(self, data: memoryview, /) -> None:
        self._raise_if_closed()
        self._partial.write(self._position, data)
        self._position += len(data)
        self._growth.tell()

    def close(self) -> None:
        self._closed = True

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise UpstreamUnreachable(self._upstream, "the transfer was given up")

    def _report_began(self, size: int | None) -> None:
        if not self._closed:
            self._listener.began(size)
