"""All servers of one run, set up when a row needs them, and checked before anything is measured."""

import hashlib
import http.client
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from bench.peers.content import Content, Item
from bench.peers.measure import GIB, MIB, WrongAnswer
from bench.peers.nginx import NginxCache, NginxFiles
from bench.peers.servers import (
    Cache,
    Distribution,
    Ours,
    Pieces,
    Registry,
    Server,
    SlowUpstream,
)

_AnyServer = TypeVar("_AnyServer", bound=Server)

DIRECT = "direct, to a file"

SLOW_RATE = 150_000_000
"""Bytes per second of all downloads from the slow upstream together."""


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    seconds: float = 4
    """How long small requests are sent, for each server and row."""
    medium: int = 200 * 10**6
    large: int = GIB
    stored: int = 100_000
    """Blobs on disk when a server starts."""
    idle: int = 1000
    slow: int = 200


QUICK = Scale(seconds=1, medium=20 * 10**6, large=128 * MIB, stored=2000)
"""To see that everything works; its numbers mean nothing."""


class Lab:
    """What rows measure. Whatever has been started ends with `close`."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self._started: list[Server] = []

    def close(self) -> None:
        for server in reversed(self._started):
            server.stop()

    @cached_property
    def content(self) -> Content:
        return Content(self.folder / "www", medium=self.scale.medium, large=self.scale.large)

    @cached_property
    def upstream(self) -> Registry:
        registry = self._run(Registry(self.folder / "upstream"))
        registry.push(self.content)
        return registry

    @cached_property
    def slow_upstream(self) -> SlowUpstream:
        folder = self.folder / "slow-upstream"
        return self._run(SlowUpstream(folder, self.upstream, SLOW_RATE))

    @cached_property
    def warm(self) -> dict[str, Server]:
        """Those that have everything, by name."""
        root = self.content.root
        caches = self._caches("warm", self.upstream, nginx=False)
        files = [NginxFiles(self.folder / "files", root), Pieces(self.folder / "pieces", root)]
        for file_server in files:
            self._run(file_server)
            for item in self._items(tag=False):
                check(file_server, item)
        for server in (*caches, files[0]):
            check(server, self.content.large, "HEAD")
        return {server.name: server for server in [*caches, *files]}

    @cached_property
    def cold(self) -> dict[str, Cache]:
        """Caches that have nothing between two measurements, by name."""
        return self._emptied(self._caches("cold", self.upstream))

    @cached_property
    def slow(self) -> dict[str, Cache]:
        """The same with the slow upstream."""
        return self._emptied(self._caches("slow", self.slow_upstream))

    @contextmanager
    def alone(self, kind: type[Ours] | type[Distribution]) -> Iterator[tuple[Registry, Cache]]:
        """A cache that holds the image, and an upstream of its own that may be harmed."""
        folder = self.folder / "alone"
        upstream = Registry(folder / "upstream")
        upstream.start()
        try:
            upstream.push(self.content, only_image=True)
            cache = kind(folder / "cache", upstream.url)
            cache.start()
            try:
                check(cache, self.content.index)
                check(cache, self.content.tag)
                yield upstream, cache
            finally:
                cache.stop()
        finally:
            upstream.resume()
            upstream.stop()
            shutil.rmtree(folder)

    def _caches(self, folder: str, upstream: Server, *, nginx: bool = True) -> list[Cache]:
        kinds: list[type[Ours] | type[Distribution] | type[NginxCache]] = [Ours, Distribution]
        kinds += [NginxCache] if nginx else []
        where = self.folder / folder
        caches: list[Cache] = [kind(where / kind.name, upstream.url) for kind in kinds]
        for cache in caches:
            self._run(cache)
        for cache in caches:
            for item in self._items():
                check(cache, item)
                if item.path.startswith("blobs/"):
                    cache.wait_for(item)
                if not cache.is_hit(check(cache, item)):
                    raise WrongAnswer(f"{cache.name} does not serve {item.path} from its cache")
        return caches

    def _emptied(self, caches: list[Cache]) -> dict[str, Cache]:
        for cache in caches:
            cache.purge()
        return {cache.name: cache for cache in caches}

    def _items(self, *, tag: bool = True) -> list[Item]:
        blobs = [self.content.small, self.content.medium, self.content.large]
        return [self.content.index, *([self.content.tag] if tag else []), *blobs]

    def _run(self, server: _AnyServer) -> _AnyServer:
        self._started.append(server)
        server.start()
        return server


def check(server: Server, item: Item, method: str = "GET") -> dict[str, str]:
    """Fetch something and hold it against its digest; the answer's headers, in lower case.

    Raises `WrongAnswer`.
    """
    url = urlsplit(server.address(item))
    connection = http.client.HTTPConnection(url.netloc)
    try:
        connection.request(method, url.path, headers={"Accept": f"{item.media_type}, */*"})
        response = connection.getresponse()
        hasher = hashlib.sha256()
        while piece := response.read(MIB):
            hasher.update(piece)
        headers = {name.lower(): value for name, value in response.headers.items()}
    finally:
        connection.close()
    wrong = response.status != 200 or headers.get("content-length") != str(item.size)
    wrong |= method == "GET" and f"sha256:{hasher.hexdigest()}" != item.digest
    if wrong:
        raise WrongAnswer(f"{server.name} answers {item.path} by {response.status}, {headers}")
    return headers


def settle() -> None:
    """Let the disk be done with what came before."""
    subprocess.run(["sync"], check=True)
