"""How late the event loop is: what every request waits before anything is done for it."""

import asyncio
from collections.abc import Callable

from depproxy.tallies import Distribution, Samples

INTERVAL = 0.25
"""Seconds between two looks: four wake-ups a second are not felt, and a pause that clients feel
lasts longer."""

BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""


class LoopLag:
    """Measures from `start` to `stop`. ``clock`` and ``call_at`` are the event loop's."""

    def __init__(
        self,
        clock: Callable[[], float],
        call_at: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        self._clock = clock
        self._call_at = call_at
        self._lags = Distribution(BOUNDS)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look again, `INTERVAL` from now."""
        self._due = self._clock() + INTERVAL
        self._timer = self._call_at(self._due, self._look)

    def stop(self) -> None:
        """Look no more; it need not have been started."""
        if self._timer:
            self._timer.cancel()

    def samples(self) -> Samples:
        """Seconds; see `Distribution.samples`."""
        return self._lags.samples()

    def _look(self) -> None:
        self._lags.add(max(0.0, self._clock() - self._due))
        self.start()
