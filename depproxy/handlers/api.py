"""GitLab's API: ``/api/v4/groups/<group>/dependency_proxy/…``"""

import json

from depproxy.access.gate import Gate
from depproxy.access.visitor import ANONYMOUS, Visitor
from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.base import ApiErrors, ProxyHandler
from depproxy.handlers.identity import presented_password
from depproxy.oci.names import GroupName


class ApiHandler(ApiErrors, ProxyHandler):
    """Knows who asks: by the admin token, or by a user's password. Clients' tokens are for pulling
    only, and count as nothing here."""

    def initialize(self, proxy: DependencyProxy, gate: Gate) -> None:  # type: ignore[override]
        super().initialize(proxy)
        self.gate = gate

    async def visitor(self) -> Visitor:
        """Raises `TooManyAttempts`."""
        admin = self.gate.admin(self.request.headers.get("PRIVATE-TOKEN"))
        if admin:
            return admin
        return await self.gate.visitor(
            presented_password(self.request.headers), self.request.remote_ip or ""
        )


class UsageHandler(ApiHandler):
    """What a group holds."""

    async def get(self, group: str) -> None:
        # A name that breaks the grammar is as unknown as any other: nobody learns which it is.
        name = GroupName(group)
        visitor = ANONYMOUS if self.gate.is_open(name) else await self.visitor()
        found = self.gate.check_read(name, visitor)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(self.proxy.usage(found)))

    head = get


class CacheHandler(ApiHandler):
    """``…/cache``: purge."""

    VERBS = ("DELETE",)

    async def delete(self, group: str) -> None:
        """Clear a whole group. Without credentials nobody learns whether it exists."""
        found = self.gate.check_purge(GroupName(group), await self.visitor())
        asked = set(self.request.query_arguments)
        if asked - {"image", "reference"} or self.has_body:
            self.answer(400, "Bad Request", error="known are image and reference, in the query")
            return
        if asked:
            self.answer(501, "Not Implemented", error="one image cannot be cleared yet")
            return
        totals = await self.proxy.purge(found)
        inexact = {} if totals.exact else {"exact": False}
        self.answer(
            202,
            "Accepted",
            manifests=totals.manifests,
            blobs=totals.blobs,
            bytes=totals.size,
            **inexact,
        )
