"""Which names metrics tell, and how what is not told is summed: pure, but for a lock.

On an address that everybody may ask, the names of private groups are not told, nor those of groups
that are gone. A reload may make a group private, public, or take it away; what was counted for it
until then stays in the sum under which it was told, or goes into `REMOVED`, so that no number ever
becomes smaller.
"""

import threading
from collections.abc import Callable, Iterable, Mapping

from depproxy.tallies import Labels, Samples

PRIVATE = "(private)"
"""All private groups, and all upstreams that only private groups have."""

REMOVED = "(removed)"
"""What was counted for names that have been told and no longer are."""

_SUMS = (PRIVATE, REMOVED)


class Disclosure:
    """How names are told now, and what was counted while they were told otherwise."""

    def __init__(self) -> None:
        self.unchanged = threading.RLock()
        """Held from reading numbers to telling them: a reload between would count some twice."""
        self._told: Mapping[str, str] = {}
        self._before: dict[str, dict[Labels, float]] = {}
        self._past: dict[str, dict[Labels, float]] = {}

    def change(self, told: Mapping[str, str], growing: Mapping[str, Samples]) -> None:
        """From now on each name is told as ``told`` has it. ``growing`` are all numbers that only
        grow, by their metrics: of names that were told otherwise, they begin anew."""
        with self.unchanged:
            for metric, samples in growing.items():
                self._settle(metric, samples, told)
            self._told = told

    def growing(self, metric: str, samples: Samples) -> Samples:
        """Numbers that only grow, as they are told; the first label is the name."""
        with self.unchanged:
            shown = dict(self._past.get(metric, {}))
            before = self._before.get(metric, {})
            for labels, value in samples.items():
                label = (self._label(labels[0]), *labels[1:])
                shown[label] = shown.get(label, 0) + value - before.get(labels, 0)
            return shown

    def current(self, samples: Samples, merged: Callable[[Iterable[float]], float]) -> Samples:
        """Numbers that are about now, as they are told."""
        with self.unchanged:
            groups: dict[Labels, list[float]] = {}
            for labels, value in samples.items():
                groups.setdefault((self._label(labels[0]), *labels[1:]), []).append(value)
            return {labels: merged(values) for labels, values in groups.items()}

    def _settle(self, metric: str, samples: Samples, told: Mapping[str, str]) -> None:
        before = self._before.setdefault(metric, {})
        past = self._past.setdefault(metric, {})
        for labels, value in samples.items():
            old, new = self._label(labels[0]), _label(told, labels[0])
            if old != new:
                label = (old if old in _SUMS else REMOVED, *labels[1:])
                past[label] = past.get(label, 0) + value - before.get(labels, 0)
                before[labels] = value

    def _label(self, name: str) -> str:
        return _label(self._told, name)


def _label(told: Mapping[str, str], name: str) -> str:
    """What belongs to nobody has no name to be hidden."""
    return told.get(name, REMOVED) if name else ""
