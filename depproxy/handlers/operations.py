"""``/-/health``, ``/-/readiness`` and ``/-/metrics``: for load balancers, supervisors and
Prometheus."""

import json
from collections.abc import Callable

from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.base import BaseHandler, ProxyHandler
from depproxy.metrics.exposition import Exposition


class HealthHandler(BaseHandler):
    """Alive: the event loop answers."""

    kind = "operations"

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"status": "ok"}))

    head = get


class ReadinessHandler(ProxyHandler):
    """Able to serve hits. A disk that takes nothing is told in the body, and is no reason to send
    clients elsewhere: hits go on."""

    kind = "operations"

    def initialize(  # type: ignore[override]
        self, proxy: DependencyProxy, is_draining: Callable[[], bool]
    ) -> None:
        super().initialize(proxy)
        self._is_draining = is_draining

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        reason = None
        if self._is_draining():
            reason = "the server is shutting down"
        elif not self.proxy.is_readable():
            reason = "the data folder cannot be read"
        if reason:
            self.set_status(503)
            self.finish(json.dumps({"status": "unavailable", "reason": reason}))
            return
        reason = self.proxy.why_degraded()
        status = {"status": "degraded", "reason": reason} if reason else {"status": "ready"}
        self.finish(json.dumps(status))

    head = get


class MetricsHandler(BaseHandler):
    """What Prometheus scrapes, as text or as OpenMetrics."""

    kind = "operations"

    def initialize(self, exposition: Exposition) -> None:
        self._exposition = exposition

    async def get(self) -> None:
        body, content_type = await self._exposition.render(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.finish(body)

    head = get
