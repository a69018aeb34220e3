"""One upstream in a registry's words: OCI distribution specification 1.1,
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tornado.httputil import HTTPHeaders

from depproxy.config import UpstreamConfig
from depproxy.errors import DigestInvalid, UpstreamCannotResume, UpstreamError
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import ACCEPT, MAX_MANIFEST, is_telling
from depproxy.oci.names import ImageName, Tag
from depproxy.oci.ranges import ByteRange
from depproxy.upstream.conversation import Login, Purpose, Rules, Step, converse, refusal
from depproxy.upstream.health import Health
from depproxy.upstream.ledger import Ledger
from depproxy.upstream.messages import (
    Answer,
    BoundedBuffer,
    ChooseSink,
    Head,
    Origin,
    Request,
    Sink,
    Transport,
)
from depproxy.upstream.tokens import TokenJar

_MAX_ASIDE = 64 * 1024
"""Bytes of an error's or token service's body that are read. Tokens have a few KiB."""

_HEAD_REFUSED = frozenset({400, 401, 403, 405, 406, 415, 501})
"""Answers to a HEAD after which a GET may still succeed."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What a HEAD tells of a manifest. ``size`` is in bytes."""

    digest: Digest
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """What a GET brings. ``digest`` is what the upstream says that it is, not what it is."""

    body: bytes = field(repr=False)
    content_type: str
    digest: Digest | None


class Inflow(Protocol):
    """Where a blob's bytes go. Called on the thread that receives them; what it raises ends the
    transfer and is raised by `Registry.fetch_blob`."""

    def begin(self, start: int, size: int | None) -> None:
        """What follows begins at offset ``start`` of a blob of ``size`` bytes, None: unknown."""

    def write(self, data: memoryview, /) -> None: ...


class Registry:
    """An upstream, asked as one user or as nobody. All methods raise `UpstreamError`."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        small: Transport,
        bulk: Transport,
        clock: Callable[[], float],
        ledger: Ledger,
        login: Login | None = None,
    ) -> None:
        self.name = config.name
        self.is_anonymous = login is None
        self.revalidate_timeout = config.revalidate_timeout
        self.health = Health(config.name, clock)
        self._url = config.url
        self._small = small
        self._bulk = bulk
        self._jar = TokenJar(clock)
        self._clock = clock
        self._ledger = ledger
        self._asked: Counter[ImageName | None] = Counter()
        self._rules = Rules(config.name, Origin.of(config.url), config.trusted_realms, login)

    def is_asked(self, image: ImageName) -> bool:
        """Whether it owes an answer about an image now, a blob's bytes aside. A manifest by its
        digest is of any image, since those may wait for it together."""
        return image in self._asked or None in self._asked

    async def head_manifest(self, image: ImageName, reference: Tag | Digest) -> ManifestHead | None:
        """What a reference means now, by HEAD; None where that is refused or tells too little, and
        a GET may tell."""
        resource = f"manifests/{reference}"
        answer = await self._small_talk("HEAD", image, resource, {"Accept": ACCEPT})
        if answer.status in _HEAD_REFUSED:
            return None
        if answer.status != 200:
            raise refusal(self.name, answer.head)
        digest = reference if isinstance(reference, Digest) else _said_digest(answer.head)
        content_type = answer.headers.get("Content-Type", "")
        if digest is None or answer.head.length is None or not is_telling(content_type):
            return None
        return ManifestHead(digest, content_type, answer.head.length)

    async def get_manifest(self, image: ImageName, reference: Tag | Digest) -> ManifestDocument:
        """The manifest's body, at most a little more than `MAX_MANIFEST`; nothing of it is
        checked."""
        with self._owed(None if isinstance(reference, Digest) else image):
            answer = await self._small_talk(
                "GET", image, f"manifests/{reference}", {"Accept": ACCEPT}, MAX_MANIFEST + 1
            )
        if answer.status != 200:
            raise refusal(self.name, answer.head)
        return ManifestDocument(
            answer.body, answer.headers.get("Content-Type", ""), _said_digest(answer.head)
        )

    async def get_list(
        self, image: ImageName, resource: str, accept: str, limit: int
    ) -> tuple[bytes, HTTPHeaders]:
        """A list of tags or referrers: its body, at most a little more than ``limit`` bytes, and
        the answer's headers."""
        answer = await self._small_talk("GET", image, resource, {"Accept": accept}, limit + 1)
        if answer.status != 200:
            raise refusal(self.name, answer.head)
        return answer.body, answer.headers

    async def ask_blob_size(self, image: ImageName, digest: Digest) -> int | None:
        """Bytes, None where the upstream does not tell: by HEAD; by GET and hanging up where HEAD
        is refused."""
        answer = await self._small_talk("HEAD", image, f"blobs/{digest}")
        if answer.status in _HEAD_REFUSED:
            answer = await self._small_talk("GET", image, f"blobs/{digest}", limit=0)
        if answer.status != 200:
            raise refusal(self.name, answer.head)
        return answer.head.length

    async def fetch_blob(
        self, image: ImageName, digest: Digest, start: int, inflow: Inflow
    ) -> None:
        """Bring the blob from offset ``start`` on. Where the upstream ignores the range, what comes
        begins at 0, as ``inflow.begin`` is told.

        Raises `UpstreamCannotResume` where it answers with another range or none.
        """

        def choose(head: Head) -> Sink | None:
            if head.status == 200:
                inflow.begin(0, head.length)
                return inflow
            if start and head.status == 206:
                inflow.begin(start, _resumed_size(self.name, head, start))
                return inflow
            if start and head.status in (206, 416):
                raise UpstreamCannotResume(self.name, "it has no such range of this blob")
            return BoundedBuffer(_MAX_ASIDE)

        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = await self._talk(self._bulk, "GET", image, f"blobs/{digest}", headers, choose)
        if answer.status != 200 and not (start and answer.status == 206):
            raise refusal(self.name, answer.head)

    async def fetch_range(
        self, image: ImageName, digest: Digest, asked: ByteRange, inflow: Inflow
    ) -> None:
        """Bring one range of a blob, and nothing else.

        Raises `UpstreamCannotResume` where the upstream does not send just that.
        """

        def choose(head: Head) -> Sink | None:
            if head.status == 206 and _is_range(head, asked):
                inflow.begin(asked.start, None)
                return inflow
            if head.status in (200, 206, 416):
                raise UpstreamCannotResume(self.name, "it does not send ranges of this blob")
            return BoundedBuffer(_MAX_ASIDE)

        headers = {"Range": f"bytes={asked.start}-{asked.end - 1}"}
        answer = await self._talk(self._bulk, "GET", image, f"blobs/{digest}", headers, choose)
        if answer.status != 206:
            raise refusal(self.name, answer.head)

    @contextmanager
    def _owed(self, image: ImageName | None) -> Iterator[None]:
        self._asked[image] += 1
        try:
            yield
        finally:
            self._asked[image] -= 1
            if not self._asked[image]:
                del self._asked[image]

    async def _small_talk(
        self,
        method: str,
        image: ImageName,
        resource: str,
        headers: dict[str, str] | None = None,
        limit: int = _MAX_ASIDE,
    ) -> Answer:
        """A request whose answer is kept in memory, of a 200 at most ``limit`` bytes (0: none)."""
        buffer = BoundedBuffer(limit)

        def choose(head: Head) -> Sink | None:
            if head.status != 200:
                return BoundedBuffer(_MAX_ASIDE)
            return buffer if limit else None

        with self._owed(image):
            answer = await self._talk(self._small, method, image, resource, headers or {}, choose)
        return Answer(answer.head, buffer.bytes())

    async def _talk(
        self,
        transport: Transport,
        method: str,
        image: ImageName,
        resource: str,
        headers: dict[str, str],
        choose: ChooseSink,
    ) -> Answer:
        request = Request(method, f"{self._url}/v2/{image}/{resource}", headers)
        try:
            self.health.check_limit()
            return await self._converse(transport, request, image, choose)
        except UpstreamError as exc:
            self._ledger.failed(self.name, exc)
            raise

    async def _converse(
        self, transport: Transport, request: Request, image: ImageName, choose: ChooseSink
    ) -> Answer:
        conversation = converse(request, f"repository:{image}:pull", self._rules, self._jar)
        try:
            step = next(conversation)
            while True:
                step = conversation.send(await self._perform(transport, step, choose))
        except StopIteration as done:
            answer: Answer = done.value
            self._note(answer)
            return answer
        except UpstreamError as exc:
            self.health.failed(exc)
            raise

    def _note(self, answer: Answer) -> None:
        self._ledger.concluded(self.name, answer.status)
        limit, remaining = "RateLimit-Limit", "RateLimit-Remaining"
        self.health.note_rate_limit(answer.headers.get(limit), answer.headers.get(remaining))
        if answer.status == 429 or answer.status >= 500:
            self.health.failed(refusal(self.name, answer.head))
        else:
            self.health.succeeded()

    async def _perform(self, transport: Transport, step: Step, choose: ChooseSink) -> Answer:
        if step.purpose is Purpose.RESOURCE:
            return Answer(await self._send(transport, step.request, choose))
        buffer = BoundedBuffer(_MAX_ASIDE)
        head = await self._send(self._small, step.request, lambda _: buffer)
        return Answer(head, buffer.bytes())

    async def _send(self, transport: Transport, request: Request, choose: ChooseSink) -> Head:
        begun = self._clock()
        heads: list[tuple[int, float]] = []

        def choose_and_note(head: Head) -> Sink | None:
            heads.append((head.status, self._clock()))
            return choose(head)

        try:
            return await transport.send(request, choose_and_note)
        finally:
            for status, came in heads:
                self._ledger.answered(self.name, status, came - begun)


def _said_digest(head: Head) -> Digest | None:
    try:
        return Digest.parse(head.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None


def _is_range(head: Head, asked: ByteRange) -> bool:
    match = _CONTENT_RANGE.fullmatch(head.headers.get("Content-Range", "").strip())
    return match is not None and (int(match[1]), int(match[2]) + 1) == tuple(asked)


def _resumed_size(upstream: str, head: Head, start: int) -> int | None:
    """The blob's size by ``Content-Range`` (RFC 9110, 14.4); None where it says ``*``."""
    match = _CONTENT_RANGE.fullmatch(head.headers.get("Content-Range", "").strip())
    if not match or int(match[1]) != start:
        raise UpstreamCannotResume(upstream, "it answers with another range than was asked for")
    last, size = int(match[2]), None if match[3] == "*" else int(match[3])
    if size is not None and last != size - 1:
        raise UpstreamCannotResume(upstream, "it answers with a part of the range only")
    return size
