"""Waiting for something to change, by any number of waiters."""

import asyncio


class Change:
    """Wakes everybody who waits, as often as it is told to. Lives on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Future[None] = self._loop.create_future()

    async def wait(self) -> None:
        """Until the next `notify`. Shielded: one who is cancelled must not cancel the others."""
        await asyncio.shield(self._next)

    def notify(self) -> None:
        done, self._next = self._next, self._loop.create_future()
        done.set_result(None)
