"""Waiting for something to change, by any number of waiters, and hearing of it from a thread."""

import asyncio
import threading
from collections.abc import Callable

NEWS_AFTER = 0.01
"""Seconds from one look at what another thread did to the next. Waking up the event loop, followers
and the thread that hashes for each piece of a fill cost 1 s of CPU time more a GiB at 150 MB/s, and
0.1 s at full speed."""


class Change:
    """Wakes everybody who waits, as often as it is told to. Lives on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Future[None] = self._loop.create_future()

    async def wait(self) -> None:
        """Until the next `notify`. Shielded: one who is cancelled must not cancel the others."""
        await asyncio.shield(self._next)

    def notify(self) -> None:
        """Wake those who wait by now."""
        done, self._next = self._next, self._loop.create_future()
        done.set_result(None)


class Pace:
    """Hears on the event loop of what happens on another thread: of the first time at once, of what
    follows after `NEWS_AFTER`, however often it happened."""

    def __init__(self, hear: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._hear = hear
        self._has_news = False
        self._is_awake = False

    def tell(self) -> None:
        """It happened. Called on the other thread."""
        with self._lock:
            self._has_news = True
            if self._is_awake:
                return
            self._is_awake = True
        self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        with self._lock:
            self._is_awake, self._has_news = self._has_news, False
            if not self._is_awake:
                return
        self._hear()
        self._loop.call_later(NEWS_AFTER, self._look)
