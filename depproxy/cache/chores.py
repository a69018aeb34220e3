"""Work beside the requests: on threads of its own, and given up when the server stops."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Chores:
    """Begins chores on the event loop, and does them on ``pool``. ``stop`` is set when it is time
    to give up."""

    def __init__(self, pool: Executor) -> None:
        self.stop = threading.Event()
        self._pool = pool
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, chore: Callable[[threading.Event], object]) -> None:
        """Do this when a thread is free; nobody waits for it."""
        self.spawn(self._run(chore))

    async def do(self, chore: Callable[..., T], *arguments: object) -> T:
        """Do this on a thread, and wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, chore, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run this until it ends, is cancelled, or until `end`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def attempt(self, work: Awaitable[object]) -> None:
        """Wait for this; what goes wrong is only logged, so that what is regular goes on."""
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - the next time it may go well
            self._log(exc)

    async def _run(self, chore: Callable[[threading.Event], object]) -> None:
        await self.do(chore, self.stop)

    async def end(self) -> None:
        """Give up on everything."""
        self.stop.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._log(error)

    def _log(self, error: BaseException) -> None:
        _log.error("work in the background failed", exc_info=error)
