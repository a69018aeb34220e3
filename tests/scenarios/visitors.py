"""Visitors of every kind, and what each of them presents."""

import hmac
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from depproxy.access.tokens import Tokens
from depproxy.demo.image import make_image
from tests.fakes.registry import FakeRegistry
from tests.running import Reply, RunningServer
from tests.signing_in import basic, bearer, send, token_for

URL = "https://cache.example.org"
LIFETIME = 900.0

GROUPS = {"public": "other", "private": "mygroup", "unknown": "nobody"}
"""The columns of the table, and a group of each kind."""

READERS = ["reader", "removed", "changed"]
PASSWORDS = {user: f"secret of {user}" for user in [*READERS, "owner", "stranger"]}

IMAGE = make_image("A test speaks.", {"file": b"of a layer of its own"})
BLOB = next(iter(IMAGE.blobs))


def name_in(group: str, image: str = "hello") -> str:
    return f"{group}/dependency_proxy/containers/{image}"


@dataclass
class World:
    """One server with a group of each kind, and everything that somebody could present to it."""

    registry: FakeRegistry
    server: RunningServer
    users_file: Path
    old_tokens: dict[str, str] = field(default_factory=dict)
    hosts: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, path: str, method: str, headers: Mapping[str, str]) -> Reply:
        """Each time from another address: wrong passwords slow their own only."""
        host = next(self.hosts)
        source = f"127.1.{host // 250}.{host % 250 + 1}"
        return send(self.server, path, method, headers, source=source)

    def token(self, user: str, name: str) -> str:
        """What a token service has for a user; the empty one is anybody."""
        return token_for(self.server, name, headers=basic(user, PASSWORDS[user]) if user else {})

    @property
    def secret(self) -> str:
        return (self.server.data / "token_key").read_text().strip()

    @property
    def admin(self) -> dict[str, str]:
        return {"PRIVATE-TOKEN": self.server.token}

    def purge(self, group: str) -> None:
        path = f"/api/v4/groups/{group}/dependency_proxy/cache"
        assert self.ask(path, "DELETE", self.admin).status == 202

    def signed(self, name: str, key: bytes | None = None, **changes: str) -> str:
        """The reader's token for ``name`` with other claims, signed again as the server does."""
        claims: dict[str, Any] = jwt.decode(
            self.token("reader", name), options={"verify_signature": False}
        )
        own = hmac.digest(self.secret.encode(), b"depproxy: tokens of clients", "sha256")
        return jwt.encode(claims | changes, key or own, "HS256")


Present = Callable[[World, str], dict[str, str]]
"""The headers of a visitor who wants the repository of this name."""


def nothing(world: World, name: str) -> dict[str, str]:
    return {}


def token_of(user: str) -> Present:
    return lambda world, name: bearer(world.token(user, name))


def password_of(user: str) -> Present:
    return lambda world, name: basic(user, PASSWORDS[user])


def wrong_password(world: World, name: str) -> dict[str, str]:
    return basic("reader", PASSWORDS["owner"])


def malformed_password(world: World, name: str) -> dict[str, str]:
    return {"Authorization": "Basic cmVhZGVy!"}


def old_token_of(user: str) -> Present:
    return lambda world, name: bearer(world.old_tokens[user])


def login_token(world: World, name: str) -> dict[str, str]:
    return bearer(token_for(world.server, headers=basic("reader", PASSWORDS["reader"])))


def token_for_another(user: str, *others: str) -> Present:
    """A token for everything but what is wanted."""

    def present(world: World, name: str) -> dict[str, str]:
        names = [name_in(group) for group in GROUPS.values()] + [f"{name}/more", name[:-1]]
        asked = [other for other in names if other != name]
        return bearer(token_for(world.server, *asked, headers=basic(user, PASSWORDS[user])))

    return present


def expired_token(world: World, name: str) -> dict[str, str]:
    """Issued by the server's own means, so long ago that its life has just ended."""
    return own_token(world, name, issued=time.time() - LIFETIME)


def fresh_token(world: World, name: str) -> dict[str, str]:
    return own_token(world, name, issued=time.time())


def own_token(world: World, name: str, issued: float) -> dict[str, str]:
    lines = world.users_file.read_text().splitlines()
    stored = dict(line.split(":", 1) for line in lines)["reader"]
    tokens = Tokens(world.secret, URL, LIFETIME, lambda: issued)
    return bearer(tokens.issue("reader", stored, [name]).text)


def forged_token(world: World, name: str) -> dict[str, str]:
    return bearer(world.signed(name, key=b"not the key of this server, but as long as one"))


def altered_token(world: World, name: str) -> dict[str, str]:
    """The claims of the owner under the signature of the reader."""
    head, _, signature = world.token("reader", name).split(".")
    claims = world.token("owner", name).split(".")[1]
    return bearer(f"{head}.{claims}.{signature}")


def unsigned_token(world: World, name: str) -> dict[str, str]:
    claims = jwt.decode(world.token("owner", name), options={"verify_signature": False})
    return bearer(jwt.encode(claims, "", "none"))


def token_for_another_service(world: World, name: str) -> dict[str, str]:
    return bearer(world.signed(name, aud="container_registry"))


def token_of_another_server(world: World, name: str) -> dict[str, str]:
    return bearer(world.signed(name, iss="https://elsewhere.example.org"))


def no_token_at_all(world: World, name: str) -> dict[str, str]:
    return bearer("not.a.token")


def admin_token(world: World, name: str) -> dict[str, str]:
    return world.admin


def wrong_admin_token(world: World, name: str) -> dict[str, str]:
    return {"PRIVATE-TOKEN": world.admin["PRIVATE-TOKEN"][:-1]}


def asked(registry: FakeRegistry, path: str) -> int:
    """How often the upstream was asked for what a path of ours names."""
    kind, reference = path.split("/")[-2:]
    theirs = f"/v2/library/hello/{kind}/{reference}"
    return len(registry.asked("GET", theirs)) + len(registry.asked("HEAD", theirs))
