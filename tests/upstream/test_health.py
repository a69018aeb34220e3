"""A failing upstream: how long it is left alone, who probes, and what a limit forbids."""

import pytest

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamSenseless,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.upstream.health import Health, RateLimit

DOWN = UpstreamUnreachable("u", "down")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Health:
    monkeypatch.setattr("depproxy.upstream.health.FIRST_PAUSE", 10.0)
    return Health("u", clock)


def test_a_healthy_upstream_is_asked(health: Health) -> None:
    assert health.reason_not_to_ask() is None


@pytest.mark.parametrize(
    ("error", "fails"),
    [
        (DOWN, True),
        (UpstreamTimeout("u", "slow"), True),
        (UpstreamFailed("u", "503", 503), True),
        (UpstreamLimited("u", "429"), True),
        (UpstreamNotFound("u", "404"), False),
        (UpstreamRefused("u", "401"), False),
        (UpstreamSenseless("u", "portal"), False),
    ],
)
def test_only_what_says_that_it_is_not_well_makes_it_fail(
    health: Health, error: UpstreamError, fails: bool
) -> None:
    health.failed(error)
    assert (health.reason_not_to_ask() is error) == fails


def test_after_the_pause_one_request_probes_for_all(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    clock.now += 9.9
    assert health.reason_not_to_ask() is DOWN
    clock.now += 0.2
    assert health.reason_not_to_ask() is None
    assert health.reason_not_to_ask() is DOWN


def test_the_pause_doubles_to_two_minutes_while_probes_fail(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    for pause in (10, 20, 40, 80, 120, 120):
        clock.now += pause - 0.1
        assert health.reason_not_to_ask() is DOWN
        clock.now += 0.2
        assert health.reason_not_to_ask() is None
        health.failed(DOWN)


def test_failures_within_a_pause_do_not_make_it_longer(health: Health, clock: Clock) -> None:
    for _ in range(50):
        health.failed(DOWN)
    clock.now += 10.1
    assert health.reason_not_to_ask() is None


def test_an_answer_ends_the_failing_at_once(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    health.succeeded()
    assert health.reason_not_to_ask() is None
    health.failed(DOWN)
    clock.now += 10.1
    assert health.reason_not_to_ask() is None


def test_a_probe_that_is_never_heard_of_again_is_replaced(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    clock.now += 11
    assert health.reason_not_to_ask() is None
    clock.now += 61
    assert health.reason_not_to_ask() is None


def test_retry_after_is_obeyed_by_everybody_and_lengthens_the_pause(
    health: Health, clock: Clock
) -> None:
    health.failed(UpstreamLimited("u", "429", 300))
    clock.now += 200
    assert health.reason_not_to_ask() is not None
    with pytest.raises(UpstreamLimited) as caught:
        health.check_limit()
    assert caught.value.retry_after == 100
    clock.now += 101
    health.check_limit()
    assert health.reason_not_to_ask() is None


def test_a_limit_without_retry_after_forbids_nothing(health: Health) -> None:
    health.failed(UpstreamLimited("u", "429"))
    health.check_limit()


@pytest.mark.parametrize(
    ("limit", "remaining", "read"),
    [
        ("100;w=21600", "76;w=21600", RateLimit(100, 76, 21600)),
        ("100", "0", RateLimit(100, 0, None)),
        (None, "76", None),
        ("many", "76", None),
    ],
)
def test_the_remaining_rate_is_read(
    health: Health, limit: str | None, remaining: str | None, read: RateLimit | None
) -> None:
    health.note_rate_limit(limit, remaining)
    assert health.rate_limit == read


def test_the_last_rate_that_was_told_is_kept(health: Health) -> None:
    health.note_rate_limit("100", "76")
    health.note_rate_limit(None, None)
    assert health.rate_limit == RateLimit(100, 76, None)
