"""Wrong passwords: how long an address waits for its next attempt, and that it gets one."""

from contextlib import suppress

import pytest

from depproxy.access.attempts import (
    FIRST_PAUSE,
    FORGET_AFTER,
    FREE_FAILURES,
    LONGEST_PAUSE,
    LONGEST_WAIT,
    MAX_ADDRESSES,
    Attempts,
)
from depproxy.errors import TooManyAttempts
from tests.access.fakes import Clock

ADDRESS = "192.0.2.1"


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(clock)


def fail(attempts: Attempts, times: int, address: str = ADDRESS) -> None:
    for _ in range(times):
        attempts.failed(address)


def crowd(attempts: Attempts, address: str = ADDRESS) -> list[float]:
    """The waits of attempts that come all at once, until one is refused."""
    waits: list[float] = []
    with suppress(TooManyAttempts):
        while True:
            waits.append(attempts.take_turn(address))
    return waits


def test_who_never_failed_does_not_wait(attempts: Attempts) -> None:
    assert [attempts.take_turn(ADDRESS) for _ in range(1000)] == [0.0] * 1000


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(1, 0), (4, 0), (5, 0.25), (6, 0.5), (7, 1), (8, 2), (9, 2), (20, 2), (2000, 2)],
)
def test_the_first_failures_cost_nothing_and_then_the_pause_doubles_up_to_a_limit(
    attempts: Attempts, failures: int, pause: float
) -> None:
    fail(attempts, failures)
    assert attempts.take_turn(ADDRESS) == pause


def test_who_let_the_pause_pass_does_not_wait(attempts: Attempts, clock: Clock) -> None:
    fail(attempts, 100)
    clock.now += LONGEST_PAUSE
    assert attempts.take_turn(ADDRESS) == 0


def test_attempts_at_once_get_their_turns_one_after_another(attempts: Attempts) -> None:
    fail(attempts, FREE_FAILURES)
    waits = [attempts.take_turn(ADDRESS) for _ in range(4)]
    assert waits == [FIRST_PAUSE * n for n in (1, 2, 3, 4)]


def test_who_would_wait_for_longer_than_a_client_is_sent_away(attempts: Attempts) -> None:
    fail(attempts, 20)
    assert max(crowd(attempts)) == LONGEST_WAIT
    with pytest.raises(TooManyAttempts) as caught:
        attempts.take_turn(ADDRESS)
    assert caught.value.retry_after == LONGEST_WAIT


def test_who_is_sent_away_makes_the_queue_no_longer(attempts: Attempts, clock: Clock) -> None:
    fail(attempts, 20)
    crowd(attempts)
    for _ in range(1000):
        with pytest.raises(TooManyAttempts):
            attempts.take_turn(ADDRESS)
    clock.now += LONGEST_PAUSE
    assert attempts.take_turn(ADDRESS) == LONGEST_WAIT


def test_nobody_is_locked_out_however_many_attempts_fail(attempts: Attempts, clock: Clock) -> None:
    for _ in range(500):
        clock.now += attempts.take_turn(ADDRESS)
        attempts.failed(ADDRESS)
    assert attempts.take_turn(ADDRESS) <= LONGEST_PAUSE


def test_other_addresses_do_not_wait(attempts: Attempts) -> None:
    fail(attempts, 100)
    crowd(attempts)
    for other in ("192.0.2.2", "192.0.2.10", "2001:db8::1", ""):
        assert attempts.take_turn(other) == 0


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:DB8:0:1::1", "2001:db8:0:1::1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("not:an:address", "not:an:address", True),
        ("not:an:address", "nor:this:one", False),
        ("", "", True),
    ],
)
def test_addresses_are_one_where_one_person_has_them_all(
    attempts: Attempts, first: str, second: str, is_one: bool
) -> None:
    """Of IPv6 that is a network of 64 bits; an IPv4 address written as IPv6 is still one."""
    fail(attempts, 100, first)
    assert (attempts.take_turn(second) > 0) == is_one


def test_an_address_is_forgotten_after_some_minutes_without_a_failure(
    attempts: Attempts, clock: Clock
) -> None:
    fail(attempts, 100)
    clock.now += FORGET_AFTER
    fail(attempts, 1)
    assert attempts.take_turn(ADDRESS) == LONGEST_PAUSE
    clock.now += FORGET_AFTER + 1
    fail(attempts, FREE_FAILURES - 1)
    assert attempts.take_turn(ADDRESS) == 0


def test_of_too_many_addresses_the_one_that_failed_longest_ago_is_forgotten(
    attempts: Attempts,
) -> None:
    fail(attempts, 100, "first")
    fail(attempts, 100, "second")
    for number in range(MAX_ADDRESSES - 2):
        attempts.failed(f"other {number}")
    attempts.failed("first")
    attempts.failed("one more")
    assert attempts.take_turn("first") > 0
    assert attempts.take_turn("second") == 0
