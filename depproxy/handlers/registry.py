"""What every resource below ``/v2/`` has in common, and what every image has."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from depproxy.access.gate import Gate, Scope
from depproxy.access.tokens import SERVICE
from depproxy.access.visitor import Visitor
from depproxy.cache.proxy import DependencyProxy
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.cache.upstream_choice import is_own_host
from depproxy.errors import NothingHere, Unauthenticated
from depproxy.handlers.answers import oci_envelope
from depproxy.handlers.conditional import etag
from depproxy.handlers.identity import bearer_challenge, presented
from depproxy.handlers.lean import LeanHandler
from depproxy.handlers.paths import RegistryPath, parse_registry_path, resource_kind
from depproxy.handlers.surroundings import Surroundings
from depproxy.oci.digest import Digest
from depproxy.oci.names import ImageName

T = TypeVar("T")

_UNSAFE_IN_WARNING = str.maketrans({'"': "'", "\\": "/", "\r": " ", "\n": " "})

_PATHS_KEPT = 1024
"""Paths that are not taken apart again: 6 µs each; with their parts some 2 MiB."""

_LONGEST_KEPT = 1024
"""Characters of such a path: names end at 255, digests at 135; longer ones are mistakes."""


class Registry:
    """What all requests below ``/v2/`` share."""

    def __init__(
        self, proxy: DependencyProxy, gate: Gate, external_url: str, surroundings: Surroundings
    ) -> None:
        self.proxy = proxy
        self.gate = gate
        self.external_url = external_url
        self.external_host = urlsplit(external_url).netloc
        self.surroundings = surroundings
        self.parse = _kept(parse_registry_path)
        self.kind = _kept(resource_kind)


def _kept(work: Callable[[str], T]) -> Callable[[str], T]:
    """``work`` on an undecoded path, done once for those that come again. What it raises is not
    kept."""
    kept = lru_cache(_PATHS_KEPT)(work)
    return lambda path: kept(path) if len(path) <= _LONGEST_KEPT else work(path)


class RegistryHandler(LeanHandler):
    """The version header, and errors in the OCI envelope. Knows who asks, by a token or a password,
    and how he may say so."""

    wanted_scope = ""
    """What a token has to be for."""

    def __init__(self, request: HTTPServerRequest, registry: Registry) -> None:
        super().__init__(request, registry.surroundings)
        self.registry = registry
        self.headers["Docker-Distribution-Api-Version"] = "registry/2.0"

    async def visitor(self) -> Visitor:
        """Raises `TooManyAttempts`."""
        request = self.request
        visitor = await self.registry.gate.visitor(
            presented(request.headers), request.remote_ip or ""
        )
        self.access.user = visitor.user
        return visitor

    def challenge(self, reason: str | None) -> str:
        realm = f"{self.registry.external_url}/jwt/auth"
        return bearer_challenge(realm, SERVICE, self.wanted_scope, reason)

    def render_error(self, code: str, message: str) -> bytes:
        self.headers["Content-Type"] = "application/json"
        return oci_envelope(code, message)


class VersionHandler(RegistryHandler):
    """``/v2/``: this is a registry, and you may ask it. Where there are users, clients learn here
    how to get a token."""

    kind = "version"

    async def answer(self) -> None:
        if self.registry.gate.has_users:
            visitor = await self.visitor()
            if not visitor.is_vouched:
                reason = "invalid_token" if visitor.is_doubtful else None
                raise Unauthenticated("ask for a token, or send a user's password", reason)
        self.headers["Content-Type"] = "application/json"
        self.send(b"{}")


class ImageHandler(RegistryHandler):
    """One image of one group."""

    def __init__(self, request: HTTPServerRequest, registry: Registry) -> None:
        super().__init__(request, registry)
        self.proxy = registry.proxy
        self._source: Source | None = None
        self._status: CacheStatus | None = None
        self._namespace = ""
        self._target: RegistryPath | None = None

    @property
    def wanted_scope(self) -> str:  # type: ignore[override]
        return f"repository:{self.target.name}:pull"

    @property
    def target(self) -> RegistryPath:
        """What the path names. Raises `NameInvalid`."""
        if self._target is None:
            self._target = self.registry.parse(self.request.path)
        return self._target

    async def source(self) -> Source:
        """The image that is asked for, if the visitor may have it.

        Raises `NameInvalid`, `Unauthenticated`, `TooManyAttempts`, `NameUnknown` and `Denied`.
        """
        gate, target = self.registry.gate, self.target
        if not gate.is_open(target.group):  # where everybody may pull, nobody is asked
            ImageName.parse(target.image)  # it goes into the challenge
            gate.check_pull(Scope(target.group, target.name), await self.visitor())
        return self._take_source()

    def open_source(self) -> Source | None:
        """As `source`, where everybody may pull; None where it has to be asked who it is."""
        return self._take_source() if self.registry.gate.is_open(self.target.group) else None

    def _take_source(self) -> Source:
        target, ns, own_hosts = self.target, self.asked_namespace, frozenset[str]()
        if ns:
            own_hosts = frozenset({self.registry.external_host, self.request.host})
            if not is_own_host(ns, own_hosts):
                self._namespace = self.proxy.upstream_named(ns) or ""
        if target.group is None:
            source = self.proxy.mirrored(target.image, ns, own_hosts)
        else:
            group = self.proxy.group(target.group)
            source = self.proxy.source(group, target.image, ns, own_hosts)
        self._source = source
        self.access.group = source.group.name
        self.access.image = source.name
        return source

    @property
    def asked_namespace(self) -> str | None:
        """``ns``, letter by letter as it was sent: it is compared whole."""
        values = self.request.query_arguments.get("ns")
        return values[-1].decode("utf-8", "replace") if values else None

    def render_error(self, code: str, message: str) -> bytes:
        self.tell_namespace()
        return super().render_error(code, message)

    def account(self) -> None:
        """Hits and misses are answers with a manifest, a blob, or its head."""
        if self._status is not None and self._source is not None:
            is_hit = self._status is CacheStatus.HIT
            group = self._source.group.name
            self.proxy.meter.answered(group, is_hit=is_hit, served=self.sent)

    def tell_namespace(self) -> None:
        """Whose image this is, for those who asked for a registry by ``ns``."""
        if self._namespace:
            self.headers["OCI-Namespace"] = self._namespace

    def warn(self, warning: str | None) -> None:
        """Say that what is sent may be out of date (RFC 7234, 5.5)."""
        if warning:
            text = warning.translate(_UNSAFE_IN_WARNING).encode("ascii", "replace").decode()
            self.headers["Warning"] = f'299 - "{text}"'

    def describe(
        self, digest: Digest, media_type: str, size: int | None, status: CacheStatus
    ) -> None:
        """The headers that manifests and blobs carry."""
        self._status = status
        self.access.cache = status.value
        self.tell_namespace()
        self.headers["Docker-Content-Digest"] = digest
        self.headers["Content-Type"] = media_type
        self.headers["ETag"] = etag(digest)
        self.headers["Cache-Status"] = status.header()
        if size is not None:
            self.headers["Content-Length"] = str(size)

    def send_not_modified(self) -> None:
        """The client has it already: RFC 9110, 15.4.5."""
        self.status = 304
        self.headers.pop("Content-Type", None)
        self.send()


class UnknownResourceHandler(RegistryHandler):
    """Every path below ``/v2/`` that no route knows."""

    async def answer(self) -> None:
        raise NothingHere
