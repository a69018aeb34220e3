"""HTTP as this room speaks it: a request, an answer, and where an answer's body goes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what credentials are bound to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Raises ValueError for what is no absolute http or https URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no http or https URL: {url[:200]!r}")
        return cls(
            parts.scheme,
            parts.hostname.lower().rstrip("."),
            parts.port or (443 if parts.scheme == "https" else 80),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """``foreign`` marks a redirect's target, whose address is checked when it is connected to.

    `repr` shows no header: credentials are among them.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    foreign: bool = False

    def with_authorization(self, value: str | None) -> "Request":
        """The same request as somebody else, or as nobody."""
        headers = {k: v for k, v in self.headers.items() if k != "Authorization"}
        if value:
            headers["Authorization"] = value
        return replace(self, headers=headers)


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer, without its body."""

    status: int
    headers: HTTPHeaders

    @property
    def length(self) -> int | None:
        """``Content-Length`` in bytes; None where there is none that can be read."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None


@dataclass(frozen=True, slots=True)
class Answer:
    """A head, with as much of its body as was kept in memory."""

    head: Head
    body: bytes = field(default=b"", repr=False)

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> HTTPHeaders:
        return self.head.headers


class Sink(Protocol):
    """Where a body goes, on the thread that receives it. What it raises ends the transfer."""

    def write(self, data: memoryview, /) -> None: ...


ChooseSink = Callable[[Head], Sink | None]
"""Decides with the head in hand where the body goes; None: nobody wants it, hang up."""


class Transport(Protocol):
    """Carries one request to one host. Knows neither tokens nor redirects."""

    async def send(self, request: Request, choose_sink: ChooseSink) -> Head:
        """The answer's head, when its body has been written or turned down.

        Raises `UpstreamUnreachable`, `UpstreamTimeout`, `UpstreamSenseless`, or what the sink
        raised.
        """
        ...


class BoundedBuffer:
    """A sink in memory for answers that have no business being long: the rest is dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def write(self, data: memoryview, /) -> None:
        """Raises `BufferFull` when ``limit`` bytes are passed."""
        room = self._limit - len(self._data)
        self._data += data[:room]
        if len(data) > room:
            raise BufferFull

    def bytes(self) -> bytes:
        return bytes(self._data)


class BufferFull(Exception):
    """More came than anybody wants to read; what came so far is kept."""
