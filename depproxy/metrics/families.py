"""Every metric that the server has of its own, as data: name, type, labels, and what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """``name`` is without the ``_total`` of a counter. ``merged`` makes one gauge of several, where
    names are not told apart."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    merged: Callable[[Iterable[float]], float] = sum

    @property
    def is_growing(self) -> bool:
        """Whether its numbers only grow while the server runs."""
        return self.type != GAUGE

    @property
    def full_name(self) -> str:
        """As queries have it."""
        return f"{self.name}_total" if self.type == COUNTER else self.name


FAMILIES = (
    Family(
        "depproxy_requests",
        COUNTER,
        "Requests of clients, when their answer has ended.",
        ("group", "kind", "cache", "code"),
    ),
    Family(
        "depproxy_request_duration_seconds",
        HISTOGRAM,
        "Seconds from the head of a request to the end of its answer, which for blobs is up to the"
        " client.",
        ("kind",),
    ),
    Family("depproxy_requests_running", GAUGE, "Requests that have begun and not ended."),
    Family(
        "depproxy_served_bytes",
        COUNTER,
        "Bytes of manifests and blobs that were sent to clients.",
        ("group",),
    ),
    Family(
        "depproxy_fetched_bytes",
        COUNTER,
        "Bytes of manifests and blobs that came from upstreams.",
        ("group",),
    ),
    Family("depproxy_fills_running", GAUGE, "Downloads of blobs that are under way.", ("group",)),
    Family(
        "depproxy_fills",
        COUNTER,
        "Downloads of blobs that have ended: stored, unstored (right, but not kept), or failed.",
        ("group", "outcome"),
    ),
    Family(
        "depproxy_fill_failures",
        COUNTER,
        "Downloads of blobs that have failed, by the last reason.",
        ("group", "reason"),
    ),
    Family(
        "depproxy_fill_resumptions",
        COUNTER,
        "Times that a download went on after its transfer had broken.",
        ("group",),
    ),
    Family(
        "depproxy_revalidations",
        COUNTER,
        "Questions to upstreams what a tag is now: confirmed, changed (or new here), gone, or"
        " failed.",
        ("group", "result"),
    ),
    Family(
        "depproxy_stale_answers",
        COUNTER,
        "Answers from disk that the upstream did not confirm.",
        ("group",),
    ),
    Family(
        "depproxy_stored_bytes",
        GAUGE,
        "Bytes on disk, but of files that another group holds as well.",
        ("group",),
    ),
    Family("depproxy_stored_manifests", GAUGE, "Manifest documents on disk.", ("group",)),
    Family("depproxy_stored_blobs", GAUGE, "Blobs on disk that are no manifests.", ("group",)),
    Family(
        "depproxy_stored_exact",
        GAUGE,
        "1 if all groups are counted, 0 until the first count after a start has ended.",
    ),
    Family(
        "depproxy_upstream_answers",
        COUNTER,
        "Answers of upstreams, their token services and redirects' targets, by class of status.",
        ("upstream", "code"),
    ),
    Family(
        "depproxy_upstream_errors",
        COUNTER,
        "Questions to upstreams that brought no answer, or one that is an error.",
        ("upstream", "reason"),
    ),
    Family(
        "depproxy_upstream_latency_seconds",
        HISTOGRAM,
        "Seconds from a request to an upstream to the head of its answer.",
        ("upstream",),
    ),
    Family(
        "depproxy_upstream_state",
        GAUGE,
        "1 for the state that an upstream is in: reachable, failing, or limited.",
        ("upstream", "state"),
        max,
    ),
    Family(
        "depproxy_upstream_rate_limit",
        GAUGE,
        "Requests that an upstream allows in its window, by its own account.",
        ("upstream",),
        min,
    ),
    Family(
        "depproxy_upstream_rate_limit_remaining",
        GAUGE,
        "Requests that an upstream still allows, by its last account.",
        ("upstream",),
        min,
    ),
    Family("depproxy_disk_free_bytes", GAUGE, "Bytes that are free on the data folder's disk."),
    Family("depproxy_disk_size_bytes", GAUGE, "Bytes that the data folder's disk has."),
    Family(
        "depproxy_disk_degraded",
        GAUGE,
        "1 while nothing can be stored: full, or read-only; else 0.",
    ),
    Family(
        "depproxy_event_loop_lag_seconds",
        HISTOGRAM,
        "Seconds that the event loop was late, looked at four times a second.",
    ),
    Family("depproxy_build_info", GAUGE, "1; the label tells the version.", ("version",)),
)
