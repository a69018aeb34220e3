"""Requests are counted by group, kind, cache status and code, and timed by kind."""

from depproxy.cache.status import CacheStatus
from depproxy.metrics.requests import Requests


def test_equal_requests_are_counted_together() -> None:
    requests = Requests()
    for _ in range(3):
        requests.note("acme", "manifest", "hit", 200, 0.001)
    requests.note("acme", "manifest", "", 404, 0.2)
    assert requests.counts() == {
        ("acme", "manifest", "hit", "200"): 3,
        ("acme", "manifest", "none", "404"): 1,
    }


def test_every_cache_status_has_a_label() -> None:
    requests = Requests()
    for status in CacheStatus:
        requests.note("acme", "blob", status.value, 200, 0.1)
    labels = {labels[2] for labels in requests.counts()}
    assert labels == {"hit", "stored", "collapsed", "miss"}


def test_durations_are_kept_by_kind() -> None:
    requests = Requests()
    requests.note("", "page", "", 200, 0.004)
    requests.note("", "page", "", 200, 3.0)
    told = requests.durations()
    assert told["page", "0.001"] == 0
    assert told["page", "0.005"] == 1
    assert told["page", "10.0"] == 2
    assert told["page", "+Inf"] == 2
    assert told["page", "sum"] == 3.004
