"""``/v2/<group>/dependency_proxy/containers/<image>/blobs/<digest>``"""

import asyncio

from depproxy.cache.blobs import BlobStream
from depproxy.cache.source import Source
from depproxy.errors import StorePurged
from depproxy.handlers.conditional import is_known, range_applies
from depproxy.handlers.registry import ImageHandler
from depproxy.oci.digest import Digest
from depproxy.oci.ranges import ByteRange, parse_range

_PIECE = 64 * 1024
"""Bytes that are read and sent at once; what a slow client holds of our memory."""

_TURN = 256 * 1024
"""Bytes after which the next request gets its turn: a fast reader never makes the socket wait."""

_OCTETS = "application/octet-stream"


class BlobHandler(ImageHandler):
    """A blob, whole or one range of it, from disk or as it arrives."""

    async def head(self) -> None:
        digest = Digest.parse(self.target.reference)
        found = await self.proxy.blobs.head(await self.source(), digest)
        self.describe(digest, _OCTETS, found.size, found.status)
        self.set_header("Accept-Ranges", "bytes")
        if is_known(self.request.headers.get("If-None-Match"), digest):
            self.set_status(304)
        elif found.size is None:
            await self.flush()  # else `finish` would claim a length of 0
        self.finish()

    async def get(self) -> None:
        digest = Digest.parse(self.target.reference)
        source, stream = await self._open(digest)
        try:
            asked = self._asked_range(stream, digest)
            if is_known(self.request.headers.get("If-None-Match"), digest):
                asked = None
                self.set_status(304)
            elif asked:
                stream = await self.proxy.blobs.open_range(source, digest, stream, asked)
            self.describe(digest, _OCTETS, stream.size, stream.status)
            self.set_header("Accept-Ranges", "bytes")
            if self.get_status() == 304:
                self.finish()
                return
            if asked and stream.size is not None:
                self.set_status(206)
                self.set_header("Content-Range", asked.content_range(stream.size))
                self.set_header("Content-Length", str(asked.end - asked.start))
            await self._send(stream, asked)
        finally:
            stream.close()

    async def _open(self, digest: Digest) -> tuple[Source, BlobStream]:
        """A purge may come between finding a group's tree and beginning a file in it."""
        source = await self.source()
        try:
            return source, await self.proxy.blobs.open(source, digest)
        except StorePurged:
            source = await self.source()
            return source, await self.proxy.blobs.open(source, digest)

    def _asked_range(self, stream: BlobStream, digest: Digest) -> ByteRange | None:
        """Raises `RangeUnsatisfiable`."""
        if stream.size is None or not range_applies(self.request.headers.get("If-Range"), digest):
            return None
        return parse_range(self.request.headers.get("Range"), stream.size)

    async def _send(self, stream: BlobStream, asked: ByteRange | None) -> None:
        offset = asked.start if asked else 0
        stop = asked.end if asked else stream.size
        await self.flush()
        turn = 0
        while stop is None or offset < stop:
            end = await stream.readable_to(offset)
            if end == offset:
                break
            end = end if stop is None else min(end, stop)
            while offset < end:
                count = await self._send_piece(stream, offset, end)
                if not count:
                    self.cut()  # the file has shrunk under our hands
                    return
                offset += count
                self.sent += count
                turn += count
                if turn >= _TURN:
                    turn = 0
                    await asyncio.sleep(0)
        if stop is not None and offset < stop:
            self.cut()
            return
        self.finish()
        if stop is None and self.request.version == "HTTP/1.0":
            self.request.connection.close()  # type: ignore[union-attr]  # its end is the body's

    async def _send_piece(self, stream: BlobStream, offset: int, end: int) -> int:
        """Send some of the bytes from ``offset`` to ``end``; returns how many, 0 where there are
        none although there should be."""
        stand_in = getattr(self._connection_stream, "stand_in", None)
        if (
            stand_in
            and stream.fd is not None
            and stream.size is not None
            and end - offset >= _PIECE
        ):
            view: memoryview = stand_in(stream.fd, offset, end - offset)
            await self.request.connection.write(view)  # type: ignore[union-attr,arg-type]
            return len(view)
        piece = stream.read(offset, min(_PIECE, end - offset))
        if piece:
            self.write(piece)
            await self.flush()
        return len(piece)

    @property
    def _connection_stream(self) -> object:
        return getattr(self.request.connection, "stream", None)
