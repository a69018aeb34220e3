"""Hourly totals as two bar charts: the hit rate, and bytes. Pure: coordinates, no drawing.

Charts are stretched to the width of the page, so there are no letters in them; those stand around.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from depproxy import readable
from depproxy.cache.meter import Counts

WIDTH = 600.0
HEIGHT = 100.0
"""Units of a chart's own coordinates."""

_HOUR = 3600
_GAP = 0.18
"""Of a bar's place, what is left empty."""


@dataclass(frozen=True, slots=True)
class Period:
    """``hours`` in all, and how many of them make a bar."""

    name: str
    label: str
    hours: int
    step: int


PERIODS = (
    Period("24h", "24 hours", 24, 1),
    Period("7d", "7 days", 7 * 24, 6),
    Period("30d", "30 days", 30 * 24, 24),
)
DEFAULT_PERIOD = "7d"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from ``start`` (since 1970) for ``seconds``."""

    start: int
    seconds: int
    counts: Counts

    @property
    def label(self) -> str:
        """``3 Nov, 06:00–12:00 UTC``."""
        begin = datetime.fromtimestamp(self.start, UTC)
        end = datetime.fromtimestamp(self.start + self.seconds, UTC)
        if self.seconds >= 86400:
            return f"{begin.day} {begin:%b %H:%M} to {end.day} {end:%b %H:%M} UTC"
        return f"{begin.day} {begin:%b}, {begin:%H:%M}–{end:%H:%M} UTC"

    @property
    def rate(self) -> str | None:
        return readable.share(self.counts.hits, self.counts.misses)


@dataclass(frozen=True, slots=True)
class Bar:
    """``rest`` stands on ``accent``, which is what a chart is about; both are heights in the
    chart's coordinates. ``title`` says it in words."""

    x: float
    width: float
    accent: float
    rest: float
    title: str

    @property
    def accent_top(self) -> float:
        return round(HEIGHT - self.accent, 2)

    @property
    def rest_top(self) -> float:
        return round(HEIGHT - self.accent - self.rest, 2)


@dataclass(frozen=True, slots=True)
class Chart:
    """``limit`` is what the upper edge stands for, in words."""

    bars: list[Bar]
    limit: str


def period_named(name: str) -> Period:
    """The default one, where there is none of this name."""
    known = {period.name: period for period in PERIODS}
    return known.get(name, known[DEFAULT_PERIOD])


def buckets(hours: Mapping[int, Counts], now: float, period: Period) -> list[Bucket]:
    """The period's bars, empty ones too; the last one ends with the hour that is not over yet."""
    end = int(now) // _HOUR * _HOUR + _HOUR
    length = period.step * _HOUR
    starts = range(end - period.hours * _HOUR, end, length)
    summed = {start: Counts() for start in starts}
    for hour, counts in hours.items():
        if starts.start <= hour < end:
            into = summed[hour - (hour - starts.start) % length]
            into.hits += counts.hits
            into.misses += counts.misses
            into.served += counts.served
            into.fetched += counts.fetched
    return [Bucket(start, length, counts) for start, counts in summed.items()]


def total(found: Sequence[Bucket]) -> Counts:
    """All buckets together."""
    return Counts(
        sum(bucket.counts.hits for bucket in found),
        sum(bucket.counts.misses for bucket in found),
        sum(bucket.counts.served for bucket in found),
        sum(bucket.counts.fetched for bucket in found),
    )


def hit_rates(found: Sequence[Bucket]) -> Chart:
    """Bars up to 100 %; none where nothing was asked for."""
    bars = []
    for number, bucket in enumerate(found):
        hits, asked = bucket.counts.hits, bucket.counts.hits + bucket.counts.misses
        if asked:
            words = f"{bucket.rate}: {readable.number(hits)} of {readable.counted(asked, 'answer')}"
            bars.append(_bar(found, number, hits / asked, 1 - hits / asked, words))
    return Chart(bars, "100 %")


def volumes(found: Sequence[Bucket]) -> Chart:
    """Bytes that came from upstreams, on those that were saved."""
    limit = _round_above(max((_volume(bucket) for bucket in found), default=0))
    bars = []
    for number, bucket in enumerate(found):
        saved, fetched = bucket.counts.saved, bucket.counts.fetched
        if saved + fetched:
            words = f"{readable.size(saved)} saved, {readable.size(fetched)} fetched"
            bars.append(_bar(found, number, saved / limit, fetched / limit, words))
    return Chart(bars, readable.size(limit))


def _volume(bucket: Bucket) -> int:
    return bucket.counts.saved + bucket.counts.fetched


def _bar(found: Sequence[Bucket], number: int, accent: float, rest: float, words: str) -> Bar:
    place = WIDTH / len(found)
    return Bar(
        round(number * place + place * _GAP / 2, 2),
        round(place * (1 - _GAP), 2),
        round(accent * HEIGHT, 2),
        round(rest * HEIGHT, 2),
        f"{found[number].label}: {words}",
    )


def _round_above(value: int) -> int:
    """The next number of one digit and zeros that is easily halved: what a scale ends with."""
    limit = 1
    while limit < value:
        limit *= 10
    for part in (2, 3, 4, 5, 6, 8):
        if limit >= 10 and limit // 10 * part >= value:
            limit = limit // 10 * part
            break
    return limit
