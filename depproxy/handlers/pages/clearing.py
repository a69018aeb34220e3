"""``/groups/<group>/-/dependency_proxy/clear``: what would go, and then its going."""

from dataclasses import dataclass

from tornado.web import HTTPError

from depproxy.cache.purges import Totals
from depproxy.config import GroupConfig
from depproxy.handlers.pages.page import FormPageHandler
from depproxy.oci.digest import Digest, parse_reference
from depproxy.oci.names import GroupName, Tag

EVERYTHING = "everything"
"""What a form says that clears a group: one that names no image by mistake does not."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be cleared: a reference, an image where none is named, or the group where no
    image is."""

    image: str = ""
    reference: Tag | Digest | None = None

    @property
    def name(self) -> str:
        """``alpine:3.20``, ``alpine@sha256:…`` or ``alpine``; empty for the group."""
        if self.reference is None:
            return self.image
        return f"{self.image}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"


class ClearHandler(FormPageHandler):
    """For owners and the holder of the admin token; the cookie counts, with a form of ours."""

    async def get(self, group: str) -> None:
        found = self._clearable(group)
        target = _target(self.asked("image"), self.asked("reference"))
        totals = await self._amount(found, target)
        self.show("clear.html", group=found, target=target, totals=totals, everything=EVERYTHING)

    head = get

    async def post(self, group: str) -> None:
        """Answers with what went. Sent again, the form clears what was cached since."""
        found = self._clearable(group)
        self.check_form()
        target = _target(self.field("image"), self.field("reference"))
        if not target.image and self.field("what") != EVERYTHING:
            raise HTTPError(400, "the form names no image")
        totals = await self._clear(found, target)
        self.show("cleared.html", group=found, target=target, totals=totals)

    def way_back(self) -> str:
        """After signing in, not to what only a form may do."""
        if self.request.method == "POST":
            return self.request.path.removesuffix("/clear")
        return super().way_back()

    def _clearable(self, group: str) -> GroupConfig:
        """Raises `Unauthenticated`, `GroupUnknown` and `NotPermitted`."""
        found = self.site.gate.check_purge(GroupName(group), self.visitor)
        self.access.group = found.name
        return found

    async def _amount(self, group: GroupConfig, target: Target) -> Totals:
        """Raises `NameInvalid`."""
        repository = self.site.proxy.repository(group, target.image) if target.image else None
        return await self.site.proxy.purges.amount(group.name, repository, target.reference)

    async def _clear(self, group: GroupConfig, target: Target) -> Totals:
        """Raises `NameInvalid` and `StoreError`."""
        if not target.image:
            return await self.site.proxy.purges.group(group.name)
        repository = self.site.proxy.repository(group, target.image)
        return await self.site.proxy.purges.image(group.name, repository, target.reference)


def _target(image: str, reference: str) -> Target:
    """Raises `TagInvalid`, `DigestInvalid` and `HTTPError`."""
    if reference and not image:
        raise HTTPError(400, "a reference is one of an image: name it too")
    return Target(image, parse_reference(reference) if reference else None)
