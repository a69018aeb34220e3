"""What clients have asked for, counted when an answer has ended."""

from collections import Counter

from depproxy.tallies import Distribution, Samples

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""Seconds: a hit takes one or two milliseconds, a question to an upstream some hundred, and a large
blob as long as its client takes it."""

_CACHE = {
    "": "none",
    "hit": "hit",
    "fwd=miss; stored": "stored",
    "fwd=miss; collapsed": "collapsed",
    "fwd=miss": "miss",
}
"""``Cache-Status`` → label. What has none is no manifest and no blob, or an error."""


class Requests:
    """Answers by group, kind, cache status and code, and how long they took by kind.

    A group's name is noted only where the configuration has the group, and who asks may know of it;
    so names that strangers make up are not kept.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str, int]] = Counter()
        self._durations: dict[str, Distribution] = {}

    def note(self, group: str, kind: str, cache: str, code: int, seconds: float) -> None:
        """An answer has ended. ``cache`` is its ``Cache-Status`` without our name."""
        self._counts[group, kind, cache, code] += 1
        durations = self._durations.get(kind)
        if durations is None:
            durations = self._durations[kind] = Distribution(BOUNDS)
        durations.add(seconds)

    def counts(self) -> Samples:
        """By group, kind, cache status and code."""
        return {
            (group, kind, _CACHE[cache], str(code)): count
            for (group, kind, cache, code), count in dict(self._counts).items()
        }

    def durations(self) -> Samples:
        """By kind."""
        told: dict[tuple[str, ...], float] = {}
        for kind, distribution in dict(self._durations).items():
            told |= distribution.samples((kind,))
        return told
