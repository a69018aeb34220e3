"""``/groups/<group>/-/dependency_proxy``: what is cached, how it does, and how to pull."""

from dataclasses import dataclass
from urllib.parse import urlencode

from depproxy.cache.catalogue import ORDERS, policies
from depproxy.config import GroupConfig
from depproxy.handlers.pages import chart, places, policy, snippets
from depproxy.handlers.pages.page import PageHandler
from depproxy.handlers.paths import pull_prefix

_PER_PAGE = 20
_LAST_PAGE = 10**6

_DOWNWARDS_FIRST = ("bytes", "cached", "last_pulled", "last_checked")
"""Of these, people want the largest or the latest."""

CHOICES = (
    ("image", "Name"),
    ("-last_pulled", "Last pulled"),
    ("-cached", "Cached"),
    ("-last_checked", "Last checked"),
    ("-bytes", "Size, largest first"),
    ("bytes", "Size, smallest first"),
    ("last_pulled", "Longest not pulled"),
)
"""Orders in the form; those of the columns' heads are the rest."""


@dataclass(frozen=True, slots=True)
class View:
    """What of a group's images is to be shown, and how."""

    group: str
    search: str
    order: str
    number: int
    period: str

    def link(self, **changes: object) -> str:
        """The same page with other wishes; a new order or search begins at its first page."""
        wishes = {
            "search": self.search,
            "sort": self.order,
            "page": self.number,
            "period": self.period,
        }
        wishes.update({"page": 1} if {"sort", "search"} & changes.keys() else {}, **changes)
        usual = {"search": "", "sort": "image", "page": 1, "period": chart.DEFAULT_PERIOD}
        query = {name: value for name, value in wishes.items() if value != usual[name]}
        path = places.group_page(self.group)
        return f"{path}?{urlencode(query)}" if query else path

    def sorting(self, name: str) -> str:
        """``ascending``, ``descending`` or ``none``: how a column is sorted now."""
        if self.order.removeprefix("-") != name:
            return "none"
        return "descending" if self.order.startswith("-") else "ascending"

    def sorted_by(self, name: str) -> str:
        """The page sorted by a column; the other way round, where it is already."""
        order = f"-{name}" if name in _DOWNWARDS_FIRST else name
        if self.order == order:
            order = order.removeprefix("-") if order.startswith("-") else f"-{order}"
        return self.link(sort=order)


class GroupHandler(PageHandler):
    """A visitor who may not clear the cache sees nothing of that."""

    async def get(self, group: str) -> None:
        found = self.readable(group)
        catalogue, view = self.site.proxy.catalogue, self._view(found)
        page = await catalogue.images(
            found, search=view.search, order=view.order, number=view.number, size=_PER_PAGE
        )
        usage, url = catalogue.usage(found), self.site.external_url
        period = chart.period_named(view.period)
        hours = self.site.proxy.meter.hours(found.name)
        history = chart.buckets(hours, self.site.clock(), period)
        self.show(
            "group.html",
            group=found,
            usage=usage,
            count=await catalogue.count(found),
            page=page,
            view=view,
            choices=CHOICES,
            period=period,
            chart=chart,
            history=history,
            prefix=pull_prefix(url, found.name),
            full_name=snippets.full_name,
            first_command=snippets.first_command(url, found),
            snippets=snippets.snippets(url, found),
            policies=policy.sentences(policies(found)),
            fills=self.site.proxy.blobs.progress(found),
            may_clear=self.site.gate.may_purge(found, self.visitor),
        )

    head = get

    def _view(self, group: GroupConfig) -> View:
        """A page has no errors for wishes that cannot be: they are left out."""
        order, number = self.asked("sort"), self.asked("page")
        is_number = number.isascii() and number.isdigit() and len(number) < 8
        return View(
            group.name,
            self.asked("search"),
            order if order.removeprefix("-") in ORDERS else "image",
            min(max(1, int(number)), _LAST_PAGE) if is_number else 1,
            chart.period_named(self.asked("period")).name,
        )


class FillsHandler(PageHandler):
    """``…/fills``: the part of the page that shows what is on its way, for the script that keeps
    it fresh."""

    def get(self, group: str) -> None:
        found = self.readable(group)
        self.show("fills.html", fills=self.site.proxy.blobs.progress(found))

    head = get
