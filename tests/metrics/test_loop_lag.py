"""How late the event loop is, on a loop of the test's own making."""

import asyncio
from collections.abc import Callable

from depproxy.metrics.loop_lag import INTERVAL, LoopLag


class Loop:
    """Timers run when the test says so, and as late as it says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._real = asyncio.new_event_loop()

    def call_at(self, when: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((when, work))
        return asyncio.TimerHandle(when, work, (), self._real)

    def run_late(self, seconds: float) -> None:
        when, work = self.timers.pop()
        self.now = when + seconds
        work()

    def close(self) -> None:
        self._real.close()


def test_it_looks_again_and_again_and_keeps_how_late_it_was() -> None:
    loop = Loop()
    lag = LoopLag(lambda: loop.now, loop.call_at)
    lag.start()
    assert loop.timers[0][0] == 100.0 + INTERVAL
    for late in (0.0, 0.03, 0.3):
        loop.run_late(late)
    told = lag.samples()
    assert (told["0.001",], told["0.05",], told["0.25",], told["+Inf",]) == (1, 2, 2, 3)
    assert abs(told["sum",] - 0.33) < 1e-6
    lag.stop()
    loop.close()


def test_it_can_be_stopped_before_it_was_started() -> None:
    loop = Loop()
    LoopLag(lambda: loop.now, loop.call_at).stop()
    loop.close()
