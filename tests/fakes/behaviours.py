"""Ways in which a registry misbehaves."""

import asyncio
import threading

from tests.fakes.registry import Behaviour, Exchange

__all__ = [
    "Behaviour",
    "Exchange",
    "Gate",
    "blob_bytes",
    "blob_until",
    "chunked",
    "hang",
    "hold",
    "rate_limited",
    "raw",
    "redirect",
    "reset",
    "status",
]


class Gate:
    """Holds an answer back until the test opens it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self.reached = threading.Event()

    def open(self) -> None:
        self._open.set()
        if self._loop and self._event:
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), self._event or asyncio.Event()
        self.reached.set()
        if not self._open.is_set():
            await self._event.wait()


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Behaviour:
    """Always the same answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(code, headers, body)

    return behave


def redirect(location: str, code: int = 307) -> Behaviour:
    return status(code, {"Location": location})


def rate_limited(limit: int, remaining: int) -> Behaviour:
    """Honest about a manifest, and about how many more may be asked for, as Docker Hub is."""

    async def behave(exchange: Exchange) -> None:
        found = exchange.registry.content(exchange.seen.path)
        headers = {
            "Content-Type": found.media_type,
            "Docker-Content-Digest": found.digest,
            "RateLimit-Limit": f"{limit};w=21600",
            "RateLimit-Remaining": f"{remaining};w=21600",
        }
        await exchange.send(200, headers, found.body)

    return behave


def raw(data: bytes) -> Behaviour:
    """These bytes, whatever they are, and the end of the connection."""

    async def behave(exchange: Exchange) -> None:
        exchange.writer.write(data)
        await exchange.writer.drain()
        exchange.close()

    return behave


def hold(gate: Gate, code: int | None = None) -> Behaviour:
    """An answer with this status, or an honest one, but not before the gate opens."""

    async def behave(exchange: Exchange) -> None:
        await gate.wait()
        if code is None:
            await exchange.registry.answer_honestly(exchange)
        else:
            await exchange.send(code)

    return behave


def hang() -> Behaviour:
    """No answer, ever."""

    async def behave(exchange: Exchange) -> None:
        await exchange.registry.wait_for_ever()

    return behave


def reset() -> Behaviour:
    """A reset before the first byte."""

    async def behave(exchange: Exchange) -> None:
        exchange.reset()

    return behave


def blob_until(
    count: int, then: str, *, gate: Gate | None = None, ranges: bool = True
) -> Behaviour:
    """The first ``count`` bytes of what was asked for, then ``close``, ``reset``, ``hang``, or
    ``hold`` until the gate opens and the rest follows."""

    async def behave(exchange: Exchange) -> None:
        data = exchange.registry.blob(exchange.seen.path.rpartition("/")[2])
        asked = exchange.seen.headers.get("range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and ranges else 0
        headers = {"Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await exchange.send_head(206 if start else 200, headers)
        await exchange.send_body(data[start : start + count])
        match then:
            case "close":
                exchange.close()
            case "reset":
                exchange.reset()
            case "hang":
                await exchange.registry.wait_for_ever()
            case "hold":
                assert gate
                await gate.wait()
                await exchange.send_body(data[start + count :])

    return behave


def blob_bytes(data: bytes, headers: dict[str, str] | None = None) -> Behaviour:
    """Other bytes than were asked for."""
    return status(200, headers, data)


def chunked(
    data: bytes, code: int = 200, headers: dict[str, str] | None = None, *, gate: Gate | None = None
) -> Behaviour:
    """A body whose length nobody tells; to HEAD neither. Its end waits for the gate."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send_head(code, {"Transfer-Encoding": "chunked", **(headers or {})})
        if exchange.seen.method == "HEAD":
            return
        for start in range(0, len(data), 50_000):
            piece = data[start : start + 50_000]
            exchange.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await exchange.writer.drain()
        if gate:
            await gate.wait()
        exchange.writer.write(b"0\r\n\r\n")
        await exchange.writer.drain()

    return behave
