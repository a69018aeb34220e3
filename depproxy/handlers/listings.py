"""``…/<image>/tags/list`` and ``…/<image>/referrers/<digest>``"""

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from depproxy.handlers.registry import ImageHandler
from depproxy.oci.manifest import OCI_INDEX


class ListingHandler(ImageHandler):
    """Lists are asked of the upstream each time; pages are linked to this server."""

    VERBS = ("GET",)

    def asked(self) -> Mapping[str, str]:
        """The query, without what is meant for us."""
        return {
            name: values[-1].decode("utf-8", "replace").strip()
            for name, values in self.request.query_arguments.items()
            if name != "ns"
        }

    def link(self, following: str) -> None:
        """Tell where the next page is, with the upstream's query and on our path."""
        if not following:
            return
        ns = self.asked_namespace
        query = f"{following}&{urlencode({'ns': ns})}" if ns else following
        self.headers["Link"] = f'<{self.request.path}?{query}>; rel="next"'


class TagsHandler(ListingHandler):
    kind = "tags"

    async def answer(self) -> None:
        page, warning = await self.proxy.listings.tags(await self.source(), self.asked())
        self.tell_namespace()
        self.warn(warning)
        self.link(page.following)
        self.headers["Content-Type"] = "application/json"
        self.send(json.dumps({"name": self.target.name, "tags": page.tags}).encode())


class ReferrersHandler(ListingHandler):
    kind = "referrers"

    async def answer(self) -> None:
        source = await self.source()
        listing = await self.proxy.listings.referrers(source, self.target.digest, self.asked())
        self.tell_namespace()
        self.warn(listing.warning)
        self.link(listing.kept.following)
        if listing.kept.filters_applied:
            self.headers["OCI-Filters-Applied"] = listing.kept.filters_applied
        self.headers["Content-Type"] = OCI_INDEX
        self.send(listing.kept.body.encode())
