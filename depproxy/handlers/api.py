"""GitLab's API: ``/api/v4/groups/<group>/dependency_proxy/…``"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tornado.web import HTTPError

from depproxy.access.gate import Gate
from depproxy.access.visitor import ANONYMOUS, Visitor
from depproxy.cache.catalogue import ORDERS, CachedImage, Page, UpstreamState, policies
from depproxy.cache.proxy import DependencyProxy
from depproxy.cache.purges import Totals
from depproxy.config import GroupConfig
from depproxy.errors import GroupUnknown
from depproxy.handlers.answers import reason_of
from depproxy.handlers.base import BaseHandler, ProxyHandler, raised
from depproxy.handlers.identity import presented_password
from depproxy.handlers.paths import pull_prefix
from depproxy.handlers.unknown import UnknownHandler
from depproxy.oci.digest import parse_reference
from depproxy.oci.names import GroupName

_PER_PAGE = 20
_MOST_PER_PAGE = 100
"""Items of a page: GitLab's numbers."""


class ApiErrors(BaseHandler):
    """Everything below ``/api/``: GitLab's way, ``{"message": "404 Not Found"}``."""

    _is_about_group = False

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """What is no UTF-8 is no name; Tornado would answer before anybody was asked who he is."""
        return value.decode("utf-8", "replace")

    def answer(self, status: int, reason: str, **fields: object) -> None:
        """A status with its message, and whatever else is to be told."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": f"{status} {reason}", **fields}))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = raised(kwargs)
        self._is_about_group = isinstance(error, GroupUnknown)
        super().write_error(status_code, **kwargs)

    def render_error(self, status: int, code: str, message: str) -> None:
        what = "Group " if self._is_about_group else ""
        details = {"error": message} if status == 400 else {}
        self.answer(status, what + reason_of(status), **details)


class ApiHandler(ApiErrors, ProxyHandler):
    """Knows who asks: by the admin token, or by a user's password. Clients' tokens are for pulling
    only, and count as nothing here.

    A group's name that breaks the grammar is as unknown as any other: nobody learns which it is.
    """

    kind = "api"

    def initialize(self, proxy: DependencyProxy, gate: Gate, external_url: str) -> None:  # type: ignore[override]
        super().initialize(proxy)
        self.gate = gate
        self.external_url = external_url

    async def visitor(self) -> Visitor:
        """Raises `TooManyAttempts`."""
        request = self.request
        visitor = self.gate.admin(request.headers.get("PRIVATE-TOKEN"))
        if visitor is None:
            password = presented_password(request.headers)
            visitor = await self.gate.visitor(password, request.remote_ip or "")
        self.note_visitor(visitor)
        return visitor

    async def readable(self, group: str) -> GroupConfig:
        """The group, if the visitor may see what is in it. Raises `Unauthenticated` and
        `GroupUnknown`."""
        name = GroupName(group)
        visitor = ANONYMOUS if self.gate.is_open(name) else await self.visitor()
        found = self.gate.check_read(name, visitor)
        self.access.group = found.name
        return found

    def answer_json(self, document: object) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))


class UsageHandler(ApiHandler):
    """What a group holds, what it has done, and how its upstreams are."""

    async def get(self, group: str) -> None:
        found = await self.readable(group)
        usage = self.proxy.catalogue.usage(found)
        counts = usage.counts
        self.answer_json(
            {
                "group": found.name,
                "prefix": pull_prefix(self.external_url, found.name),
                **_summed(usage.totals),
                "hits": counts.hits,
                "misses": counts.misses,
                "bytes_served": counts.served,
                "bytes_fetched": counts.fetched,
                "bytes_saved": counts.saved,
                "since": _time(usage.since),
                "policies": policies(found),
                "upstreams": [_upstream(state) for state in usage.upstreams],
            }
        )

    head = get


class ImagesHandler(ApiHandler):
    """``…/manifests``: what is cached, a page at a time."""

    async def get(self, group: str) -> None:
        found = await self.readable(group)
        number = self._whole("page", 1, 10**9)
        size = self._whole("per_page", _PER_PAGE, _MOST_PER_PAGE)
        order = self.get_query_argument("sort", "image")
        if order.removeprefix("-") not in ORDERS:
            raise HTTPError(400, f"sort by {', '.join(ORDERS)}; with - before it, downwards")
        page = await self.proxy.catalogue.images(
            found,
            search=self.get_query_argument("search", ""),
            order=order,
            number=number,
            size=size,
        )
        self._tell_pages(page)
        self.answer_json([_image(image) for image in page.items])

    head = get

    def _whole(self, name: str, default: int, most: int) -> int:
        """A number from 1 on. Raises `HTTPError`."""
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) > 0):
            raise HTTPError(400, f"{name} is a whole number from 1 on")
        return min(int(text), most)

    def _tell_pages(self, page: Page) -> None:
        """GitLab's headers."""
        following = page.number + 1 if page.number < page.pages else None
        before = page.number - 1 if page.number > 1 else None
        for name, value in (
            ("X-Total", page.total),
            ("X-Total-Pages", page.pages),
            ("X-Per-Page", page.size),
            ("X-Page", page.number),
            ("X-Next-Page", following),
            ("X-Prev-Page", before),
        ):
            self.set_header(name, "" if value is None else str(value))
        ways = {"next": following, "prev": before, "first": 1, "last": max(1, page.pages)}
        links = [f'<{self._at(page, to)}>; rel="{rel}"' for rel, to in ways.items() if to]
        self.set_header("Link", ", ".join(links))

    def _at(self, page: Page, number: int) -> str:
        query: dict[str, object] = {
            name: self.get_query_argument(name)
            for name in ("search", "sort")
            if name in self.request.query_arguments
        }
        return f"{self.request.path}?{urlencode({**query, 'page': number, 'per_page': page.size})}"


class CacheHandler(ApiHandler):
    """``…/cache``: purge."""

    VERBS = ("DELETE",)
    _has_body = False

    def data_received(self, chunk: bytes) -> None:
        self._has_body = True

    async def delete(self, group: str) -> None:
        """Clear a group, one image of it, or one reference. Without credentials nobody learns
        whether the group exists."""
        found = self.gate.check_purge(GroupName(group), await self.visitor())
        self.access.group = found.name
        query = self.request.query_arguments
        if self._has_body or set(query) - {"image", "reference"}:
            raise HTTPError(400, "known are image and reference, in the query")
        if any(len(values) > 1 or not values[0] for values in query.values()):
            raise HTTPError(400, "image and reference have one value each")
        if "reference" in query and "image" not in query:
            raise HTTPError(400, "a reference is one of an image: name it too")
        if "image" in query:
            totals = await self._clear_image(found)
        else:
            totals = await self.proxy.purges.group(found.name)
        self.answer(202, "Accepted", **_summed(totals))

    async def _clear_image(self, group: GroupConfig) -> Totals:
        reference = self._letter_by_letter("reference")
        repository = self.proxy.repository(group, self._letter_by_letter("image") or "")
        parsed = None if reference is None else parse_reference(reference)
        self.access.image = f"{repository.upstream}/{repository.image}"
        return await self.proxy.purges.image(group.name, repository, parsed)

    def _letter_by_letter(self, name: str) -> str | None:
        """Tornado would strip spaces, and what is nearly a name is none."""
        values = self.request.query_arguments.get(name)
        return values[0].decode("utf-8", "replace") if values else None


def _summed(totals: Totals) -> dict[str, object]:
    inexact = {} if totals.exact else {"exact": False}
    return {
        "manifests": totals.manifests,
        "blobs": totals.blobs,
        "bytes": totals.size,
        **inexact,
    }


def _upstream(state: UpstreamState) -> dict[str, object]:
    return {
        "name": state.name,
        "state": state.state,
        "reason": state.reason,
        "failing_for": None if state.failing_for is None else round(state.failing_for),
        "rate_limit": asdict(state.rate_limit) if state.rate_limit else None,
    }


def _image(image: CachedImage) -> dict[str, object]:
    return {
        "image": image.image,
        "reference": image.reference,
        "digest": image.digest,
        "media_type": image.media_type,
        "platforms": image.platforms,
        "variants": [
            {
                "platform": variant.platform,
                "digest": variant.digest,
                "bytes": variant.size,
                "cached": variant.is_cached,
            }
            for variant in image.variants
        ],
        "bytes": image.size,
        "cached": _time(image.cached),
        "last_pulled": _time(image.pulled),
        "last_checked": _time(image.checked),
        "gone": image.is_gone,
    }


def _time(seconds: float | None) -> str | None:
    """RFC 3339, in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class UnknownApiHandler(ApiErrors, UnknownHandler):
    """Every path below ``/api/`` that no route knows."""

    kind = "api"
