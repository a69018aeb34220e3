"""Token requests as docker, podman and containerd send them, and what is in the answers."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import jwt

from tests.running import Reply, RunningServer
from tests.signing_in import basic, send

PRIVATE = "mygroup/dependency_proxy/containers/hello"
PUBLIC = "other/dependency_proxy/containers/hello"
MIRRORED = "library/hello"

PASSWORDS = {"reader": "secret-of-reader", "stranger": "secret-of-stranger"}
READER = basic("reader", PASSWORDS["reader"])
WRONG = basic("reader", "wrong-secret")
NO_PASSWORD: dict[str, str] = {}

REALM = 'Bearer realm="http://localhost:8080/jwt/auth",service="dependency_proxy"'


StartWithUsers = Callable[..., RunningServer]


def pull(name: str) -> str:
    return f"repository:{name}:pull"


def post(
    server: RunningServer, fields: list[tuple[str, str]], headers: dict[str, str] | None = None
) -> Reply:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return send(server, "/jwt/auth", "POST", kind | (headers or {}), urlencode(fields).encode())


def sign_in_form(user: str, password: str, *scopes: str) -> list[tuple[str, str]]:
    """What containerd posts."""
    return [
        ("grant_type", "password"),
        ("service", "dependency_proxy"),
        ("client_id", "containerd-client"),
        *(("scope", scope) for scope in scopes),
        ("username", user),
        ("password", password),
    ]


def claims(reply: Reply) -> dict[str, Any]:
    """What is in a token that was given."""
    assert reply.status == 200
    found: dict[str, Any] = jwt.decode(reply.json["token"], options={"verify_signature": False})
    return found


def granted(reply: Reply) -> list[str]:
    """The names that a token is good for; only ever to pull."""
    access = claims(reply)["access"]
    for entry in access:
        assert (entry["type"], entry["actions"]) == ("repository", ["pull"])
    return [entry["name"] for entry in access]


def assert_no_token(reply: Reply) -> None:
    assert (reply.status, reply.error) == (401, "UNAUTHORIZED")
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="depproxy"'
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert set(reply.json) == {"errors"}
