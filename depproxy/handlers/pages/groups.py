"""``/``: the groups that a visitor may see."""

import asyncio
from dataclasses import dataclass

from depproxy.cache.catalogue import ImageCount, Usage
from depproxy.config import GroupConfig
from depproxy.handlers.pages import places
from depproxy.handlers.pages.page import PageHandler


@dataclass(frozen=True, slots=True)
class Overview:
    """A line of the list."""

    group: GroupConfig
    usage: Usage
    count: ImageCount


class GroupsHandler(PageHandler):
    """Groups that the visitor may not see are not counted either."""

    async def get(self) -> None:
        groups = self.site.gate.readable(self.visitor)
        overviews = await asyncio.gather(*map(self._overview, groups))
        self.show("groups.html", overviews=overviews, has_users=self.site.reception.has_users)

    head = get

    async def _overview(self, group: GroupConfig) -> Overview:
        catalogue = self.site.proxy.catalogue
        return Overview(group, catalogue.usage(group), await catalogue.count(group))


class PrefixHandler(PageHandler):
    """``/<group>/dependency_proxy/containers``: the pull prefix in a browser. The page that it
    leads to says whether there is such a group."""

    def get(self, group: str) -> None:
        self.redirect(places.group_page(group))

    head = get
