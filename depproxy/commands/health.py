"""``depproxy health``: ask the running server whether it is alive, or ready."""

import http.client
import json
import socket
import ssl
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from depproxy.commands.command import CommandFailed, add_json, tell
from depproxy.commands.own_server import own_address
from depproxy.config import Address, Config
from depproxy.config.values import external_url

_PATIENCE = 5.0
"""Seconds for each step of the answer; what asks for a container or a service waits for longer."""

_MAX_BODY = 64 * 1024
"""Bytes that are read of an answer; ours have a few dozen."""


@dataclass(frozen=True, slots=True)
class _Door:
    """Where to ask. Of a certificate that is not ``checked``, any will do."""

    address: Address
    tls: bool = False
    checked: bool = True

    def __str__(self) -> str:
        scheme = "https" if self.tls else "http"
        return str(self.address) if self.address.unix else f"{scheme}://{self.address}"

    def connection(self) -> http.client.HTTPConnection:
        host, port = self.address.host, self.address.port
        if self.address.unix:
            return _UnixConnection(self.address.unix)
        if not self.tls:
            return http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        trust = ssl.create_default_context()
        if not self.checked:
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=trust)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ready", action="store_true", help="whether it serves what is cached, and is not stopping"
    )
    parser.add_argument(
        "--url",
        type=_door,
        help="of the server, or unix:/path; default: as the configuration says",
    )
    add_json(parser)


def run(config: Config, options: Namespace) -> int:
    """Returns 1 where the server says no. Raises `CommandFailed` where it says nothing."""
    door = options.url or _own_door(config)
    status, body = _answer(door, "/-/readiness" if options.ready else "/-/health")
    told = _told(body)
    said, reason = told.get("status"), told.get("reason")
    if said is None:
        raise CommandFailed(f"{door} answers {status} {_phrase(status)}, not as depproxy does")
    line = f"{door}: {said}" + (f": {reason}" if reason else "")
    tell(options, {"url": str(door), "status": said, "reason": reason}, line)
    return 0 if status == HTTPStatus.OK else 1


def _own_door(config: Config) -> _Door:
    """Its certificate is for the name that clients use, and mostly not for this address. Nothing
    secret is said to it."""
    address = own_address(config)
    return _Door(address, tls=bool(config.tls.certificate) and not address.unix, checked=False)


def _door(text: str) -> _Door:
    """``http://host:port``, ``https://host`` or ``unix:/path``."""
    if text.startswith("unix:/"):
        return _Door(Address(unix=text.removeprefix("unix:")))
    try:
        url = urlsplit(external_url(text))
    except ValueError:
        expected = "expected http://host:port, https://host:port or unix:/path"
        raise ArgumentTypeError(expected) from None
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return _Door(Address(url.hostname or "", port), tls=url.scheme == "https")


def _answer(door: _Door, path: str) -> tuple[int, bytes]:
    connection = door.connection()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        with connection.getresponse() as response:
            return response.status, response.read(_MAX_BODY)
    except (OSError, http.client.HTTPException) as exc:
        raise CommandFailed(f"no server answers at {door}: {exc}") from exc
    finally:
        connection.close()


def _told(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _phrase(status: int) -> str:
    return http.client.responses.get(status, "")
