"""From hourly totals to bars: nothing is lost, and nothing is drawn outside of the chart."""

from hypothesis import given
from hypothesis import strategies as st

from depproxy.cache.meter import Counts
from depproxy.handlers.pages import chart

HOUR = 3600
NOW = 1_800_000_000.0 + 1234
THIS_HOUR = int(NOW) // HOUR * HOUR

numbers = st.integers(min_value=0, max_value=10**13)
counts = st.builds(Counts, numbers, numbers, numbers, numbers)
pasts = st.dictionaries(
    st.integers(min_value=0, max_value=30 * 24 - 1).map(lambda back: THIS_HOUR - back * HOUR),
    counts,
    max_size=40,
)


def test_each_period_has_as_many_bars_as_fit() -> None:
    for period in chart.PERIODS:
        found = chart.buckets({}, NOW, period)
        assert len(found) == period.hours // period.step
        assert found[-1].start + found[-1].seconds == THIS_HOUR + HOUR


def test_an_unknown_period_is_the_default_one() -> None:
    assert chart.period_named("30d").label == "30 days"
    assert chart.period_named("<script>").name == chart.DEFAULT_PERIOD


@given(pasts)
def test_the_longest_period_has_everything(past: dict[int, Counts]) -> None:
    found = chart.buckets(past, NOW, chart.period_named("30d"))
    total = chart.total(found)
    for name in ("hits", "misses", "served", "fetched"):
        told = sum(getattr(hour, name) for hour in past.values())
        assert getattr(total, name) == told


def test_what_lies_outside_of_a_period_is_left_out() -> None:
    period = chart.period_named("24h")
    past = {THIS_HOUR - 24 * HOUR: Counts(hits=1), THIS_HOUR + HOUR: Counts(hits=1)}
    assert chart.total(chart.buckets(past, NOW, period)).hits == 0
    past = {THIS_HOUR - 23 * HOUR: Counts(hits=1), THIS_HOUR: Counts(hits=2)}
    assert [bucket.counts.hits for bucket in chart.buckets(past, NOW, period)][0::23] == [1, 2]


@given(pasts)
def test_no_bar_leaves_its_chart(past: dict[int, Counts]) -> None:
    for period in chart.PERIODS:
        found = chart.buckets(past, NOW, period)
        for drawn in (chart.hit_rates(found), chart.volumes(found)):
            for bar in drawn.bars:
                assert bar.accent >= 0
                assert bar.rest >= 0
                assert bar.rest_top >= -0.02
                assert bar.x >= 0
                assert bar.x + bar.width <= chart.WIDTH


def test_a_bar_of_the_hit_rate_is_as_high_as_its_share() -> None:
    found = chart.buckets({THIS_HOUR: Counts(hits=3, misses=1)}, NOW, chart.period_named("24h"))
    [bar] = chart.hit_rates(found).bars
    assert (bar.accent, bar.rest) == (75.0, 25.0)
    assert bar.accent_top == 25.0
    assert bar.title.endswith("75 %: 3 of 4 answers")


def test_bytes_are_measured_by_a_round_number_that_is_large_enough() -> None:
    past = {THIS_HOUR: Counts(served=1_500, fetched=300)}
    drawn = chart.volumes(chart.buckets(past, NOW, chart.period_named("24h")))
    [bar] = drawn.bars
    assert drawn.limit == "2.0 kB"
    assert (bar.accent, bar.rest) == (60.0, 15.0)
    assert bar.title.endswith("1.2 kB saved, 300 B fetched")


def test_a_bar_says_which_time_it_is_of() -> None:
    hour = chart.Bucket(THIS_HOUR, HOUR, Counts())
    day = chart.Bucket(THIS_HOUR, 24 * HOUR, Counts())
    assert hour.label == "15 Jan, 08:00–09:00 UTC"
    assert day.label == "15 Jan 08:00 to 16 Jan 08:00 UTC"
