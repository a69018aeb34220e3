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
from tests.clock import Clock

DOWN = UpstreamUnreachable("u", "down")


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


def test_an_answer_to_what_was_asked_before_a_limit_does_not_end_it(
    health: Health, clock: Clock
) -> None:
    """As the end of a large blob, minutes later."""
    health.failed(UpstreamLimited("u", "429", 300))
    clock.now += 299
    health.succeeded()
    assert health.state == "limited"
    with pytest.raises(UpstreamLimited):
        health.check_limit()


def test_a_probe_that_is_told_no_leaves_probing_to_the_next(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    clock.now += 11
    assert health.reason_not_to_ask() is None
    assert health.reason_not_to_ask() is DOWN
    health.failed(UpstreamRefused("u", "401"))
    assert health.reason_not_to_ask() is None
    assert health.reason_not_to_ask() is DOWN


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


LIMITED = UpstreamLimited("u", "429", 300)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "reachable"),
        (DOWN, "failing"),
        (UpstreamTimeout("u", "slow"), "failing"),
        (UpstreamFailed("u", "503", 503), "failing"),
        (LIMITED, "limited"),
        (UpstreamLimited("u", "429"), "limited"),
        (UpstreamNotFound("u", "404"), "reachable"),
        (UpstreamRefused("u", "401"), "reachable"),
        (UpstreamSenseless("u", "portal"), "reachable"),
    ],
)
def test_the_state_says_whether_it_answers_and_whether_it_asks_to_be_spared(
    health: Health, error: UpstreamError | None, state: str
) -> None:
    if error:
        health.failed(error)
    assert health.state == state
    assert (health.failing_for() is None) == (state == "reachable")


@pytest.mark.parametrize("error", [DOWN, LIMITED])
def test_an_answer_makes_it_reachable_again(
    health: Health, clock: Clock, error: UpstreamError
) -> None:
    health.failed(error)
    clock.now += 300
    health.succeeded()
    assert (health.state, health.failing_for(), health.last_error) == ("reachable", None, None)


def test_it_is_failing_since_the_first_of_the_failures_that_go_on(
    health: Health, clock: Clock
) -> None:
    health.failed(DOWN)
    assert health.failing_for() == 0
    for error in (UpstreamFailed("u", "503", 503), LIMITED, DOWN):
        clock.now += 20
        health.failed(error)
    assert health.failing_for() == 60
    assert health.last_error is DOWN


def test_the_state_is_of_the_last_failure(health: Health, clock: Clock) -> None:
    for error, state in ((LIMITED, "limited"), (DOWN, "failing"), (LIMITED, "limited")):
        clock.now += 500
        health.failed(error)
        assert health.state == state


def test_a_refusal_ends_no_failing_and_begins_none(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    clock.now += 30
    health.failed(UpstreamRefused("u", "401"))
    assert (health.state, health.failing_for()) == ("failing", 30)
    health.succeeded()
    health.failed(UpstreamNotFound("u", "404"))
    assert (health.state, health.failing_for()) == ("reachable", None)


def test_failing_that_began_anew_is_counted_anew(health: Health, clock: Clock) -> None:
    health.failed(DOWN)
    clock.now += 100
    health.succeeded()
    clock.now += 100
    health.failed(DOWN)
    clock.now += 5
    assert health.failing_for() == 5


def test_to_be_left_alone_is_still_to_be_failing(health: Health, clock: Clock) -> None:
    """The end of the pause says nothing; only an answer does."""
    health.failed(DOWN)
    clock.now += 1000
    assert health.reason_not_to_ask() is None
    assert (health.state, health.failing_for()) == ("failing", 1000)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (DOWN, "check the network"),
        (UpstreamTimeout("u", "slow"), "its timeouts say"),
        (UpstreamFailed("u", "503", 503), "its operators"),
        (UpstreamLimited("u", "429"), "a user with a higher limit"),
    ],
)
def test_the_log_says_once_that_it_fails_and_what_to_do_and_once_that_it_is_over(
    health: Health,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: UpstreamError,
    advice: str,
) -> None:
    for _ in range(3):
        health.failed(error)
    clock.now += 34
    for _ in range(3):
        health.succeeded()
    [failing, over] = caplog.records
    assert (failing.levelname, over.levelname) == ("WARNING", "INFO")
    assert failing.getMessage().startswith(f"{error}; what is cached is served meanwhile: ")
    assert advice in failing.getMessage()
    assert over.getMessage() == "u answers again, after 34 s"
