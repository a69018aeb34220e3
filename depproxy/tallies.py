"""Counts and distributions: plain numbers that the rooms keep of what they do.

They begin at 0 with the server and only grow. To add takes a fraction of a microsecond; nothing
here knows how they are shown.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate

Labels = tuple[str, ...]
"""What a number is about: a group and a reason, for example."""

Samples = Mapping[Labels, float]
"""Numbers of one kind, by what they are about."""

Tally = Counter[Labels]
"""How often something has happened. To be added to on one thread, and read on any."""

SUM = "sum"
"""Stands in the place of a bound for the sum of what was added."""

INFINITY = "+Inf"


class Distribution:
    """How values spread over ``bounds``, which ascend: how many are at most so large."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """One more value, in the unit of ``bounds``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: Labels = ()) -> dict[Labels, float]:
        """For each bound how many values were at most so large, and behind them the sum of all."""
        bounds = [*map(str, self._bounds), INFINITY]
        told: dict[Labels, float] = {
            (*labels, bound): count
            for bound, count in zip(bounds, accumulate(self._counts), strict=True)
        }
        told[*labels, SUM] = self._sum
        return told
