"""``/v2/<group>/dependency_proxy/containers/<image>/blobs/<digest>``"""

import asyncio
from typing import Protocol, runtime_checkable

from depproxy.cache.blob_stream import BlobStream
from depproxy.cache.blobs import BlobHead
from depproxy.cache.source import Source
from depproxy.cache.status import CacheStatus
from depproxy.errors import StorePurged
from depproxy.handlers.conditional import is_known, range_applies
from depproxy.handlers.registry import ImageHandler
from depproxy.oci.ranges import ByteRange, parse_range

_PIECE = 64 * 1024
"""Bytes that are read and sent at once; what a slow client holds of our memory."""

_TURN = 256 * 1024
"""Bytes that are read and written here after which the next request gets its turn: a fast reader
never makes the socket wait. What the kernel sends has turns of its own."""

_OCTETS = "application/octet-stream"


@runtime_checkable
class _SendsFiles(Protocol):
    """A connection whose bytes the kernel may take from a file."""

    def stand_in(self, fd: int, offset: int, length: int) -> memoryview: ...


class BlobHandler(ImageHandler):
    """A blob, whole or one range of it, from disk or as it arrives."""

    kind = "blob"

    def answer_at_once(self) -> bool:
        source = self.open_source()
        return source is not None and self._send_at_hand(source)

    async def answer(self) -> None:
        source = await self.source()
        if self._send_at_hand(source):
            return
        if self.is_head:
            self._send_head(await self.proxy.blobs.head(source, self.target.digest))
            return
        source, stream = await self._open(source)
        try:
            asked = self._asked_range(stream.size)
            if asked:
                stream = await self.proxy.blobs.open_range(
                    source, self.target.digest, stream, asked
                )
            if self._begin(stream.size, stream.status, asked):
                await self._send_stream(stream, asked)
        finally:
            stream.close()

    def _send_at_hand(self, source: Source) -> bool:
        """Send what needs no file to be opened: a blob's head, or a small blob."""
        blobs, digest = self.proxy.blobs, self.target.digest
        if self.is_head:
            head = blobs.head_at_hand(source, digest)
            if head:
                self._send_head(head)
            return head is not None
        body = blobs.small(source, digest)
        if body is None:
            return False
        asked = self._asked_range(len(body))
        if self._begin(len(body), CacheStatus.HIT, asked):
            self.send(body[asked.start : asked.end] if asked else body)
        return True

    def _send_head(self, head: BlobHead) -> None:
        if self._begin(head.size, head.status, None):
            self.send()

    def _asked_range(self, size: int | None) -> ByteRange | None:
        """Raises `RangeUnsatisfiable`."""
        headers, digest = self.request.headers, self.target.digest
        if size is None or self._is_known or not range_applies(headers.get("If-Range"), digest):
            return None
        return parse_range(headers.get("Range"), size)

    @property
    def _is_known(self) -> bool:
        """Whether the client has the blob already."""
        return is_known(self.request.headers.get("If-None-Match"), self.target.digest)

    def _begin(self, size: int | None, status: CacheStatus, asked: ByteRange | None) -> bool:
        """Describe the blob, or the range of it; False where that was all that is to be sent."""
        self.describe(self.target.digest, _OCTETS, size, status)
        self.headers["Accept-Ranges"] = "bytes"
        if self._is_known:
            self.send_not_modified()
            return False
        if asked and size is not None:
            self.status = 206
            self.headers["Content-Range"] = asked.content_range(size)
            self.headers["Content-Length"] = str(asked.end - asked.start)
        return True

    async def _open(self, source: Source) -> tuple[Source, BlobStream]:
        """A purge may come between finding a group's tree and beginning a file in it."""
        try:
            return source, await self.proxy.blobs.open(source, self.target.digest)
        except StorePurged:
            source = await self.source()
            return source, await self.proxy.blobs.open(source, self.target.digest)

    async def _send_stream(self, stream: BlobStream, asked: ByteRange | None) -> None:
        stop = asked.end if asked else stream.size
        await self.begin_body()
        if not await self._send_pieces(stream, asked.start if asked else 0, stop):
            self.cut()
            return
        self.end_body()
        if stop is None and self.request.version == "HTTP/1.0":
            self.connection.close()  # its end is the body's

    async def _send_pieces(self, stream: BlobStream, offset: int, stop: int | None) -> bool:
        """Send what is there as it comes; False where it ends before ``stop``."""
        turn = 0
        while stop is None or offset < stop:
            end = await stream.readable_to(offset)
            if end == offset:
                return stop is None
            end = end if stop is None else min(end, stop)
            while offset < end:
                piece = self._piece(stream, offset, end)
                if not piece:
                    return False  # the file has shrunk under our hands
                await self.write(piece)
                offset += len(piece)
                turn += len(piece) if isinstance(piece, bytes) else 0
                if turn >= _TURN:
                    turn = 0
                    await asyncio.sleep(0)
        return True

    def _piece(self, stream: BlobStream, offset: int, end: int) -> bytes | memoryview:
        """Some of the bytes from ``offset`` to ``end``, or what stands for them on a connection
        that takes them from the file itself."""
        connection = self.connection.stream
        if (
            isinstance(connection, _SendsFiles)
            and stream.fd is not None
            and stream.size is not None
            and end - offset >= _PIECE
        ):
            return connection.stand_in(stream.fd, offset, end - offset)
        return stream.read(offset, min(_PIECE, end - offset))
