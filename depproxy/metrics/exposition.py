"""What a scrape is answered with: as text, or as OpenMetrics where that is asked for."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.exposition import choose_encoder

from depproxy.metrics.collector import DepproxyCollector, Readings
from depproxy.metrics.disclosure import Disclosure
from depproxy.metrics.process import Process


class Exposition:
    """All metrics of one server. With ``tells_all``, also the names of private groups, and of those
    that were in the configuration since the start."""

    def __init__(self, readings: Readings, pool: Executor, *, tells_all: bool) -> None:
        self._pool = pool
        self._disclosures = {} if tells_all else {"group": Disclosure(), "upstream": Disclosure()}
        self._collector = DepproxyCollector(readings, self._disclosures)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        Process(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def tell(self, names: Mapping[str, Mapping[str, str]]) -> None:
        """Another configuration is in force: as what each name is told, by kind of name."""
        for kind, disclosure in self._disclosures.items():
            with disclosure.unchanged:
                disclosure.change(names[kind], self._collector.growing(kind))

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The body, and its type; ``accept`` is the request's header. Made on a thread: with many
        groups it takes tens of milliseconds, and the disk is asked."""
        encode, content_type = choose_encoder(accept)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, encode, self._registry), content_type
