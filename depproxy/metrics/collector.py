"""The server's numbers as prometheus_client has them, read when somebody asks.

Nothing is kept here: a request that ends adds to plain numbers, and only a scrape pays for names,
labels and text.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from depproxy.metrics.disclosure import Disclosure
from depproxy.metrics.families import COUNTER, FAMILIES, GAUGE, Family
from depproxy.tallies import SUM, Labels, Samples

Readings = Mapping[str, Callable[[], Samples]]
"""A metric's name → its numbers now, by the values of its labels. May be called on any thread."""

NAMED = ("group", "upstream")
"""First labels whose values are names that may be private."""


class DepproxyCollector(Collector):
    """All of `FAMILIES`. ``disclosures`` has one for each label of `NAMED`; without any, all names
    are told."""

    def __init__(self, readings: Readings, disclosures: Mapping[str, Disclosure]) -> None:
        self._readings = readings
        self._disclosures = disclosures

    def collect(self) -> Iterable[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for family in FAMILIES:
            yield _metric(family, self._shown(family))

    def describe(self) -> Iterable[Metric]:
        """Without this, registering would read everything once to learn the names."""
        return [Metric(family.name, family.help, family.type) for family in FAMILIES]

    def growing(self, label: str) -> Mapping[str, Samples]:
        """All numbers that only grow and are about a name, by their metrics, untold names too."""
        return {
            family.name: self._readings[family.name]()
            for family in FAMILIES
            if family.is_growing and family.labels[:1] == (label,)
        }

    def _shown(self, family: Family) -> Samples:
        read = self._readings[family.name]
        disclosure = self._disclosures.get(family.labels[0]) if family.labels else None
        if disclosure is None:
            return read()
        with disclosure.unchanged:
            if family.is_growing:
                return disclosure.growing(family.name, read())
            return disclosure.current(read(), family.merged)


def _metric(family: Family, samples: Samples) -> Metric:
    if family.type == COUNTER:
        metric: Metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    elif family.type == GAUGE:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    else:
        return _histogram(family, samples)
    suffix = family.full_name
    for labels, value in samples.items():
        metric.add_sample(suffix, dict(zip(family.labels, labels, strict=True)), value)
    return metric


def _histogram(family: Family, samples: Samples) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    buckets: dict[Labels, list[tuple[str, float]]] = {}
    sums: dict[Labels, float] = {}
    for labels, value in samples.items():
        if labels[-1] == SUM:
            sums[labels[:-1]] = value
        else:
            buckets.setdefault(labels[:-1], []).append((labels[-1], value))
    for labels, counts in buckets.items():
        ascending = sorted(counts, key=lambda bucket: float(bucket[0]))
        metric.add_metric(labels, buckets=ascending, sum_value=sums[labels])
    return metric
