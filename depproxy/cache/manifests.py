"""Manifests: a digest never changes; a tag is what the upstream says now, or said last.

A pull asks for the tag by HEAD and then for the digest that it was told, so a tag's pointer learns
of a new manifest in two steps: *announced* by the first, *current* by whoever brings its body.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from depproxy.cache import tags
from depproxy.cache.documents import Document, Documents, judged_head
from depproxy.cache.events import Events
from depproxy.cache.flights import Flights
from depproxy.cache.missing import Missing
from depproxy.cache.source import Source
from depproxy.cache.staleness import Staleness
from depproxy.cache.status import CacheStatus
from depproxy.errors import (
    ManifestUnknown,
    StoreError,
    UpstreamError,
    UpstreamNotFound,
)
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.oci.names import Tag
from depproxy.store.pointer_format import TagPointer
from depproxy.upstream.registry import ManifestDocument

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is sent. ``body`` is None where only the head was asked for and nothing is on disk;
    ``warning`` says why what is sent may be out of date."""

    descriptor: Descriptor
    body: bytes | None = field(repr=False)
    status: CacheStatus
    warning: str | None = None


class Manifests:
    """The manifests of all groups, by tag and by digest."""

    def __init__(
        self,
        documents: Documents,
        missing: Missing,
        staleness: Staleness,
        events: Events,
        notes: Executor,
        wall_clock: Callable[[], float],
    ) -> None:
        self._documents = documents
        self._missing = missing
        self._staleness = staleness
        self._events = events
        self._notes = notes
        self._now = wall_clock
        self._questions: Flights[Descriptor | Document] = Flights()
        self._second_questions: Flights[Document] = Flights()
        """By GET, where what a tag announces is not there."""

    async def stop(self) -> None:
        """Give up on what is being asked and fetched."""
        await self._questions.cancel()
        await self._second_questions.cancel()
        await self._documents.stop()

    # -- by digest ---------------------------------------------------------------------------

    def at_hand(self, source: Source, digest: Digest) -> Manifest | None:
        """From disk, where nothing has to be waited for."""
        stored = self._documents.at_hand(source, digest)
        return self._handed_out(source, digest, _whole(stored)) if stored else None

    async def by_digest(self, source: Source, digest: Digest, with_body: bool) -> Manifest:
        """From disk without a word to the upstream, else from there.

        Raises `ManifestUnknown`, `NameUnknown`, `UpstreamError`.
        """
        return self._handed_out(source, digest, await self._by_digest(source, digest, with_body))

    async def _by_digest(self, source: Source, digest: Digest, with_body: bool) -> Manifest:
        stored = await self._documents.stored(source, digest)
        if stored:
            return _whole(stored)
        if (source, digest) in self._missing:
            raise source.unknown(ManifestUnknown)
        try:
            if with_body:
                return _whole(await self._documents.fetch(source, digest))
            return await self._head_of_digest(source, digest)
        except UpstreamError as exc:
            if isinstance(exc, UpstreamNotFound):
                self._missing.remember(source, digest)
            raise source.told(exc, ManifestUnknown) from exc

    async def _head_of_digest(self, source: Source, digest: Digest) -> Manifest:
        head = await source.registry.head_manifest(source.repository.image, digest)
        if head is None:
            return _whole(await self._documents.fetch(source, digest))
        return Manifest(judged_head(source, head), None, CacheStatus.MISS)

    # -- by tag ------------------------------------------------------------------------------

    async def by_tag(self, source: Source, tag: Tag, with_body: bool) -> Manifest:
        """As the upstream says now; from disk and marked where it does not say anything.

        Raises `ManifestUnknown`, `NameUnknown`, `UpstreamError`.
        """
        return self._handed_out(source, tag, await self._by_tag(source, tag, with_body))

    async def _by_tag(self, source: Source, tag: Tag, with_body: bool) -> Manifest:
        pointer = await self._read_pointer(source, tag)
        at_hand = await self._at_hand(source, pointer)
        if at_hand and pointer and self._is_fresh(source, tag, pointer):
            return at_hand
        if (source, tag) in self._missing:
            raise source.unknown(ManifestUnknown)
        if at_hand is None:
            return await self._told(source, tag, with_body)
        try:
            return await self._staleness.fresh_or_stale(
                source,
                lambda: self._now_at_upstream(source, tag, with_body),
                lambda why: replace(at_hand, warning=why),
                lambda: source.tree.times.checked(source.repository, tag),
            )
        except UpstreamError as exc:
            raise source.told(exc, ManifestUnknown) from exc

    def _handed_out(self, source: Source, reference: Tag | Digest, manifest: Manifest) -> Manifest:
        digest = manifest.descriptor.digest
        source.tree.times.pull(source.repository, reference, digest, self._now())
        return manifest

    async def _told(self, source: Source, tag: Tag, with_body: bool) -> Manifest:
        """Where there is nothing to fall back to."""
        try:
            return await self._now_at_upstream(source, tag, with_body)
        except UpstreamError as exc:
            raise source.told(exc, ManifestUnknown) from exc

    async def _now_at_upstream(self, source: Source, tag: Tag, with_body: bool) -> Manifest:
        """What the upstream says that the tag is. Raises `UpstreamError`."""
        key = (source.registry, source.tree, source.repository, tag)
        running = self._questions.find(key)
        task = running or self._questions.start(key, lambda: self._question(source, tag))
        answer = await self._questions.wait(task)
        if isinstance(answer, Document):
            return _joined(answer) if running else _whole(answer)
        stored = await self._documents.stored(source, answer.digest)
        if stored:
            return _whole(stored)
        if not with_body:
            return Manifest(answer, None, CacheStatus.MISS)
        try:
            return _whole(await self._documents.fetch(source, answer.digest))
        except UpstreamNotFound:
            # Named, and gone before it could be fetched: what the tag is now decides.
            again = self._second_questions
            joined = again.find(key)
            document = await again.wait(
                joined or again.start(key, lambda: self._get_tag(source, tag))
            )
            return _joined(document) if joined else _whole(document)

    async def _question(self, source: Source, tag: Tag) -> Descriptor | Document:
        """Ask what a tag means, once for all who wait; it goes on if nobody does."""
        group = source.group.name
        try:
            answer = await self._head_tag(source, tag)
        except UpstreamError as exc:
            self._events.not_told(group, exc)
            raise
        is_on_disk = isinstance(answer, Document) and answer.status is CacheStatus.HIT
        self._events.asked(group, is_on_disk=is_on_disk)
        return answer

    async def _head_tag(self, source: Source, tag: Tag) -> Descriptor | Document:
        """The tag by its head; by its body where that is refused."""
        try:
            head = await source.registry.head_manifest(source.repository.image, tag)
        except UpstreamNotFound:
            await self._mark_gone(source, tag)
            raise
        if head is None:
            return await self._get_tag(source, tag)
        newest = judged_head(source, head)
        stored = await self._documents.stored(source, newest.digest)
        newest = stored.descriptor if stored else newest
        await self._learn(source, tag, newest, on_disk=stored is not None)
        return stored or newest

    async def _get_tag(self, source: Source, tag: Tag) -> Document:
        """The tag by its body."""
        try:
            answer = await source.registry.get_manifest(source.repository.image, tag)
        except UpstreamNotFound:
            await self._mark_gone(source, tag)
            raise
        return await self._take(source, tag, answer)

    async def _take(self, source: Source, tag: Tag, answer: ManifestDocument) -> Document:
        """The tag was answered by its body."""
        document = await self._documents.accept(source, answer, answer.digest)
        on_disk = document.status is CacheStatus.STORED
        await self._learn(source, tag, document.descriptor, on_disk)
        return document

    # -- what is known of a tag --------------------------------------------------------------

    async def _learn(self, source: Source, tag: Tag, newest: Descriptor, on_disk: bool) -> None:
        """The upstream has just answered 200."""
        self._missing.forget(source, tag)
        self._missing.forget(source, newest.digest)
        await self._point(source, tag, lambda old: tags.announced(old, newest, on_disk))
        source.tree.times.confirm(source.repository, tag, self._now())

    async def _mark_gone(self, source: Source, tag: Tag) -> None:
        self._missing.remember(source, tag)
        await self._point(source, tag, tags.gone)

    async def _read_pointer(self, source: Source, tag: Tag) -> TagPointer | None:
        """The pointer, with what was announced taken as current if its body has come by another
        way: as another image's, or before a crash."""
        pointer = source.tree.pointers.read_tag(source.repository, tag)
        if not pointer or not pointer.announced:
            return pointer
        digest = pointer.announced.digest
        if not await self._documents.stored(source, digest):
            return pointer
        await self._point(source, tag, lambda old: tags.arrived(old, digest))
        return tags.arrived(pointer, digest)

    async def _at_hand(self, source: Source, pointer: TagPointer | None) -> Manifest | None:
        """What could be served without the upstream."""
        if not pointer or pointer.gone or not pointer.current:
            return None
        stored = await self._documents.stored(source, pointer.current.digest)
        return _whole(stored) if stored else None

    def _is_fresh(self, source: Source, tag: Tag, pointer: TagPointer) -> bool:
        if pointer.announced or not source.group.revalidate_after:
            return False
        checked = source.tree.times.checked(source.repository, tag)
        return checked is not None and 0 <= self._now() - checked < source.group.revalidate_after

    async def _point(
        self, source: Source, tag: Tag, change: Callable[[TagPointer | None], TagPointer | None]
    ) -> None:
        """Change a pointer on a thread; a disk that refuses is only logged."""
        known = source.tree.pointers.read_tag(source.repository, tag)
        if change(known) == known:
            return
        update = source.tree.pointers.update_tag
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._notes, update, source.repository, tag, change)
        except StoreError as exc:
            _log.warning("a tag's pointer cannot be written: %s", exc)


def _joined(document: Document) -> Manifest:
    """As those are answered who have joined the request that fetched it."""
    if document.status is CacheStatus.STORED:
        document = replace(document, status=CacheStatus.COLLAPSED)
    return _whole(document)


def _whole(document: Document) -> Manifest:
    return Manifest(document.descriptor, document.body, document.status)
