"""An upstream that hangs or is down, and a start with much on disk."""

import hashlib
import shutil
import time

from bench.peers.clients import answer_within_limit, first_answer
from bench.peers.content import Item
from bench.peers.hits import CACHES
from bench.peers.lab import Lab, check
from bench.peers.measure import (
    FIRST_ANSWER,
    LIMIT,
    PEAK,
    SECOND_ANSWER,
    START,
    START_EMPTY,
    Values,
    peak_memory,
)
from bench.peers.rows import Row
from bench.peers.servers import OURS, Distribution, Ours

_KINDS: dict[str, type[Ours] | type[Distribution]] = {
    kind.name: kind for kind in (Ours, Distribution)
}

NOBODY = "http://127.0.0.1:9"
"""An upstream that is never asked."""


def rows() -> list[Row]:
    return [
        Row(
            "hanging",
            "cached tag while the upstream hangs",
            CACHES,
            _hanging,
            lambda lab: lab.content,
        ),
        Row(
            "down",
            "start while the upstream is down, to a cached manifest",
            CACHES,
            _down,
            lambda lab: lab.content,
        ),
        Row("start", "start with 100,000 blobs on disk", (OURS,), _start, lambda lab: lab.content),
    ]


def _hanging(lab: Lab, name: str) -> Values:
    with lab.alone(_KINDS[name]) as (upstream, cache):
        upstream.pause()
        url = cache.address(lab.content.tag)
        values = {FIRST_ANSWER: answer_within_limit(url), SECOND_ANSWER: answer_within_limit(url)}
        upstream.resume()
        check(cache, lab.content.tag)
    return values


def _down(lab: Lab, name: str) -> Values:
    with lab.alone(_KINDS[name]) as (upstream, cache):
        upstream.stop()
        cache.stop()
        begun = time.monotonic()
        process = cache.launch()
        took = first_answer(cache.address(lab.content.index), process, begun)
        upstream.start()
    return {START: took}


def _start(lab: Lab, name: str) -> Values:
    full = Ours(lab.folder / "full", NOBODY)
    empty = Ours(lab.folder / "empty", NOBODY)
    try:
        blob = _store(full, lab.scale.stored)
        _store(empty, 1)
        values = {START: LIMIT, START_EMPTY: LIMIT}
        for quantity, server in ((START_EMPTY, empty), (START, full)):
            begun = time.monotonic()
            process = server.launch()
            values[quantity] = first_answer(server.address(blob), process, begun)
            check(server, blob)
        return {**values, PEAK: peak_memory(full.pid)}
    finally:
        for server in (full, empty):
            server.stop()
            shutil.rmtree(server.folder)


def _store(server: Ours, count: int) -> Item:
    """Write so many blobs where the server keeps them; the first one."""
    first = Item("", "", 0)
    for number in range(count):
        content = f"blob {number}\n".encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        file = server.blob_file(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if not number:
            first = Item(f"blobs/{digest}", digest, len(content))
    return first
