"""Which numbers of the server are which metrics: every family of `metrics.families` has its own."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from operator import attrgetter

from depproxy import __version__
from depproxy.cache.blobs import Blobs
from depproxy.cache.events import OUTCOMES, RESULTS, Events
from depproxy.cache.meter import Counts, Meter
from depproxy.cache.proxy import LEAST_FREE
from depproxy.config import Config
from depproxy.errors import StoreError
from depproxy.metrics.collector import Readings
from depproxy.metrics.disclosure import PRIVATE
from depproxy.metrics.loop_lag import LoopLag
from depproxy.metrics.requests import Requests
from depproxy.store.data_dir import DataDir
from depproxy.store.holdings import Holdings
from depproxy.tallies import Labels, Samples
from depproxy.upstream.health import STATES, Health, RateLimit
from depproxy.upstream.ledger import REASONS, Ledger


class Watched:
    """What there is to be read. Everything here may be asked on any thread."""

    def __init__(
        self,
        data: DataDir,
        meter: Meter,
        events: Events,
        blobs: Blobs,
        ledger: Ledger,
        lag: LoopLag,
        requests: Requests,
        *,
        config: Callable[[], Config],
        healths: Callable[[], Iterable[tuple[str, Health]]],
        running: Callable[[], int],
    ) -> None:
        """``config`` is the one in force, ``healths`` how its upstreams are, and ``running`` how
        many requests run."""
        self._data = data
        self._meter = meter
        self._events = events
        self._blobs = blobs
        self._ledger = ledger
        self._lag = lag
        self._requests = requests
        self._config = config
        self._healths = healths
        self._running = running

    def readings(self) -> Readings:
        """By the names of metrics."""
        events, ledger = self._events, self._ledger
        return {
            "depproxy_requests": self._requests.counts,
            "depproxy_request_duration_seconds": self._requests.durations,
            "depproxy_requests_running": lambda: {(): self._running()},
            "depproxy_served_bytes": lambda: self._counted(attrgetter("served")),
            "depproxy_fetched_bytes": lambda: self._counted(attrgetter("fetched")),
            "depproxy_fills_running": lambda: self._by_group() | self._blobs.running(),
            "depproxy_fills": lambda: self._by_group(OUTCOMES) | dict(events.fills),
            "depproxy_fill_failures": lambda: dict(events.failures),
            "depproxy_fill_resumptions": lambda: self._by_group() | dict(events.resumptions),
            "depproxy_revalidations": lambda: self._by_group(RESULTS) | dict(events.revalidations),
            "depproxy_stale_answers": lambda: self._by_group() | dict(events.stale),
            "depproxy_stored_bytes": self._stored_bytes,
            "depproxy_stored_manifests": lambda: self._stored_counts(0),
            "depproxy_stored_blobs": lambda: self._stored_counts(1),
            "depproxy_stored_exact": self._exact,
            "depproxy_upstream_answers": lambda: dict(ledger.answers),
            "depproxy_upstream_errors": lambda: self._by_upstream(REASONS) | dict(ledger.errors),
            "depproxy_upstream_latency_seconds": ledger.latencies,
            "depproxy_upstream_state": self._states,
            "depproxy_upstream_rate_limit": lambda: self._rate_limits(attrgetter("limit")),
            "depproxy_upstream_rate_limit_remaining": lambda: self._rate_limits(
                attrgetter("remaining")
            ),
            "depproxy_disk_free_bytes": lambda: self._disk(0),
            "depproxy_disk_size_bytes": lambda: self._disk(1),
            "depproxy_disk_degraded": self._degraded,
            "depproxy_event_loop_lag_seconds": self._lag.samples,
            "depproxy_build_info": lambda: {(__version__,): 1},
        }

    def _by_group(self, values: Iterable[str] = ()) -> dict[Labels, float]:
        """Zeros for every group: what happens for the first time is seen to rise then."""
        return _zeros(self._config().groups, values)

    def _by_upstream(self, values: Iterable[str]) -> dict[Labels, float]:
        return _zeros(self._config().upstreams, values)

    def _counted(self, field: Callable[[Counts], int]) -> Samples:
        return self._by_group() | {
            (name,): field(counts) for name, counts in self._meter.since_start().items()
        }

    def _stored_bytes(self) -> Samples:
        return self._by_group() | {
            (name,): holdings.totals().size for name, holdings in self._holdings()
        }

    def _stored_counts(self, position: int) -> Samples:
        """Not by `Holdings.totals`, which looks at each shared file for the bytes."""
        return self._by_group() | {
            (name,): holdings.ask(lambda inventory: inventory.counts())[position]
            for name, holdings in self._holdings()
        }

    def _holdings(self) -> Iterator[tuple[str, Holdings]]:
        for name, group in self._config().groups.items():
            tree = self._data.known_tree(group.name)
            if tree:
                yield name, tree.holdings

    def _exact(self) -> Samples:
        return {(): int(all(tree.holdings.is_exact for tree in self._data.trees()))}

    def _states(self) -> Samples:
        """One that nobody has asked yet is not known to fail. Of several credentials, each state
        that one of them is in counts."""
        told = _zeros(self._config().upstreams, STATES)
        for name, health in self._healths():
            told[name, health.state] = 1
        for name in self._config().upstreams:
            told[name, STATES[0]] = int(not any(told[name, state] for state in STATES[1:]))
        return told

    def _rate_limits(self, field: Callable[[RateLimit], int]) -> Samples:
        """Of several credentials, the one that has least left."""
        least: dict[Labels, RateLimit] = {}
        for name, health in self._healths():
            limit = health.rate_limit
            if limit:
                known = least.get((name,), limit)
                least[(name,)] = min(limit, known, key=attrgetter("remaining", "limit"))
        return {labels: field(limit) for labels, limit in least.items()}

    def _disk(self, position: int) -> Samples:
        """Nothing where the disk cannot be examined: `_degraded` says so."""
        try:
            return {(): self._data.free()[position]}
        except StoreError:
            return {}

    def _degraded(self) -> Samples:
        return {(): int(self._data.why_degraded(LEAST_FREE) is not None)}


def _zeros(names: Iterable[str], values: Iterable[str] = ()) -> dict[Labels, float]:
    values = list(values)
    return dict.fromkeys(product(names, values) if values else ((name,) for name in names), 0)


def told_names(config: Config) -> dict[str, dict[str, str]]:
    """What names of groups and upstreams are told on an address that everybody may ask: what only
    private groups have is told as `PRIVATE`."""
    groups = config.groups.values()
    public = {name for group in groups if group.visibility == "public" for name in group.upstreams}
    private = {name for group in groups for name in group.upstreams} - public
    return {
        "group": {g.name: PRIVATE if g.visibility == "private" else g.name for g in groups},
        "upstream": {name: PRIVATE if name in private else name for name in config.upstreams},
    }
