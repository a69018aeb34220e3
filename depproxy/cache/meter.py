"""What was asked for and moved: counted for each group, kept by the hour."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from depproxy.errors import StoreError
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir

HOURS_KEPT = 30 * 24
"""Hours of which totals are kept."""

_HOUR = 3600


@dataclass(slots=True)
class Counts:
    """``hits`` and ``misses`` count answers with manifests and blobs; ``served`` is what clients
    were sent of them, ``fetched`` what came from upstreams, both in bytes."""

    hits: int = 0
    misses: int = 0
    served: int = 0
    fetched: int = 0

    @property
    def saved(self) -> int:
        """Bytes that upstreams did not have to send."""
        return max(0, self.served - self.fetched)


@dataclass(slots=True)
class GroupCounts:
    """Since the beginning, and by the hour: its first second since the epoch → what happened."""

    since: float
    total: Counts = field(default_factory=Counts)
    hours: dict[int, Counts] = field(default_factory=dict)
    is_written: bool = True
    at_start: Counts = field(default_factory=Counts, compare=False)
    """What ``total`` was when the server began."""

    def __post_init__(self) -> None:
        self.at_start = replace(self.total)


class Meter:
    """The counts of all groups. Safe to use from any thread. ``clock`` is the time of day."""

    def __init__(self, data: DataDir, clock: Callable[[], float]) -> None:
        self._data = data
        self._clock = clock
        self._lock = threading.Lock()
        self._groups: dict[GroupName, GroupCounts] = {}

    def answered(self, group: GroupName, *, is_hit: bool, served: int) -> None:
        """A request for a manifest or a blob was answered by so many bytes."""
        with self._lock:
            for counts in self._both(group):
                counts.hits += is_hit
                counts.misses += not is_hit
                counts.served += served

    def fetched(self, group: GroupName, size: int) -> None:
        """So many bytes have come from an upstream."""
        with self._lock:
            for counts in self._both(group):
                counts.fetched += size

    def counts(self, group: GroupName) -> GroupCounts:
        """What a group's counts are; they go on changing."""
        with self._lock:
            return self._find(group)

    def hours(self, group: GroupName) -> dict[int, Counts]:
        """Totals of the hours in which anything happened, by their first second since the epoch."""
        with self._lock:
            return {start: replace(counts) for start, counts in self._find(group).hours.items()}

    def since_start(self) -> dict[GroupName, Counts]:
        """What has happened since the server began, of the groups in which anything has. Unlike
        what is kept, it never becomes smaller: a crash may lose a minute of that."""
        with self._lock:
            return {
                name: Counts(
                    **{
                        key: value - getattr(counts.at_start, key)
                        for key, value in asdict(counts.total).items()
                    }
                )
                for name, counts in self._groups.items()
            }

    def flush(self) -> None:
        """Write what has changed, a file a group. Blocks."""
        with self._lock:
            batch = {
                name: _encode(counts)
                for name, counts in self._groups.items()
                if not counts.is_written
            }
            for name in batch:
                self._groups[name].is_written = True
        for name, document in batch.items():
            try:
                self._data.write_usage(name, document)
            except StoreError:
                with self._lock:
                    self._groups[name].is_written = False

    def _both(self, group: GroupName) -> tuple[Counts, Counts]:
        """What counts since the beginning, and what counts this hour; both are about to change."""
        known = self._find(group)
        known.is_written = False
        hour = int(self._clock()) // _HOUR * _HOUR
        this_hour = known.hours.get(hour)
        if this_hour is None:
            this_hour = known.hours[hour] = Counts()
            oldest = hour - HOURS_KEPT * _HOUR
            for old in [start for start in known.hours if start <= oldest]:
                del known.hours[old]
        return known.total, this_hour

    def _find(self, group: GroupName) -> GroupCounts:
        known = self._groups.get(group)
        if known is None:
            known = decode_counts(self._data.read_usage(group)) or GroupCounts(self._clock())
            self._groups[group] = known
        return known


def decode_counts(document: object) -> GroupCounts | None:
    """What a group's file says; None where it cannot be read."""
    try:
        assert isinstance(document, dict)
        return GroupCounts(
            float(document["since"]),
            Counts(**{name: int(value) for name, value in document["total"].items()}),
            {
                int(hour.pop("from")): Counts(**{name: int(value) for name, value in hour.items()})
                for hour in document["hours"]
            },
        )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _encode(counts: GroupCounts) -> dict[str, object]:
    return {
        "since": counts.since,
        "total": asdict(counts.total),
        "hours": [{"from": start, **asdict(hour)} for start, hour in sorted(counts.hours.items())],
    }
