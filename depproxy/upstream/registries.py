"""All upstreams, as all groups ask them: one `Registry` for each upstream and credential."""

from collections.abc import Callable, Mapping

from depproxy.config import Credentials, GroupConfig, UpstreamConfig
from depproxy.upstream.credentials import open_login
from depproxy.upstream.curl import CurlThread, CurlTransport
from depproxy.upstream.registry import Registry


class Registries:
    """Groups with the same credentials share tokens; all share an upstream's connections."""

    def __init__(
        self,
        upstreams: Mapping[str, UpstreamConfig],
        thread: CurlThread,
        user_agent: str,
        clock: Callable[[], float],
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._transports = {
            name: tuple(CurlTransport(thread, upstream, user_agent) for _ in ("small", "bulk"))
            for name, upstream in upstreams.items()
        }
        self._open: dict[tuple[str, Credentials], Registry] = {}

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
                login=open_login(credentials),
            )
        return self._open[key]
