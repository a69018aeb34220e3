"""A registry on a real socket that does as it is told: it stalls, truncates, lies and refuses.

By default it is honest. `FakeRegistry.misbehave` lets the next requests that match be answered by a
behaviour from `tests.fakes.behaviours`, or by a function of the test's own.
"""

import asyncio
import base64
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass(frozen=True)
class Found:
    """What a path leads to."""

    digest: str
    media_type: str
    body: bytes


@dataclass
class Exchange:
    """One request, and the means to answer it in any way."""

    registry: "FakeRegistry"
    seen: Seen
    writer: asyncio.StreamWriter

    async def send(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        """An honest answer."""
        await self.send_head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.seen.method != "HEAD":
            await self.send_body(body)

    async def send_head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        await self.writer.drain()

    async def send_body(self, data: bytes) -> None:
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            self.writer.write(piece)
            await self.writer.drain()
            sent = self.registry.sent
            sent[self.seen.path] = sent.get(self.seen.path, 0) + len(piece)

    def close(self) -> None:
        """End the connection in good order, wherever the answer is."""
        self.writer.close()

    def reset(self) -> None:
        """End the connection by RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    behaviour: Behaviour
    times: int


@dataclass
class _Content:
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)


class FakeRegistry:
    """Runs on a thread of its own from `start` (or ``with``) to `stop`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Seen] = []
        self.sent: dict[str, int] = {}
        self.needs_token = False
        self.token_headers: dict[str, str] = {}
        self.token_lifetime = 300
        self.realm = ""
        self.redirect_blobs_to: str | None = None
        self.basic: str | None = None
        self.token_basic: str | None = None
        self.pages = True
        self.referrers: dict[str, bytes] = {}
        self._content = _Content()
        self._rules: list[_Rule] = []
        self._never = asyncio.Event()
        self._tokens: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0

    # -- content -----------------------------------------------------------------------------

    def add_image(self, name: str, tag: str, image: Image) -> None:
        for digest, (media_type, body) in image.manifests.items():
            self.add_manifest(name, body, media_type, digest=digest)
        for blob in image.blobs.values():
            self.add_blob(name, blob)
        self.tag(name, tag, image.index)

    def add_blob(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        self._content.blobs[name, digest] = data
        return digest

    def add_manifest(
        self, name: str, body: bytes, media_type: str, *, tag: str = "", digest: str = ""
    ) -> Digest:
        named = Digest(digest) if digest else Digest.of(body)
        self._content.manifests[name, named] = media_type, body
        if tag:
            self.tag(name, tag, named)
        return named

    def tag(self, name: str, tag: str, digest: Digest) -> None:
        self._content.tags[name, tag] = digest

    def untag(self, name: str, tag: str) -> None:
        del self._content.tags[name, tag]

    def remove_manifest(self, name: str, digest: Digest) -> None:
        del self._content.manifests[name, digest]

    def remove_blob(self, name: str, digest: Digest) -> None:
        del self._content.blobs[name, digest]

    # -- behaviour ---------------------------------------------------------------------------

    def misbehave(
        self, behaviour: Behaviour, path: str = ".*", method: str = ".*", times: int = 1_000_000
    ) -> None:
        """Answer the next ``times`` requests that match so; the newest rule counts."""
        rule = _Rule(method, re.compile(path), behaviour, times)
        self._rules.insert(0, rule)

    def behave(self) -> None:
        """Be honest again."""
        self._rules.clear()

    def asked(self, method: str, path: str = ".*") -> list[Seen]:
        """The requests so far that match."""
        pattern = re.compile(path)
        return [s for s in self.requests if s.method == method and pattern.fullmatch(s.path)]

    def accept_token(self, token: str) -> None:
        """Let a token count that a test has made up."""
        self._tokens.add(token)

    def forget_tokens(self) -> None:
        """No token that was given counts any more."""
        self._tokens.clear()

    # -- life --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def go_down(self) -> None:
        """Refuse connections from now on, and drop those there are."""
        self._run(self._close())

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        # On a thread: a browser's driver may have a loop of its own running on this one.
        last_words = threading.Thread(target=lambda: self._loop.run_until_complete(self._close()))
        last_words.start()
        last_words.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        await asyncio.sleep(0)  # connections that were just accepted become tasks
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)  # transports close one turn of the loop later

    # -- serving -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(Exchange(self, _parse(head.decode("latin-1")), writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if self._tls:
                writer.transport.abort()  # TLS would wait for the other side's farewell
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        seen = exchange.seen
        self.requests.append(seen)
        for rule in self._rules:
            if rule.path.fullmatch(seen.path) and re.fullmatch(rule.method, seen.method):
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
                await rule.behaviour(exchange)
                return
        await self.answer_honestly(exchange)

    async def wait_for_ever(self) -> None:
        """Kept by the registry: a task that nobody holds would be collected."""
        await self._never.wait()

    async def answer_honestly(self, exchange: Exchange) -> None:
        """What a registry does; behaviours may fall back to it."""
        seen = exchange.seen
        if seen.path == "/token":
            await self._give_token(exchange)
            return
        if self.needs_token and seen.headers.get("authorization", "")[7:] not in self._tokens:
            name = re.sub(r"^/v2/|/(manifests|blobs|referrers|tags)/.*$", "", seen.path)
            realm = self.realm or f"{self.url}/token"
            challenge = f'Bearer realm="{realm}",service="fake",scope="repository:{name}:pull"'
            await exchange.send(401, {"WWW-Authenticate": challenge, **self.token_headers})
            return
        if self.basic and seen.headers.get("authorization") != _basic(self.basic):
            await exchange.send(401, {"WWW-Authenticate": 'Basic realm="fake"'})
            return
        if tags := re.fullmatch(r"/v2/(.+)/tags/list", seen.path):
            await self._send_tags(exchange, tags[1])
            return
        if asked := re.fullmatch(r"/v2/.+/referrers/([^/]+)", seen.path):
            await self._send_referrers(exchange, asked[1])
            return
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", seen.path)
        if not match:
            await exchange.send(404)
            return
        name, kind, reference = match.groups()
        if kind == "manifests":
            await self._send_manifest(exchange, name, reference)
        elif self.redirect_blobs_to:
            await exchange.send(307, {"Location": self.redirect_blobs_to + seen.path})
        else:
            await self._send_blob(exchange, name, reference)

    async def _send_tags(self, exchange: Exchange, name: str) -> None:
        tags = sorted(tag for image, tag in self._content.tags if image == name)
        if not tags:
            await exchange.send(404)
            return
        query, headers = exchange.seen.query, {"Content-Type": "application/json"}
        if self.pages:
            tags = [tag for tag in tags if tag > query.get("last", [""])[0]]
            if "n" in query and len(tags) > (count := int(query["n"][0])):
                tags = tags[:count]
                link = f"{self.url}/v2/{name}/tags/list?last={tags[-1]}&n={count}&token=a%2Fb"
                headers["Link"] = f'<{link}>; rel="next"'
        await exchange.send(200, headers, json.dumps({"name": name, "tags": tags}).encode())

    async def _send_referrers(self, exchange: Exchange, digest: str) -> None:
        body = self.referrers.get(digest)
        if body is None:
            await exchange.send(404)
            return
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        if "artifactType" in exchange.seen.query:
            headers["OCI-Filters-Applied"] = "artifactType"
        await exchange.send(200, headers, body)

    async def _give_token(self, exchange: Exchange) -> None:
        given = exchange.seen.headers.get("authorization")
        if self.token_basic and given != _basic(self.token_basic):
            await exchange.send(401)
            return
        token = f"token-{len(self._tokens) + len(self.requests)}"
        self._tokens.add(token)
        body = json.dumps({"token": token, "expires_in": self.token_lifetime}).encode()
        await exchange.send(200, {"Content-Type": "application/json"}, body)

    async def _send_manifest(self, exchange: Exchange, name: str, reference: str) -> None:
        digest = self._content.tags.get((name, reference), reference)
        found = self._content.manifests.get((name, digest))
        if found is None:
            await exchange.send(404, {"Content-Type": "application/json"}, b'{"errors":[]}')
            return
        media_type, body = found
        await exchange.send(
            200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, body
        )

    async def _send_blob(self, exchange: Exchange, name: str, digest: str) -> None:
        data = self._content.blobs.get((name, digest))
        if data is None:
            await exchange.send(404)
            return
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.seen.headers.get("range", ""))
        if not asked:
            await exchange.send(200, headers, data)
            return
        start, end = int(asked[1]), int(asked[2] or len(data) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        await exchange.send(206, headers, data[start:end])

    def content(self, path: str) -> Found:
        """What an honest answer to a path would hold, of whatever image."""
        reference = path.rpartition("/")[2]
        digest = next(
            (d for (_, tag), d in self._content.tags.items() if tag == reference), reference
        )
        for (_, name), (media_type, body) in self._content.manifests.items():
            if name == digest and "/manifests/" in path:
                return Found(digest, media_type, body)
        return Found(digest, "application/octet-stream", self.blob(digest))

    async def pause(self, seconds: float) -> None:
        """Be slow."""
        await asyncio.sleep(seconds)

    def blob(self, digest: str) -> bytes:
        """The bytes of a blob of whatever image."""
        return next(data for (_, name), data in self._content.blobs.items() if name == digest)


def _basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _parse(head: str) -> Seen:
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    return Seen(method, unquote(parts.path), parse_qs(parts.query), headers)
