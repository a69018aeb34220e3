"""What is not on disk yet: one client, and fifty at once."""

import time
from collections.abc import Callable, Mapping

from bench.peers.clients import Download, crowd, curl
from bench.peers.content import Item
from bench.peers.lab import DIRECT, Lab, settle
from bench.peers.measure import (
    CPU,
    DOWNLOADS,
    FIRST_BYTE,
    KEPT_AFTER,
    PEAK,
    WALL,
    Usage,
    Values,
)
from bench.peers.nginx import NginxCache
from bench.peers.rows import Row
from bench.peers.servers import OURS, Cache, Distribution, Server

CACHES = (OURS, Distribution.name, NginxCache.name)

CROWD = 50


def rows() -> list[Row]:
    return [
        Row(
            "cold",
            "cold blob of 1 GiB",
            (*CACHES, DIRECT),
            _alone(lambda lab: lab.cold, lambda lab: lab.upstream),
            lambda lab: lab.cold,
        ),
        Row(
            "cold-slow",
            "cold blob of 1 GiB, upstream at 150 MB/s",
            (*CACHES, DIRECT),
            _alone(lambda lab: lab.slow, lambda lab: lab.slow_upstream),
            lambda lab: lab.slow,
        ),
        Row(
            "crowd",
            f"{CROWD} clients on a cold blob of 200 MB",
            CACHES,
            _crowd,
            lambda lab: lab.cold,
        ),
    ]


def _alone(
    caches: Callable[[Lab], Mapping[str, Cache]], source: Callable[[Lab], Server]
) -> Callable[[Lab, str], Values]:
    def measure(lab: Lab, name: str) -> Values:
        item = lab.content.large
        settle()
        if name == DIRECT:
            file = lab.folder / "direct"
            got = curl(source(lab).address(item), file, item.size)
            file.unlink()
            return {WALL: got.wall, FIRST_BYTE: got.first_byte * 1e3}
        cache = caches(lab)[name]
        return _filled(lab, cache, item, lambda: curl(cache.address(item), size=item.size))

    return measure


def _crowd(lab: Lab, name: str) -> Values:
    item, cache = lab.content.medium, lab.cold[name]

    def pull() -> Download:
        with crowd(cache.address(item), CROWD) as got:
            pass
        return Download(0, got.seconds)

    settle()
    values = _filled(lab, cache, item, pull)
    del values[FIRST_BYTE]
    return values


def _filled(lab: Lab, cache: Cache, item: Item, pull: Callable[[], Download]) -> Values:
    """``pull`` what the cache does not have; leaves it empty again.

    CPU time is counted until the blob is kept, also where that goes on after the last byte.
    """
    if cache.has(item):
        cache.purge()  # a failure before this came in between
    lab.upstream.mark()
    with Usage(cache.pid) as usage:
        got = pull()
        ended = time.monotonic()
        cache.wait_for(item)
        kept_after = time.monotonic() - ended
    values = {
        WALL: got.wall,
        FIRST_BYTE: got.first_byte * 1e3,
        KEPT_AFTER: kept_after,
        DOWNLOADS: lab.upstream.downloads(item),
        CPU: usage.cpu,
        PEAK: usage.peak,
    }
    cache.purge()
    return values
