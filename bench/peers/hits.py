"""What is on disk: small requests, large blobs, many connections."""

from collections.abc import Callable

from bench.peers.clients import ab, crowd, wrk
from bench.peers.content import Content, Item
from bench.peers.lab import Lab
from bench.peers.measure import (
    CONNECTED,
    CPU,
    CPU_PER_GIB,
    CPU_PER_REQUEST,
    GIB,
    PEAK,
    REQUESTS,
    THROUGHPUT,
    Usage,
    Values,
)
from bench.peers.nginx import NginxFiles
from bench.peers.rows import Row
from bench.peers.servers import OURS, Distribution, Pieces

CACHES = (OURS, Distribution.name)
ALL = (*CACHES, NginxFiles.name)

SIP = 256 * 1024
"""Bytes per second of a slow client."""


def rows() -> list[Row]:
    small: list[tuple[str, str, Callable[[Content], Item], tuple[str, ...]]] = [
        ("manifest", "manifest by digest", lambda content: content.index, ALL),
        ("tag", "manifest by tag, confirmed upstream", lambda content: content.tag, CACHES),
        ("head", "`HEAD` of a blob", lambda content: content.large, ALL),
        ("small", "blob of 4 KB", lambda content: content.small, ALL),
    ]
    found = [
        Row(
            f"{key}-{connections}",
            f"{title}, {connections} connections",
            servers,
            _small(item, connections, is_head=key == "head"),
            _warm,
        )
        for key, title, item, servers in small
        for connections in (16, 64)
    ]
    for clients in (1, 4, 16):
        title = f"blob of 1 GiB, {clients} client{'s' if clients > 1 else ''}"
        found.append(Row(f"hit-{clients}", title, (*ALL, Pieces.name), _large(clients), _warm))
    title = "1,000 idle connections and 200 slow clients of 1 GiB"
    return [*found, Row("connections", title, ALL, _connections, _warm)]


def _warm(lab: Lab) -> object:
    return lab.warm


def _small(
    item: Callable[[Content], Item], connections: int, *, is_head: bool
) -> Callable[[Lab, str], Values]:
    def measure(lab: Lab, name: str) -> Values:
        server = lab.warm[name]
        url = server.address(item(lab.content))
        with Usage(server.pid) as usage:
            load = (ab if is_head else wrk)(url, connections, lab.scale.seconds)
        return {
            REQUESTS: load.rate,
            CPU_PER_REQUEST: usage.cpu / load.requests * 1e6,
            PEAK: usage.peak,
        }

    return measure


def _large(clients: int) -> Callable[[Lab, str], Values]:
    def measure(lab: Lab, name: str) -> Values:
        server = lab.warm[name]
        url = server.address(lab.content.large)
        with Usage(server.pid) as usage, crowd(url, clients) as got:
            pass
        return {
            THROUGHPUT: got.throughput,
            CPU_PER_GIB: usage.cpu / (got.bytes / GIB),
            PEAK: usage.peak,
        }

    return measure


def _connections(lab: Lab, name: str) -> Values:
    """By a server that was just started, so that the peak is its own."""
    server, scale = lab.warm[name], lab.scale
    server.restart()
    slow = crowd(
        server.address(lab.content.large),
        scale.slow,
        seconds=2 * scale.seconds,
        rate=SIP,
        idle=scale.idle,
        idle_url=server.address(lab.content.index),
    )
    with slow as got, Usage(server.pid) as usage:
        got.wait()
    server.restart()
    return {
        CONNECTED: got.connecting,
        CPU: usage.cpu,
        THROUGHPUT: got.throughput,
        PEAK: usage.peak,
    }
