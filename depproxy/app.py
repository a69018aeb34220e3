"""The one route table: every URL of the server."""

from collections.abc import Callable
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from depproxy.access.gate import Gate
from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.api import CacheHandler, ImagesHandler, UnknownApiHandler, UsageHandler
from depproxy.handlers.base import BaseHandler
from depproxy.handlers.blobs import BlobHandler
from depproxy.handlers.listings import ReferrersHandler, TagsHandler
from depproxy.handlers.manifests import ManifestHandler
from depproxy.handlers.operations import HealthHandler, MetricsHandler, ReadinessHandler
from depproxy.handlers.pages.assets import PLACE, AssetHandler
from depproxy.handlers.pages.clearing import ClearHandler
from depproxy.handlers.pages.group import FillsHandler, GroupHandler
from depproxy.handlers.pages.groups import GroupsHandler, PrefixHandler
from depproxy.handlers.pages.page import UnknownPageHandler
from depproxy.handlers.pages.places import SIGN_IN, SIGN_OUT
from depproxy.handlers.pages.signing_in import SignInHandler, SignOutHandler
from depproxy.handlers.pages.site import Site
from depproxy.handlers.registry import (
    Registry,
    RegistryHandler,
    UnknownResourceHandler,
    VersionHandler,
)
from depproxy.handlers.surroundings import Surroundings
from depproxy.handlers.token import TokenHandler
from depproxy.handlers.unknown import UnknownHandler
from depproxy.metrics.exposition import Exposition

RESOURCES: dict[str | None, type[RegistryHandler]] = {
    "manifests": ManifestHandler,
    "blobs": BlobHandler,
    "tags": TagsHandler,
    "referrers": ReferrersHandler,
    None: UnknownResourceHandler,
}
"""Below ``/v2/``, by the last part of the path that says what is asked for. Nothing is decoded for
that: handlers parse the path themselves."""


def make_app(
    *,
    proxy: DependencyProxy,
    gate: Gate,
    site: Site,
    external_url: str,
    surroundings: Surroundings,
    is_draining: Callable[[], bool],
    exposition: Exposition | None,
) -> Router:
    """The routes, with what their handlers need. Without an ``exposition``, metrics are elsewhere:
    see `make_metrics_app`."""
    api = {"proxy": proxy, "gate": gate, "external_url": external_url}
    page = {"site": site}
    metrics = _metrics(exposition) if exposition else []
    return _Routes(
        Registry(proxy, gate, external_url, surroundings),
        Application(
            [
                (r"/jwt/auth", TokenHandler, {"gate": gate}),
                (r"/api/v4/groups/(.+)/dependency_proxy", UsageHandler, api),
                (r"/api/v4/groups/(.+)/dependency_proxy/cache", CacheHandler, api),
                (r"/api/v4/groups/(.+)/dependency_proxy/manifests", ImagesHandler, api),
                (r"/api/.*", UnknownApiHandler),
                (r"/-/health", HealthHandler),
                (r"/-/readiness", ReadinessHandler, {"proxy": proxy, "is_draining": is_draining}),
                *metrics,
                (PLACE + "([^/]+)", AssetHandler, {"assets": site.assets}),
                (SIGN_IN, SignInHandler, page),
                (SIGN_OUT, SignOutHandler, page),
                (r"/", GroupsHandler, page),
                (r"/groups/(.+)/-/dependency_proxy", GroupHandler, page),
                (r"/groups/(.+)/-/dependency_proxy/fills", FillsHandler, page),
                (r"/groups/(.+)/-/dependency_proxy/clear", ClearHandler, page),
                (r"/(.+)/dependency_proxy/containers/?", PrefixHandler, page),
                (r".*", UnknownPageHandler, page),
            ],
            surroundings=surroundings,
            log_function=_log,
        ),
    )


def make_metrics_app(exposition: Exposition, surroundings: Surroundings) -> Router:
    """The routes of an address that is for metrics only."""
    return Application(
        [*_metrics(exposition), (r"/-/health", HealthHandler)],
        default_handler_class=UnknownHandler,
        surroundings=surroundings,
        log_function=_log,
    )


def _metrics(exposition: Exposition) -> list[Any]:
    return [(r"/-/metrics", MetricsHandler, {"exposition": exposition})]


class _Routes(Router):
    """The registry's paths, which are answered without Tornado's `RequestHandler`, and the rest."""

    def __init__(self, registry: Registry, rest: Application) -> None:
        self._registry = registry
        self._rest = rest

    def find_handler(
        self, request: HTTPServerRequest, **kwargs: object
    ) -> HTTPMessageDelegate | None:
        """See `Router.find_handler`."""
        path = request.path
        if path in ("/v2/", "/v2"):
            return VersionHandler(request, self._registry)
        if path.startswith("/v2/"):
            return RESOURCES[self._registry.kind(path)](request, self._registry)
        return self._rest.find_handler(request, **kwargs)


def _log(handler: RequestHandler) -> None:
    if isinstance(handler, BaseHandler):
        handler.log_access()
