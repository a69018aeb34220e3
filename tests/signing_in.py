"""What a client needs to say who it is, and the file that says who there is."""

import base64
import http.client
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import bcrypt

from tests.running import Reply, RunningServer

CHEAP = 4
"""The lowest work factor of bcrypt: right for tests, and for nobody else."""


def write_users(file: Path, passwords: Mapping[str, str]) -> None:
    """Replace the htpasswd file, as `depproxy passwd` does: a new file under the old name."""
    lines = [f"{user}:{_hash(password)}\n" for user, password in passwords.items()]
    new = file.with_name(f".{file.name}")
    new.write_text("".join(lines))
    os.replace(new, file)


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(CHEAP)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    """Basic credentials."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def bearer(token: str) -> dict[str, str]:
    """A token's header."""
    return {"Authorization": f"Bearer {token}"}


def send(
    server: RunningServer,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    source: str = "127.0.0.1",
) -> Reply:
    """One request with a body, or from another address (127.0.0.0/8 are all ours)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, source_address=(source, 0))
    connection.request(method, path, body, {"Connection": "close", **(headers or {})})
    with connection.getresponse() as response:
        return Reply(response.status, response.headers, response.read())


def token_path(*scopes: str) -> str:
    """Where a client asks for a token, as docker writes it."""
    asked = [("service", "dependency_proxy"), *(("scope", scope) for scope in scopes)]
    return f"/jwt/auth?{urlencode(asked)}"


def token_for(server: RunningServer, *names: str, headers: Mapping[str, str] | None = None) -> str:
    """A token to pull what ``names`` say."""
    reply = server.ask(token_path(*(f"repository:{name}:pull" for name in names)), "GET", headers)
    assert reply.status == 200
    return str(reply.json["token"])
