"""Work that is done once for all who wait."""

import asyncio

import pytest

from depproxy.cache.flights import Flights
from depproxy.errors import ShuttingDown


def test_who_comes_meanwhile_joins_and_who_comes_later_begins_anew() -> None:
    async def scenario() -> tuple[bool, bool]:
        flights: Flights[int] = Flights()
        gate = asyncio.Event()

        async def work() -> int:
            await gate.wait()
            return 1

        first = flights.join("key", work)
        joined = flights.join("key", work) is first
        gate.set()
        await flights.wait(first)
        return joined, flights.join("key", work) is first

    assert asyncio.run(scenario()) == (True, False)


def test_a_task_that_has_ended_is_not_found_before_it_is_removed() -> None:
    """Else one who goes on by himself would find the same failure again and again."""

    async def scenario() -> list[bool]:
        flights: Flights[int] = Flights()
        found: list[bool] = []

        async def work() -> int:
            asyncio.get_running_loop().call_soon(lambda: found.append(bool(flights.find("key"))))
            return 1

        await flights.wait(flights.start("key", work))
        await asyncio.sleep(0)
        return found

    assert asyncio.run(scenario()) == [False]


def test_a_waiter_that_leaves_does_not_stop_the_work() -> None:
    async def scenario() -> int:
        flights: Flights[int] = Flights()
        gate = asyncio.Event()

        async def work() -> int:
            await gate.wait()
            return 1

        task = flights.start("key", work)
        waiter = asyncio.create_task(flights.wait(task))
        await asyncio.sleep(0)
        waiter.cancel()
        gate.set()
        return await flights.wait(task)

    assert asyncio.run(scenario()) == 1


def test_waiters_of_work_that_is_given_up_are_told_so() -> None:
    async def scenario() -> None:
        flights: Flights[int] = Flights()

        async def work() -> int:
            await asyncio.Event().wait()
            return 1

        waiter = asyncio.create_task(flights.wait(flights.start("key", work)))
        await asyncio.sleep(0)
        await flights.cancel()
        await waiter

    with pytest.raises(ShuttingDown):
        asyncio.run(scenario())
