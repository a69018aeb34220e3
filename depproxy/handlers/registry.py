"""What every resource below ``/v2/<group>/dependency_proxy/containers/`` has in common."""

from functools import cached_property
from urllib.parse import urlsplit

from depproxy.access.gate import Gate, Scope
from depproxy.access.tokens import SERVICE
from depproxy.access.visitor import Visitor
from depproxy.cache.proxy import DependencyProxy
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.cache.upstream_choice import is_own_host
from depproxy.errors import Unauthenticated
from depproxy.handlers.base import OciErrors, ProxyHandler
from depproxy.handlers.conditional import etag
from depproxy.handlers.identity import bearer_challenge, presented
from depproxy.handlers.paths import RegistryPath, parse_registry_path
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName, ImageName

_UNSAFE_IN_WARNING = str.maketrans({'"': "'", "\\": "/", "\r": " ", "\n": " "})


class GuardedHandler(OciErrors):
    """Knows who asks, by a token or a password, and how he may say so."""

    wanted_scope = ""
    """What a token has to be for."""

    def initialize(self, gate: Gate, external_url: str) -> None:
        self.gate = gate
        self._external_url = external_url

    async def visitor(self) -> Visitor:
        """Raises `TooManyAttempts`."""
        return await self.gate.visitor(
            presented(self.request.headers), self.request.remote_ip or ""
        )

    def challenge(self, reason: str | None) -> str:
        realm = f"{self._external_url}/jwt/auth"
        return bearer_challenge(realm, SERVICE, self.wanted_scope, reason)


class VersionHandler(GuardedHandler):
    """``/v2/``: this is a registry, and you may ask it. Where there are users, clients learn here
    how to get a token."""

    async def get(self) -> None:
        if self.gate.has_users:
            visitor = await self.visitor()
            if not visitor.is_vouched:
                reason = "invalid_token" if visitor.is_doubtful else None
                raise Unauthenticated("ask for a token, or send a user's password", reason)
        self.set_header("Content-Type", "application/json")
        self.finish(b"{}")

    head = get


class ImageHandler(GuardedHandler, ProxyHandler):
    """One image of one group."""

    def initialize(self, gate: Gate, external_url: str, proxy: DependencyProxy) -> None:  # type: ignore[override]
        super().initialize(gate, external_url)
        self.proxy = proxy
        self.sent = 0
        self._group: GroupName | None = None
        self._status: CacheStatus | None = None
        self._external_host = urlsplit(external_url).netloc
        self._namespace = ""

    @property
    def wanted_scope(self) -> str:  # type: ignore[override]
        return f"repository:{self.target.name}:pull"

    @cached_property
    def target(self) -> RegistryPath:
        """What the path names. Raises `NameInvalid`."""
        return parse_registry_path(self.request.path)

    async def source(self) -> Source:
        """The image that is asked for, if the visitor may have it.

        Raises `NameInvalid`, `Unauthenticated`, `TooManyAttempts`, `NameUnknown` and `Denied`.
        """
        if not self.gate.is_open(self.target.group):  # where everybody may pull, nobody is asked
            ImageName.parse(self.target.image)  # it goes into the challenge
            scope = Scope(self.target.group, self.target.name)
            self.gate.check_pull(scope, await self.visitor())
        image, ns = self.target.image, self.asked_namespace
        own_hosts = {self._external_host, self.request.host}
        if ns and not is_own_host(ns, own_hosts):
            self._namespace = self.proxy.upstream_named(ns) or ""
        if self.target.group is None:
            source = self.proxy.mirrored(image, ns, own_hosts)
        else:
            group = self.proxy.group(self.target.group)
            source = self.proxy.source(group, image, ns, own_hosts)
        self._group = source.group.name
        return source

    @property
    def asked_namespace(self) -> str | None:
        """``ns``, letter by letter as it was sent: it is compared whole."""
        values = self.request.query_arguments.get("ns")
        return values[-1].decode("utf-8", "replace") if values else None

    def render_error(self, status: int, code: str, message: str) -> None:
        self.tell_namespace()
        super().render_error(status, code, message)

    def account(self) -> None:
        """Hits and misses are answers with a manifest, a blob, or its head."""
        if self._status is not None and self._group is not None:
            is_hit = self._status is CacheStatus.HIT
            self.proxy.meter.answered(self._group, is_hit=is_hit, served=self.sent)

    def tell_namespace(self) -> None:
        """Whose image this is, for those who asked for a registry by ``ns``."""
        if self._namespace:
            self.set_header("OCI-Namespace", self._namespace)

    def warn(self, warning: str | None) -> None:
        """Say that what is sent may be out of date (RFC 7234, 5.5)."""
        if warning:
            text = warning.translate(_UNSAFE_IN_WARNING).encode("ascii", "replace").decode()
            self.set_header("Warning", f'299 - "{text}"')

    def describe(
        self, digest: Digest, media_type: str, size: int | None, status: CacheStatus
    ) -> None:
        """The headers that manifests and blobs carry."""
        self._status = status
        self.tell_namespace()
        self.set_header("Docker-Content-Digest", digest)
        self.set_header("Content-Type", media_type)
        self.set_header("ETag", etag(digest))
        self.set_header("Cache-Status", status.header())
        if size is not None:
            self.set_header("Content-Length", str(size))
