"""``depproxy warm``: pull images ahead, through the running server."""

import asyncio
import json
import os
import platform
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from urllib.parse import quote

from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from depproxy.commands.command import CommandFailed, Progress, add_json, split_image, tell
from depproxy.commands.own_server import own_url
from depproxy.config import Config
from depproxy.config.values import external_url
from depproxy.errors import InvalidRequest
from depproxy.oci.contents import Contents, Part, Variant, contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import ACCEPT
from depproxy.oci.names import Tag

PASSWORD_VARIABLE = "DEPPROXY_PASSWORD"
"""Where the password of ``--user`` is: arguments can be seen by everybody on a machine."""

_AT_ONCE = 4
"""Blobs at once: what docker does, and one more."""

_MAX_SAID = 64 * 1024
"""Bytes of an error's body that are looked at."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}
"""What the kernel calls a machine, and what images call it."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP")
    parser.add_argument("images", metavar="IMAGE[:TAG|@DIGEST]", nargs="+")
    parser.add_argument(
        "--platform",
        action="append",
        metavar="OS/ARCH",
        help="linux/arm64, or all; may be given several times; default: this machine's",
    )
    parser.add_argument(
        "--url", type=_server, help="of the server; default: as the configuration says"
    )
    parser.add_argument(
        "--user", help=f"for a private group; the password is in ${PASSWORD_VARIABLE}"
    )
    add_json(parser)


def run(config: Config, options: Namespace) -> int:
    """Pulls what it can; returns 1 where something failed. Raises `CommandFailed`."""
    server = options.url or own_url(config)
    warmer = _Warmer(
        f"{server}/v2/{quote(options.group)}/dependency_proxy/containers",
        options.platform or [_own_platform()],
        options.user,
    )
    results = asyncio.run(warmer.warm(options.images))
    tell(options, [_document(result) for result in results], *(result.line for result in results))
    return 1 if any(result.error for result in results) else 0


def _server(text: str) -> str:
    """``http://host:port`` or ``https://host``."""
    try:
        return external_url(text)
    except ValueError:
        raise ArgumentTypeError("expected http://host:port or https://host:port") from None


@dataclass(frozen=True, slots=True)
class Warmed:
    """What came of one image; ``size`` in bytes."""

    image: str
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    error: str | None = None

    @property
    def line(self) -> str:
        if self.error:
            return f"{self.image}: {self.error}"
        return f"{self.image}: {self.manifests} manifests and {self.blobs} blobs are cached"


def _document(warmed: Warmed) -> dict[str, object]:
    return {
        "image": warmed.image,
        "manifests": warmed.manifests,
        "blobs": warmed.blobs,
        "bytes": warmed.size,
        "error": warmed.error,
    }


class _Failed(Exception):
    """The server's answer, in its own words."""


class _Warmer:
    def __init__(self, prefix: str, platforms: list[str], user: str | None) -> None:
        self._prefix = prefix
        self._platforms = platforms
        self._user = user
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def warm(self, images: list[str]) -> list[Warmed]:
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=_AT_ONCE + 1, max_body_size=2**50
        )
        try:
            return [await self._one(image) for image in images]
        finally:
            self._client.close()

    async def _one(self, text: str) -> Warmed:
        try:
            image, reference = split_image(text)
            documents = await self._manifests(image, reference or Tag("latest"))
        except (InvalidRequest, _Failed) as exc:
            return Warmed(text, error=str(exc))
        parts = {part.digest: part for contents in documents for part in contents.parts}
        size = sum(part.size for part in parts.values())
        with Progress(text, size) as progress:
            pulls = [self._pull(image, part, progress) for part in parts.values()]
            failed = [e for e in await asyncio.gather(*pulls, return_exceptions=True) if e]
        for error in failed:
            if not isinstance(error, _Failed):
                raise error
        why = str(failed[0]) if failed else None
        return Warmed(text, len(documents), len(parts), size, why)

    async def _manifests(self, image: str, reference: Tag | Digest) -> list[Contents]:
        """The manifest, and those of the wanted platforms where it is an index."""
        top = contents_of(await self._get(f"{image}/manifests/{reference}"))
        wanted = [variant for variant in top.variants if self._is_wanted(variant)]
        if top.variants and not wanted:
            there = ", ".join(sorted({v.platform for v in top.variants if v.platform}))
            raise _Failed(f"it is not there for {', '.join(self._platforms)}, but for {there}")
        bodies = [await self._get(f"{image}/manifests/{variant.digest}") for variant in wanted]
        return [top, *(contents_of(body) for body in bodies)]

    def _is_wanted(self, variant: Variant) -> bool:
        """``linux/arm64`` also means its variants, such as ``linux/arm64/v8``."""
        return "all" in self._platforms or any(
            variant.platform == wanted or variant.platform.startswith(f"{wanted}/")
            for wanted in self._platforms
        )

    async def _pull(self, image: str, part: Part, progress: Progress) -> None:
        async with self._slots:
            await self._fetch(f"{image}/blobs/{part.digest}", progress)

    async def _get(self, path: str) -> bytes:
        answer = await self._fetch(path, None)
        if "Docker-Content-Digest" not in answer.headers:
            raise _Failed("the server does not answer as depproxy does: check --url")
        return answer.body

    async def _fetch(self, path: str, progress: Progress | None) -> HTTPResponse:
        """The body is only counted where there is ``progress``. Raises `_Failed`."""
        is_error = False
        said = bytearray()

        def head(line: str) -> None:
            nonlocal is_error
            if line.startswith("HTTP/"):
                is_error = line.split(" ", 2)[1] >= "400"

        def take(piece: bytes) -> None:
            assert progress
            if not is_error:
                progress.advance(len(piece))
            elif len(said) < _MAX_SAID:
                said.extend(piece)

        try:
            return await self._client.fetch(
                f"{self._prefix}/{path}",
                headers={"Accept": ACCEPT},
                header_callback=head,
                streaming_callback=take if progress else None,
                request_timeout=0,
                follow_redirects=False,
                auth_username=self._user,
                auth_password=os.environ.get(PASSWORD_VARIABLE, "") if self._user else None,
            )
        except HTTPClientError as exc:
            why = _said(exc, bytes(said))
            if exc.code == 401 and not self._user:
                why += f" (here by --user, with the password in ${PASSWORD_VARIABLE})"
            raise _Failed(why) from exc
        except OSError as exc:
            raise CommandFailed(f"no server answers at {self._prefix}: {exc}") from exc


def _said(error: HTTPClientError, streamed: bytes) -> str:
    """The message of an error's envelope; else its status."""
    body = streamed or (error.response.body if error.response else b"")
    try:
        return str(json.loads(body)["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return f"the server answers {error.code} {error.message or ''}".strip()


def _own_platform() -> str:
    machine = platform.machine()
    return f"linux/{_MACHINES.get(machine, machine)}"
