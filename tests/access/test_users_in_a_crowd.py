"""Many passwords at once: what is hashed once, who waits, and who is sent away."""

import asyncio
from pathlib import Path

import pytest

from depproxy.access.attempts import FREE_FAILURES
from depproxy.access.users import MAX_WAITING, Users
from depproxy.errors import TooManyAttempts
from tests.access.fakes import (
    ALICES,
    ALICES_HASH,
    BOBS,
    Clock,
    HeldExecutor,
    InlineExecutor,
)

HERE = "192.0.2.1"
ELSEWHERE = "192.0.2.2"


async def is_right(users: Users, pool: HeldExecutor, user: str, password: str) -> bool:
    """The answer where one hash has to be made for it."""
    task = asyncio.create_task(users.is_right(user, password, HERE))
    work = await pool.held.get()
    assert not task.done()
    work()
    return await task


async def fail(users: Users, address: str) -> None:
    """As often as it costs nothing."""
    for number in range(FREE_FAILURES):
        assert not await users.is_right("alice", f"wrong {number}", address)


async def crowd(users: Users, address: str) -> None:
    """So many attempts from an address that the next one is sent away."""
    attempts = [asyncio.create_task(users.is_right("alice", f"w{n}", address)) for n in range(100)]
    await asyncio.wait(attempts, return_when=asyncio.FIRST_EXCEPTION)
    for attempt in attempts:
        attempt.cancel()
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert any(isinstance(result, TooManyAttempts) for result in results)
    with pytest.raises(TooManyAttempts):
        await users.is_right("bob", "never seen", address)


def test_the_same_pair_presented_at_once_is_hashed_once(file: Path, clock: Clock) -> None:
    async def present() -> None:
        pool = HeldExecutor()
        users = Users(file, pool, clock)
        pairs = [("alice", ALICES), ("alice", BOBS), ("mallory", ALICES)] * 5
        tasks = [
            asyncio.create_task(users.is_right(user, password, f"192.0.2.{number}"))
            for number, (user, password) in enumerate(pairs)
        ]
        works = [await pool.held.get() for _ in range(3)]
        assert pool.held.empty()
        for work in works:
            work()
        assert await asyncio.gather(*tasks) == [True, False, False] * 5

    asyncio.run(present())


def test_who_leaves_does_not_take_the_others_answer_along(file: Path, clock: Clock) -> None:
    async def present() -> None:
        pool = HeldExecutor()
        users = Users(file, pool, clock)
        first, second = (
            asyncio.create_task(users.is_right("alice", ALICES, HERE)) for _ in range(2)
        )
        work = await pool.held.get()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work()
        assert await second

    asyncio.run(present())


def test_when_too_many_wait_the_next_is_sent_away(file: Path, clock: Clock) -> None:
    """Not who was right a moment ago, nor who presents what is being hashed already."""

    async def present() -> None:
        pool = HeldExecutor()
        users = Users(file, pool, clock)
        assert await is_right(users, pool, "bob", BOBS)
        tasks = [
            asyncio.create_task(users.is_right(f"user {n}", "wrong", f"192.0.2.{n}"))
            for n in range(MAX_WAITING)
        ]
        works = [await pool.held.get() for _ in range(MAX_WAITING)]
        with pytest.raises(TooManyAttempts) as caught:
            await users.is_right("alice", ALICES, HERE)
        assert caught.value.retry_after > 0
        assert await users.is_right("bob", BOBS, HERE)
        tasks.append(asyncio.create_task(users.is_right("user 0", "wrong", ELSEWHERE)))
        for _ in range(3):
            await asyncio.sleep(0)  # so that it joins before the work is done
        assert pool.held.empty()
        for work in works:
            work()
        assert await asyncio.gather(*tasks) == [False] * (MAX_WAITING + 1)
        assert await is_right(users, pool, "alice", ALICES)

    asyncio.run(present())


def test_who_fails_is_slowed_and_sent_away_at_his_address_only(file: Path, clock: Clock) -> None:
    async def present() -> None:
        users = Users(file, InlineExecutor(), clock)
        await fail(users, HERE)
        await crowd(users, HERE)
        assert await users.is_right("bob", BOBS, ELSEWHERE)

    asyncio.run(present())


def test_a_pair_that_was_right_before_is_not_slowed(file: Path, clock: Clock) -> None:
    """Whoever shares his address with a guesser can go on with his work."""

    async def present() -> None:
        pool = InlineExecutor()
        users = Users(file, pool, clock)
        assert await users.is_right("alice", ALICES, HERE)
        await fail(users, HERE)
        await crowd(users, HERE)
        assert await users.is_right("alice", ALICES, HERE)
        clock.now += 61
        await crowd(users, HERE)
        pool.hashes.clear()
        assert await users.is_right("alice", ALICES, HERE)
        assert pool.hashes == [ALICES_HASH]

    asyncio.run(present())
