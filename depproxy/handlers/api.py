"""GitLab's API: ``/api/v4/groups/<group>/dependency_proxy/…``"""

from depproxy.access.admin import AdminToken
from depproxy.cache.proxy import DependencyProxy
from depproxy.errors import NameInvalid, NameUnknown
from depproxy.handlers.base import ApiErrors, ProxyHandler
from depproxy.oci.names import GroupName


class CacheHandler(ApiErrors, ProxyHandler):
    """``…/cache``: purge."""

    VERBS = ("DELETE",)

    def initialize(self, proxy: DependencyProxy, admin: AdminToken | None = None) -> None:
        super().initialize(proxy)
        self._admin = admin

    async def delete(self, group: str) -> None:
        """Clear a whole group. Without the right token nobody learns whether it exists."""
        if not (self._admin and self._admin.is_right(self.request.headers.get("PRIVATE-TOKEN"))):
            self.set_header("WWW-Authenticate", 'Basic realm="depproxy"')
            self.answer(401, "Unauthorized")
            return
        try:
            found = self.proxy.group(GroupName.parse(group))
        except (NameInvalid, NameUnknown):
            self.answer(404, "Group Not Found")
            return
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
