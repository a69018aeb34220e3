"""What the server is told by signals."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class Signals:
    """SIGTERM and SIGINT end the server, a second one of them at once; SIGHUP is waited for. To be
    made on the event loop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """Set when the server is to end."""
        self._hangup = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    async def on_hangup(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Act on each SIGHUP, one after the other, for ever; several that come meanwhile count as
        one."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            acting = asyncio.create_task(act())
            await asyncio.wait({acting})
            if error := acting.exception():
                _log.error("SIGHUP: it could not be acted on", exc_info=error)

    def _end(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            _log.warning("%s again: ended at once", number.name)
            os._exit(128 + number)  # nothing is waited for; a crash does no harm, nor does this
        self.stop.set()
