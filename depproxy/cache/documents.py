"""Manifest documents by digest: on disk, or fetched once and kept."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from depproxy.cache import tags
from depproxy.cache.flights import Flights
from depproxy.cache.in_use import InUse
from depproxy.cache.meter import Meter
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.errors import ContentMismatch, ManifestRefused, StoreError, UpstreamError
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import (
    MAX_MANIFEST,
    Descriptor,
    MediaTypeMissing,
    NotAManifest,
    check_media_type,
    judge_manifest,
    media_type_of,
)
from depproxy.store.blobs import SealBroken
from depproxy.store.tree import Tree
from depproxy.upstream.registry import ManifestDocument, ManifestHead

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest with its body, and how it was come by."""

    descriptor: Descriptor
    body: bytes = field(repr=False)
    status: CacheStatus


@dataclass(frozen=True, slots=True)
class _Fetched:
    document: Document
    source: Source


class Documents:
    """The manifest documents of all groups."""

    def __init__(self, notes: Executor, hashing: Executor, in_use: InUse, meter: Meter) -> None:
        self._notes = notes
        self._hashing = hashing
        self._in_use = in_use
        self._meter = meter
        self._fetches: Flights[_Fetched] = Flights()

    def at_hand(self, source: Source, digest: Digest) -> Document | None:
        """From disk, where nothing has to be found out about it first."""
        descriptor = source.tree.pointers.read_digest(source.repository, digest)
        if descriptor is None:
            return None
        try:
            body = source.tree.blobs.read_whole(digest, MAX_MANIFEST)
        except SealBroken:
            return None
        return Document(descriptor, body, CacheStatus.HIT) if body else None

    async def stored(self, source: Source, digest: Digest) -> Document | None:
        """From disk: the body, and the type that a pointer or the body itself tells."""
        body = await self._read(source, digest)
        if body is None:
            return None
        descriptor = source.tree.pointers.read_digest(source.repository, digest)
        if descriptor is None:
            descriptor = await self._recognise(source, digest, body)
            if descriptor is None:
                return None
            await self._make_known(source, descriptor, body)
        return Document(descriptor, body, CacheStatus.HIT)

    async def fetch(self, source: Source, digest: Digest) -> Document:
        """From the upstream, by one GET for all who ask meanwhile. Raises `UpstreamError`."""
        key = (source.tree, digest)
        while True:
            running = self._fetches.find(key)
            if running is None and (document := self.at_hand(source, digest)):
                return document  # it has come since it was looked for
            task = running or self._fetches.start(key, lambda: self._fetch(source, digest))
            try:
                fetched = await self._fetches.wait(task)
            except _FetchFailed as failed:
                if not failed.source.concerns(failed.error, source):
                    continue
                raise failed.error from failed
            document = fetched.document
            if document.status is CacheStatus.STORED:
                if not fetched.source.is_same_image(source):
                    await self._make_known(source, document.descriptor, document.body)
                if running:
                    return Document(document.descriptor, document.body, CacheStatus.COLLAPSED)
            return document

    async def stop(self) -> None:
        """Give up on what is being fetched."""
        await self._fetches.cancel()

    async def accept(
        self, source: Source, answer: ManifestDocument, digest: Digest | None
    ) -> Document:
        """Judge and keep what the upstream has sent as ``digest`` (None: it does not say). Where
        the disk refuses it, it is served all the same.

        Raises `ManifestRefused`, and `ContentMismatch` where the bytes are not what the digest
        names.
        """
        self._meter.fetched(source.group.name, len(answer.body))
        descriptor = _judged(source, answer, digest)
        try:
            await self._protected(self._write, source, descriptor, answer.body)
        except StoreError as exc:
            _log.warning("the manifest %s was not kept: %s", descriptor.digest, exc)
            return Document(descriptor, answer.body, CacheStatus.MISS)
        return Document(descriptor, answer.body, CacheStatus.STORED)

    async def _fetch(self, source: Source, digest: Digest) -> _Fetched:
        try:
            answer = await source.registry.get_manifest(source.repository.image, digest)
            return _Fetched(await self.accept(source, answer, digest), source)
        except UpstreamError as exc:
            raise _FetchFailed(source, exc) from exc

    async def _read(self, source: Source, digest: Digest) -> bytes | None:
        blobs = source.tree.blobs
        try:
            return blobs.read_whole(digest, MAX_MANIFEST) or None
        except SealBroken:
            pass
        loop = asyncio.get_running_loop()
        blob = await loop.run_in_executor(self._hashing, blobs.recheck, digest)
        if blob is None:
            source.tree.look_again(digest)
            return None
        with blob, suppress(StoreError):
            body = blob.read(0, blob.size) if blob.size <= MAX_MANIFEST else b""
            return body if body and len(body) == blob.size else None
        return None

    async def _recognise(self, source: Source, digest: Digest, body: bytes) -> Descriptor | None:
        """What bytes are that came as a blob, or as another image's manifest."""
        try:
            return Descriptor(digest, judge_manifest(body, None), len(body))
        except MediaTypeMissing:
            known = await self._on_thread(source.tree.pointers.find_digest, digest)
            return known or await self._typed_by_upstream(source, digest, body)
        except NotAManifest:
            return None

    async def _typed_by_upstream(
        self, source: Source, digest: Digest, body: bytes
    ) -> Descriptor | None:
        """A body that does not say its type: the upstream does, by HEAD."""
        try:
            head = await source.registry.head_manifest(source.repository.image, digest)
            if head is None:
                return None
            return Descriptor(digest, judge_manifest(body, head.content_type), len(body))
        except (UpstreamError, NotAManifest):
            return None

    def _write(self, source: Source, descriptor: Descriptor, body: bytes) -> None:
        """Body first, then what points to it. From then on nobody takes the body away; before, a
        removal may have done so, and a count have passed over what it leads to."""
        tree, repository, digest = source.tree, source.repository, descriptor.digest
        _keep(tree, digest, body)
        tree.pointers.write_digest(repository, descriptor)
        _keep(tree, digest, body)
        for tag in tree.pointers.tags_announcing(repository, digest):
            tree.pointers.update_tag(repository, tag, lambda old: tags.arrived(old, digest))

    async def _make_known(self, source: Source, descriptor: Descriptor, body: bytes) -> None:
        """Let this image know the manifest too."""
        try:
            await self._protected(self._write, source, descriptor, body)
        except StoreError as exc:
            _log.warning("%s cannot be noted: %s", descriptor.digest, exc)

    async def _protected(
        self,
        write: Callable[[Source, Descriptor, bytes], None],
        source: Source,
        descriptor: Descriptor,
        body: bytes,
    ) -> None:
        """Write while nobody takes the body away: nothing leads to it before its pointer does."""
        self._in_use.begin_write(source.tree, descriptor.digest)
        try:
            await self._on_thread(write, source, descriptor, body)
        finally:
            self._in_use.end_write(source.tree, descriptor.digest)

    async def _on_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._notes, work, *arguments)


def _keep(tree: Tree, digest: Digest, body: bytes) -> None:
    if not tree.blobs.is_there(digest):
        tree.store(digest, body)
        tree.holdings.add_blob(digest, len(body))
    tree.holdings.learn(digest, body)


class _FetchFailed(Exception):
    """A fetch that many may wait for has failed for the image through which it was begun."""

    def __init__(self, source: Source, error: UpstreamError) -> None:
        super().__init__(str(error))
        self.source = source
        self.error = error


def judged_head(source: Source, head: ManifestHead) -> Descriptor:
    """What a HEAD announces. Raises `ManifestRefused`."""
    media_type = media_type_of(head.content_type)
    try:
        check_media_type(media_type)
        if head.size > MAX_MANIFEST:
            raise NotAManifest(f"the manifest is larger than {MAX_MANIFEST} bytes")
    except NotAManifest as exc:
        raise ManifestRefused(source.registry.name, str(exc)) from exc
    return Descriptor(head.digest, media_type, head.size)


def _judged(source: Source, answer: ManifestDocument, digest: Digest | None) -> Descriptor:
    name = source.registry.name
    try:
        media_type = judge_manifest(answer.body, answer.content_type)
    except NotAManifest as exc:
        raise ManifestRefused(name, str(exc)) from exc
    digest = digest or Digest.of(answer.body)
    if not digest.names(answer.body):
        raise ContentMismatch(name, f"it sends another manifest than {digest} names")
    return Descriptor(digest, media_type, len(answer.body))
