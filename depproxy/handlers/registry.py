"""What every resource below ``/v2/<group>/dependency_proxy/containers/`` has in common."""

from functools import cached_property
from urllib.parse import urlsplit

from depproxy.cache.proxy import DependencyProxy
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.cache.upstream_choice import is_own_host
from depproxy.errors import NameUnknown
from depproxy.handlers.base import OciErrors, ProxyHandler
from depproxy.handlers.conditional import etag
from depproxy.handlers.paths import RegistryPath, parse_registry_path
from depproxy.oci.digest import Digest


class VersionHandler(OciErrors):
    """``/v2/``: this is a registry, and you may ask it."""

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(b"{}")

    head = get


class ImageHandler(OciErrors, ProxyHandler):
    """One image of one group."""

    def initialize(self, proxy: DependencyProxy, external_url: str = "") -> None:
        super().initialize(proxy)
        self._external_host = urlsplit(external_url).netloc
        self._namespace = ""

    @cached_property
    def target(self) -> RegistryPath:
        """What the path names. Raises `NameInvalid`."""
        return parse_registry_path(self.request.path)

    def source(self) -> Source:
        """The image that is asked for. Raises `NameInvalid` and `NameUnknown`."""
        if self.target.group is None:
            raise NameUnknown(
                "this server is no mirror: images are pulled as"
                " <group>/dependency_proxy/containers/<image>"
            )
        group = self.proxy.group(self.target.group)
        ns = self.get_query_argument("ns", None)
        own_hosts = {self._external_host, self.request.host}
        source = self.proxy.source(group, self.target.image, ns, own_hosts)
        if ns and not is_own_host(ns, own_hosts):
            self._namespace = source.registry.name
        return source

    def render_error(self, status: int, code: str, message: str) -> None:
        self._tell_namespace()
        super().render_error(status, code, message)

    def _tell_namespace(self) -> None:
        """Whose image this is, for those who asked for a registry by ``ns``."""
        if self._namespace:
            self.set_header("OCI-Namespace", self._namespace)

    def describe(
        self, digest: Digest, media_type: str, size: int | None, status: CacheStatus
    ) -> None:
        """The headers that manifests and blobs carry."""
        self._tell_namespace()
        self.set_header("Docker-Content-Digest", digest)
        self.set_header("Content-Type", media_type)
        self.set_header("ETag", etag(digest))
        self.set_header("Cache-Status", status.header())
        if size is not None:
            self.set_header("Content-Length", str(size))
