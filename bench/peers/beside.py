"""Small requests while large blobs pass through the same server."""

import statistics

from bench.peers.clients import crowd, timed_answers
from bench.peers.hits import ALL
from bench.peers.lab import Lab, check, settle
from bench.peers.measure import BESIDE, MEDIAN, P99, PEAK, WORST, Usage, Values
from bench.peers.rows import Row
from bench.peers.servers import Pieces


def rows() -> list[Row]:
    servers = (*ALL, Pieces.name)
    return [
        Row(
            "beside-hits",
            "manifest by digest, beside two hits of 1 GiB",
            servers,
            _beside_hits,
            lambda lab: lab.warm,
        ),
        Row(
            "beside-cold",
            "manifest by digest, beside a cold 1 GiB (1 MiB writes: beside one hit)",
            servers,
            _beside_cold,
            lambda lab: (lab.warm, lab.cold),
        ),
    ]


def _beside_hits(lab: Lab, name: str) -> Values:
    server = lab.warm[name]
    url, seconds = server.address(lab.content.large), 2 * lab.scale.seconds
    with Usage(server.pid) as usage, crowd(url, 2, seconds=seconds) as got:
        took = timed_answers(server.address(lab.content.index), got.is_done)
    return {**_described(took), BESIDE: got.throughput, PEAK: usage.peak}


def _beside_cold(lab: Lab, name: str) -> Values:
    item, index = lab.content.large, lab.content.index
    if name == Pieces.name:
        server = lab.warm[name]
        url, seconds = server.address(item), 2 * lab.scale.seconds
        with Usage(server.pid) as usage, crowd(url, 1, seconds=seconds) as got:
            took = timed_answers(server.address(index), got.is_done)
        return {**_described(took), BESIDE: got.throughput, PEAK: usage.peak}
    cache = lab.cold[name]
    check(cache, index)
    settle()
    with Usage(cache.pid) as usage, crowd(cache.address(item), 1) as got:
        took = timed_answers(cache.address(index), lambda: got.is_done() and cache.has(item))
    cache.purge()
    return {**_described(took), BESIDE: got.throughput, PEAK: usage.peak}


def _described(took: list[float]) -> Values:
    percentiles = statistics.quantiles(took, n=100, method="inclusive")
    return {
        MEDIAN: percentiles[49] * 1e3,
        P99: percentiles[98] * 1e3,
        WORST: max(took) * 1e3,
    }
