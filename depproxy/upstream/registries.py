"""All upstreams, as all groups ask them: one `Registry` for each upstream and credential."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from depproxy.config import Credentials, GroupConfig, UpstreamConfig
from depproxy.upstream.credentials import open_login
from depproxy.upstream.curl import CurlThread, CurlTransport
from depproxy.upstream.health import Health
from depproxy.upstream.ledger import Ledger
from depproxy.upstream.registry import Registry


class Registries:
    """Groups with the same credentials share tokens; all share an upstream's connections."""

    def __init__(
        self,
        upstreams: Mapping[str, UpstreamConfig],
        thread: CurlThread,
        user_agent: str,
        clock: Callable[[], float],
        ledger: Ledger,
        before: "Registries | None" = None,
    ) -> None:
        """``before`` is what another configuration made: upstreams that are as they were keep their
        connections, tokens and health."""
        self._upstreams = upstreams
        self._clock = clock
        self._ledger = ledger
        self._transports: dict[str, tuple[CurlTransport, ...]] = {}
        self._open: dict[tuple[str, Credentials], Registry] = {}
        for name, upstream in upstreams.items():
            if before and _is_same(before._upstreams.get(name), upstream):
                self._transports[name] = before._transports[name]
                self._open |= {key: reg for key, reg in before._open.items() if key[0] == name}
            else:
                self._transports[name] = tuple(
                    CurlTransport(thread, upstream, user_agent) for _ in ("small", "bulk")
                )

    def retire(self, successor: "Registries") -> None:
        """Let go of what ``successor`` does not go on with, as soon as nothing uses it."""
        for name, transports in self._transports.items():
            if successor._transports.get(name) is not transports:
                for transport in transports:
                    transport.retire()

    def get(self, group: GroupConfig, name: str) -> Registry:
        """The upstream ``name``, asked with the group's own credentials if it has some."""
        upstream = self._upstreams[name]
        credentials = group.credentials.get(name, upstream.credentials)
        key = (name, credentials)
        if key not in self._open:
            small, bulk = self._transports[name]
            self._open[key] = Registry(
                upstream,
                small=small,
                bulk=bulk,
                clock=self._clock,
                ledger=self._ledger,
                login=open_login(credentials),
            )
        return self._open[key]

    def healths(self) -> list[tuple[str, Health]]:
        """How upstreams are doing, each once for every credential that it was asked with. May be
        called from any thread."""
        return [(name, registry.health) for (name, _), registry in list(self._open.items())]


def _is_same(before: UpstreamConfig | None, now: UpstreamConfig) -> bool:
    """Whether the upstream is asked in the same way: names and credentials do not count, since a
    `Registry` has its own."""
    if before is None:
        return False
    return replace(before, aliases=(), credentials=Credentials()) == replace(
        now, aliases=(), credentials=Credentials()
    )
