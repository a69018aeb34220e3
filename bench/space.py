"""What looking after much space costs: one group with 100,000 blobs of 10,000 images.

    PYTHONPATH=. python bench/space.py [--images 10000]

Prints a table. A probe asks for a cached manifest all the time, on one connection; its 99th
percentile and its longest answer tell what other requests feel, the latter as the longest pause of
the event loop.
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.blobs import blob_path
from depproxy.store.pointer_format import TagPointer, encode_digest, encode_tag
from depproxy.store.repository import Repository
from tests.real.programs import Depproxy

LAYERS = 8
"""Layers of an image; with config and manifest that makes ten blobs."""

QUIET = 5.0
"""Seconds for which the probe is alone."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_tree(folder / "data/groups/mygroup/-", options.images)
        print(f"{options.images * 10} blobs of {options.images} images\n")
        tree = folder / "data/groups/mygroup/-"
        rows = [
            ("disk for pointers and their folders", f"{_taken(tree / 'manifests') / 10**6:.1f} MB"),
            *_count_and_ask(folder),
            *_tidy(folder, size),
            *_purge(folder),
        ]
    width = max(len(row[0]) for row in rows)
    for what, value in rows:
        print(f"| {what:{width}} | {value} |")


def make_tree(tree: Path, images: int) -> int:
    """Files as the server would have written them; returns their bytes."""
    total = 0
    for number in range(images):
        config = _blob(tree, b'{"os": "linux", "architecture": "amd64", "n": %d}' % number)
        layers = [_blob(tree, b"layer %d of %d" % (layer, number)) for layer in range(LAYERS)]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"digest": config[0], "size": config[1]},
            "layers": [{"digest": digest, "size": size} for digest, size in layers],
        }
        digest, size = _blob(tree, json.dumps(document).encode())
        total += size + config[1] + sum(size for _, size in layers)
        descriptor = Descriptor(digest, OCI_MANIFEST, size)
        repository = Repository("docker.io", ImageName(f"acme/image{number}"))
        _write(tree / repository.path(Tag("latest"), ".json"), encode_tag(TagPointer(descriptor)))
        _write(tree / repository.path(digest, ".json"), encode_digest(descriptor))
    return total


def _blob(tree: Path, data: bytes) -> tuple[Digest, int]:
    digest = Digest.of(data)
    path = tree / blob_path(digest)
    _write(path, data)
    stamp = int(time.time()) * 10**9 + len(data)
    os.utime(path, ns=(stamp, stamp))
    return digest, len(data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _taken(folder: Path) -> int:
    """Bytes of the blocks that a folder has, with all that is in it."""
    return 512 * sum(path.stat().st_blocks for path in (folder, *folder.rglob("*")))


def _memory(process: subprocess.Popen[bytes], field: str = "VmRSS") -> str:
    """What a program has now; with ``VmHWM`` the most that it has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [amount] = re.findall(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return f"{int(amount) / 1024:.1f} MiB"


class Probe:
    """Asks for one thing all the time, a cached manifest; ``latencies`` in milliseconds."""

    def __init__(self, proxy: Depproxy, path: str = "") -> None:
        """``path`` is asked for instead, where no manifest will be left."""
        self.latencies: list[float] = []
        self._port = proxy.port
        self._path = path or _hit(proxy)
        self._stop = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while not self._stop.wait(0.001):
            began = time.perf_counter()
            connection.request("GET", self._path)
            connection.getresponse().read()
            self.latencies.append((time.perf_counter() - began) * 1000)
        connection.close()

    @contextmanager
    def probing(self) -> "Iterator[Probe]":
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def __str__(self) -> str:
        p99 = statistics.quantiles(self.latencies, n=100)[98]
        return f"p99 {p99:.1f} ms, longest {max(self.latencies):.1f} ms"


def _hit(proxy: Depproxy) -> str:
    pointers = proxy.folder / "data/groups/mygroup/-/manifests/docker.io/acme/image0/-/digests"
    [file] = list(pointers.rglob("*.json"))
    return f"/v2/mygroup/dependency_proxy/containers/acme/image0/manifests/sha256:{file.stem}"


def _api(proxy: Depproxy, path: str = "", method: str = "GET") -> object:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    headers = {"PRIVATE-TOKEN": proxy.token}
    connection.request(method, f"/api/v4/groups/mygroup/dependency_proxy{path}", headers=headers)
    document = json.loads(connection.getresponse().read())
    connection.close()
    return document


def _timed(work: Callable[[], object], times: int = 1) -> str:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(taken):.1f} ms"


def _wait(done: Callable[[], bool]) -> float:
    began = time.perf_counter()
    while not done():
        time.sleep(0.02)
    return time.perf_counter() - began


def _is_exact(proxy: Depproxy) -> bool:
    usage = _api(proxy)
    assert isinstance(usage, dict)
    return "exact" not in usage


def _count_and_ask(folder: Path) -> Iterator[tuple[str, str]]:
    proxy = Depproxy(folder, "http://127.0.0.1:9")
    began = time.perf_counter()
    with proxy.serving() as process:
        yield "start, to the first answer", f"{time.perf_counter() - began:.2f} s"
        yield "memory then", _memory(process)
        with Probe(proxy).probing() as counting:
            _wait(lambda: _is_exact(proxy))
        yield "start, to the first exact count", f"{time.perf_counter() - began:.1f} s"
        yield "other requests while it counts", str(counting)
        yield "memory when it has counted", _memory(process)
        with Probe(proxy).probing() as quiet:
            time.sleep(QUIET)
        yield "other requests, nothing else going on", str(quiet)
        yield "usage", _timed(lambda: _api(proxy), 20)
        yield "list, a page of 20, by name", _timed(lambda: _api(proxy, "/manifests"), 5)
        yield (
            "list, a page of 100, by size",
            _timed(lambda: _api(proxy, "/manifests?per_page=100&sort=-bytes"), 5),
        )
        with Probe(proxy).probing() as listing:
            _timed(lambda: _api(proxy, "/manifests?sort=-last_pulled"), 10)
        yield "other requests while lists are made", str(listing)
        yield "memory, the most so far", _memory(process, "VmHWM")
        numbers = iter(range(1, 100))
        yield (
            "purge of one image, to the answer",
            _timed(lambda: _api(proxy, f"/cache?image=acme/image{next(numbers)}", "DELETE"), 20),
        )


def _tidy(folder: Path, size: int) -> Iterator[tuple[str, str]]:
    """A pass that finds nothing to do, and one that takes half of it away."""
    for what, limit in (("nothing goes", 2 * size), ("half of it goes", size // 2)):
        proxy = Depproxy(
            folder,
            "http://127.0.0.1:9",
            group=f"max_size: {limit}B",
            more="housekeeping: {interval: 20s, grace: 0s}\n",
        )
        with proxy.serving() as process:
            _wait(lambda proxy=proxy: _is_exact(proxy))  # type: ignore[misc]
            with Probe(proxy).probing() as probe:
                _wait(lambda proxy=proxy: "housekeeping took" in proxy.log.read_text())  # type: ignore[misc]
            memory = _memory(process, "VmHWM")
            [took] = re.findall(r"housekeeping took ([0-9.]+) s", proxy.log.read_text())[-1:]
        proxy.log.unlink()
        yield f"housekeeping, {what}", f"{took} s"
        yield f"other requests in those {took} s and before", str(probe)
        yield "memory, the most since the start", memory


def _purge(folder: Path) -> Iterator[tuple[str, str]]:
    proxy = Depproxy(folder, "http://127.0.0.1:9", more="  quay.io: {url: 'http://127.0.0.1:9'}\n")
    with proxy.serving():
        _wait(lambda: _is_exact(proxy))
        trash = folder / "data/trash"
        other = folder / "data/groups/mygroup/-/manifests"
        assert other.exists()
        probe = Probe(proxy, "/-/health")
        yield "purge of the group, to the answer", _timed(lambda: _api(proxy, "/cache", "DELETE"))
        with probe.probing():
            took = _wait(lambda: not any(trash.iterdir()))
        yield "until its files are deleted", f"{took:.1f} s"
        yield "other requests meanwhile", str(probe)


if __name__ == "__main__":
    main()
