"""Numbers and times as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy import readable


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567_890, "1.2 GB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10**15, "1.0 PB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_a_size_has_one_decimal_and_a_unit_of_a_thousand(count: int, shown: str) -> None:
    assert readable.size(count) == shown


@given(st.integers(min_value=0, max_value=10**15))
def test_no_size_below_the_largest_unit_has_more_than_three_digits(count: int) -> None:
    assert float(readable.size(count).split(" ")[0]) < 1000


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (50 * 2**30, "50 GiB"),
        (2**40, "1 TiB"),
        (1536 * 2**20, "1536 MiB"),
        (5 * 10**8, "500.0 MB"),
        (0, "0 B"),
    ],
)
def test_a_configured_size_is_shown_as_it_was_written(count: int, shown: str) -> None:
    assert readable.limit(count) == shown


def test_large_numbers_are_grouped_and_one_has_no_plural() -> None:
    assert readable.number(1234567) == "1,234,567"
    assert readable.counted(1, "image") == "1 image"
    assert readable.counted(0, "image") == "0 images"


@pytest.mark.parametrize(
    ("part", "rest", "shown"),
    [
        (0, 0, None),
        (0, 5, "0 %"),
        (1, 999, "<1 %"),
        (1, 1, "50 %"),
        (999, 1, "99 %"),
        (5, 0, "100 %"),
    ],
)
def test_only_all_is_a_hundred_percent_and_only_nothing_is_none(
    part: int, rest: int, shown: str | None
) -> None:
    assert readable.share(part, rest) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (0, "just now"),
        (-3600, "just now"),
        (12, "12 seconds ago"),
        (60, "1 minute ago"),
        (3 * 3600 + 1800, "3 hours ago"),
        (86400, "1 day ago"),
        (15 * 86400, "2 weeks ago"),
        (400 * 86400, "1 year ago"),
    ],
)
def test_a_moment_is_relative_to_now(ago: float, shown: str) -> None:
    assert readable.moment(1_800_000_000 - ago, 1_800_000_000).relative == shown


def test_a_moment_is_exact_too_in_utc() -> None:
    moment = readable.moment(1_800_000_000.9, 1_800_000_000)
    assert moment.iso == "2027-01-15T08:00:00Z"
    assert moment.exact == "2027-01-15 08:00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (90 * 86400, "90 days"),
        (5400, "90 minutes"),
        (86400, "1 day"),
        (0.5, "0.5 seconds"),
        (1, "1 second"),
    ],
)
def test_a_configured_duration_is_exact(seconds: float, shown: str) -> None:
    assert readable.duration(seconds) == shown


def test_a_span_is_rounded_down() -> None:
    assert readable.span(0.2) == "0 seconds"
    assert readable.span(7199) == "1 hour"
