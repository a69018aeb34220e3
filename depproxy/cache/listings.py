"""Lists of tags and of referrers: the upstream's, or the last good ones."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from depproxy.cache.flights import Flights
from depproxy.cache.paging import Page, clamped, following_query, paged
from depproxy.cache.source import Source
from depproxy.cache.staleness import Staleness
from depproxy.errors import (
    ManifestUnknown,
    NameUnknown,
    StoreError,
    UpstreamError,
    UpstreamNotFound,
    UpstreamSenseless,
)
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX
from depproxy.store.lists import MAX_LIST, KeptList

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What is sent. ``warning`` says why it may be out of date."""

    kept: KeptList
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of an upstream: a path below the image, a query, and how answers look."""

    path: str
    query: str
    accept: str
    judge: Callable[[Any], bool]
    keeps_404: bool = False
    """Whether 404 is an answer like another, to be served while the upstream is down: a registry
    without referrers sends clients to tags, which they find here."""

    @property
    def text(self) -> str:
        return f"{self.path}?{self.query}"


class Listings:
    """The lists of all groups."""

    def __init__(
        self, staleness: Staleness, notes: Executor, wall_clock: Callable[[], float]
    ) -> None:
        self._staleness = staleness
        self._notes = notes
        self._now = wall_clock
        self._questions: Flights[KeptList] = Flights()

    async def tags(self, source: Source, query: Mapping[str, str]) -> tuple[Page, str | None]:
        """A page of an image's tags, and a warning if it is the last good one.

        Raises `NameUnknown` and `UpstreamError`.
        """
        asked = clamped(query)
        # An empty page is not worth asking for, but whether there is such an image is.
        forwarded = asked | {"n": "1"} if asked.get("n") == "0" else asked
        question = _Question("tags/list", urlencode(forwarded), "application/json", _is_tag_list)
        try:
            listing = await self._current(source, question)
        except UpstreamNotFound as exc:
            raise NameUnknown(f"{source.name} is unknown to {source.registry.name}") from exc
        except UpstreamError as exc:
            raise source.told(exc, ManifestUnknown) from exc
        names = json.loads(listing.kept.body).get("tags") or []
        return paged(names, listing.kept.following, asked), listing.warning

    async def referrers(self, source: Source, digest: Digest, query: Mapping[str, str]) -> Listing:
        """The index of what refers to a manifest.

        Raises `ManifestUnknown`, `NameUnknown` and `UpstreamError`.
        """
        question = _Question(
            f"referrers/{digest}",
            urlencode(clamped(query)),
            OCI_INDEX,
            _is_referrers_index,
            keeps_404=True,
        )
        try:
            listing = await self._current(source, question)
        except UpstreamError as exc:
            raise source.told(exc, ManifestUnknown) from exc
        if listing.kept.missing:
            raise ManifestUnknown(
                f"{source.registry.name} lists no referrers of {source.name}@{digest}"
            )
        return listing

    async def stop(self) -> None:
        """Give up on what is being asked."""
        await self._questions.cancel()

    async def _current(self, source: Source, question: _Question) -> Listing:
        kept = source.tree.lists.read(source.repository, question.text)
        key = (source.registry, source.tree, source.repository, question.text)

        async def ask() -> Listing:
            task = self._questions.join(key, lambda: self._ask(source, question))
            return Listing(await self._questions.wait(task))

        if kept is None:
            return await ask()
        return await self._staleness.fresh_or_stale(
            source, ask, lambda why: Listing(kept, why), lambda: kept.checked
        )

    async def _ask(self, source: Source, question: _Question) -> KeptList:
        """Once for all who wait; it goes on if nobody does."""
        resource = question.path + (f"?{question.query}" if question.query else "")
        lists = source.tree.lists
        try:
            body, headers = await source.registry.get_list(
                source.repository.image, resource, question.accept, MAX_LIST
            )
        except UpstreamNotFound:
            lists.remove(source.repository, question.text)
            if not question.keeps_404:
                raise
            kept = KeptList(question.text, self._now(), "", missing=True)
        else:
            kept = KeptList(
                question.text,
                self._now(),
                _judged(source, question, body),
                following_query(headers.get("Link", "")),
                headers.get("OCI-Filters-Applied", ""),
            )
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._notes, lists.write, source.repository, kept)
        except StoreError as exc:
            _log.warning("a list of %s was not kept: %s", source.name, exc)
        return kept


def _judged(source: Source, question: _Question, body: bytes) -> str:
    """The body as text, if it is what was asked for. Raises `UpstreamSenseless`."""
    try:
        text = body.decode()
        document = json.loads(text) if len(body) <= MAX_LIST else None
    except (ValueError, RecursionError):
        document = None
    if not question.judge(document):
        raise UpstreamSenseless(
            source.registry.name, f"its answer to {question.path.partition('/')[0]} is no such list"
        )
    return text


def _is_tag_list(document: Any) -> bool:
    if not isinstance(document, dict) or "tags" not in document:
        return False
    names = document["tags"]
    return names is None or (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    )


def _is_referrers_index(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("manifests"), list)
