"""Work that is done once, however many wait for it, and that none of them owns."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from depproxy.errors import ShuttingDown

T = TypeVar("T")


class Flights(Generic[T]):
    """Running tasks by key. A waiter that is cancelled does not cancel the work."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    def find(self, key: Hashable) -> "asyncio.Task[T] | None":
        """The task that runs for ``key``. One that has ended is none, though `_landed` is due: who
        waited for it again would get the same result without ever yielding."""
        task = self._running.get(key)
        return None if task is None or task.done() else task

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        """Begin ``work``; others find it until it ends."""
        task = asyncio.ensure_future(work())
        self._running[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        """The task that runs for ``key``, started if there is none."""
        return self.find(key) or self.start(key, work)

    async def wait(self, task: "asyncio.Task[T]") -> T:
        """The work's result. Raises what it raised, and `ShuttingDown` where it was given up."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ShuttingDown from None
            raise

    async def cancel(self) -> None:
        """Give up on everything that runs: the server stops."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: perhaps nobody waits any more
