"""Hearing on the event loop of what happens on another thread."""

import asyncio
import threading

import pytest

from depproxy.cache import change
from depproxy.cache.change import Pace


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval that no test waits for."""
    monkeypatch.setattr(change, "NEWS_AFTER", 3600.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "NEWS_AFTER", 0.0)


def on_a_thread(tells: int, pace: Pace) -> None:
    """Tell so many times, and be done with it."""

    def tell() -> None:
        for _ in range(tells):
            pace.tell()

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()


async def heard(tells: int) -> int:
    """How often it was heard of, when it has been once."""
    once, count = asyncio.Event(), 0

    def hear() -> None:
        nonlocal count
        count += 1
        once.set()

    on_a_thread(tells, Pace(hear))
    await once.wait()
    return count


@pytest.mark.usefixtures("long")
def test_the_first_news_are_heard_at_once() -> None:
    assert asyncio.run(heard(1)) == 1


@pytest.mark.usefixtures("long")
def test_what_happens_many_times_is_heard_of_once() -> None:
    assert asyncio.run(heard(1000)) == 1


@pytest.mark.usefixtures("short")
def test_what_happens_within_the_interval_is_heard_of_after_it() -> None:
    async def run() -> None:
        heard: asyncio.Queue[None] = asyncio.Queue()
        pace = Pace(lambda: heard.put_nowait(None))
        for _ in range(3):
            pace.tell()
            await heard.get()
        assert heard.empty()

    asyncio.run(run())


@pytest.mark.usefixtures("short")
def test_no_news_are_lost_however_they_fall() -> None:
    """The last one is always heard of: the counter that is read then has all of them."""

    async def run() -> None:
        total, seen = 20_000, 0
        done = asyncio.Event()
        counted = [0]

        def hear() -> None:
            nonlocal seen
            seen = counted[0]
            if seen == total:
                done.set()

        pace = Pace(hear)

        def work() -> None:
            for _ in range(total):
                counted[0] += 1
                pace.tell()

        thread = threading.Thread(target=work)
        thread.start()
        await done.wait()
        thread.join()

    asyncio.run(run())
