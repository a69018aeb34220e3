"""The one route table: every URL of the server."""

from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, RequestHandler

from depproxy.access.gate import Gate
from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.activity import Activity
from depproxy.handlers.api import CacheHandler, ImagesHandler, UsageHandler
from depproxy.handlers.base import UnknownApiHandler, UnknownOciHandler
from depproxy.handlers.blobs import BlobHandler
from depproxy.handlers.listings import ReferrersHandler, TagsHandler
from depproxy.handlers.manifests import ManifestHandler
from depproxy.handlers.operations import HealthHandler, ReadinessHandler
from depproxy.handlers.pages.assets import PLACE, AssetHandler
from depproxy.handlers.pages.clearing import ClearHandler
from depproxy.handlers.pages.group import FillsHandler, GroupHandler
from depproxy.handlers.pages.groups import GroupsHandler, PrefixHandler
from depproxy.handlers.pages.page import UnknownPageHandler
from depproxy.handlers.pages.places import SIGN_IN, SIGN_OUT
from depproxy.handlers.pages.signing_in import SignInHandler, SignOutHandler
from depproxy.handlers.pages.site import Site
from depproxy.handlers.paths import resource_kind
from depproxy.handlers.registry import VersionHandler
from depproxy.handlers.token import TokenHandler


class Resource(Matcher):
    """Matches the paths below ``/v2/`` that ask for one kind of resource, by their last part."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def match(self, request: HTTPServerRequest) -> dict[str, object] | None:
        """Nothing is decoded here: handlers parse the path themselves."""
        return {} if resource_kind(request.path) == self._kind else None


def make_app(
    *,
    proxy: DependencyProxy,
    gate: Gate,
    site: Site,
    external_url: str,
    activity: Activity,
    is_draining: Callable[[], bool],
    log_function: Callable[[RequestHandler], None],
) -> Application:
    """The routes, with what their handlers need."""
    guarded = {"gate": gate, "external_url": external_url}
    image = {**guarded, "proxy": proxy}
    api = {"proxy": proxy, "gate": gate, "pull_host": urlsplit(external_url).netloc}
    page = {"site": site}
    return Application(
        [
            (r"/v2/?", VersionHandler, guarded),
            Rule(Resource("manifests"), ManifestHandler, image),
            Rule(Resource("blobs"), BlobHandler, image),
            Rule(Resource("tags"), TagsHandler, image),
            Rule(Resource("referrers"), ReferrersHandler, image),
            (r"/v2/.*", UnknownOciHandler),
            (r"/jwt/auth", TokenHandler, {"gate": gate}),
            (r"/api/v4/groups/(.+)/dependency_proxy", UsageHandler, api),
            (r"/api/v4/groups/(.+)/dependency_proxy/cache", CacheHandler, api),
            (r"/api/v4/groups/(.+)/dependency_proxy/manifests", ImagesHandler, api),
            (r"/api/.*", UnknownApiHandler),
            (r"/-/health", HealthHandler),
            (r"/-/readiness", ReadinessHandler, {"proxy": proxy, "is_draining": is_draining}),
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
        activity=activity,
        log_function=log_function,
    )
