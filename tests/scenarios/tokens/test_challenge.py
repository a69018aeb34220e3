"""How a client is told where to get a token."""

import http.client
from urllib.parse import quote

import jwt
import pytest

from tests.running import PREFIX, RunningServer
from tests.scenarios.tokens.clients import (
    NO_PASSWORD,
    PRIVATE,
    READER,
    REALM,
    WRONG,
    StartWithUsers,
)
from tests.signing_in import bearer, token_for, token_path

# -- /v2/ ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_root_tells_who_asks_how_to_get_a_token(guarded: RunningServer, path: str) -> None:
    admin = {"PRIVATE-TOKEN": guarded.token}
    for headers in (NO_PASSWORD, WRONG, {"Authorization": "Digest x"}, admin):
        reply = guarded.ask(path, "GET", headers)
        assert (reply.status, reply.error) == (401, "UNAUTHORIZED")
        assert reply.headers["WWW-Authenticate"] == REALM


def test_the_root_is_open_to_who_has_a_token_or_a_password(guarded: RunningServer) -> None:
    tokens = [token_for(guarded), token_for(guarded, PRIVATE), token_for(guarded, headers=READER)]
    for headers in (READER, *map(bearer, tokens)):
        assert guarded.ask("/v2/", "GET", headers).json == {}


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "eyJhbGciOiJub25lIn0.e30."])
def test_a_bad_token_is_said_to_be_bad(guarded: RunningServer, token: str) -> None:
    for path in ("/v2/", f"{PREFIX}/hello/manifests/latest"):
        reply = guarded.ask(
            path, "GET", {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
        )
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].endswith(',error="invalid_token"')


def test_a_token_that_is_nested_deeply_is_a_bad_one(guarded: RunningServer) -> None:
    """Its head is read before its signature is checked."""
    token = jwt.utils.base64url_encode(b"[" * 20_000).decode() + ".e30.e30"
    reply = guarded.ask("/v2/", "GET", bearer(token))
    assert (reply.status, reply.error) == (401, "UNAUTHORIZED")


# -- HTTP ----------------------------------------------------------------------------------------


def test_a_connection_survives_a_401(guarded: RunningServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port)
    connection.connect()
    socket = connection.sock
    for path, headers, status in [
        ("/v2/", NO_PASSWORD, 401),
        (f"/v2/{PRIVATE}/manifests/latest", NO_PASSWORD, 401),
        (f"/v2/{PRIVATE}/blobs/sha256:{'0' * 64}", WRONG, 401),
        (f"/v2/{PRIVATE}/tags/list", bearer("x.y.z"), 401),
        ("/api/v4/groups/mygroup/dependency_proxy", NO_PASSWORD, 401),
        (token_path(), WRONG, 401),
        (token_path(), READER, 200),
        ("/v2/", READER, 200),
    ]:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as reply:
            reply.read()
            assert (reply.status, reply.headers["Connection"]) == (status, None)
        assert connection.sock is socket
    connection.close()


@pytest.mark.parametrize("headers", [NO_PASSWORD, WRONG, READER, bearer("x.y.z")])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        f"/v2/{PRIVATE}/manifests/latest",
        f"/v2/{PRIVATE}/blobs/sha256:{'0' * 64}",
        "/v2/nobody/dependency_proxy/containers/hello/manifests/latest",
        "/api/v4/groups/mygroup/dependency_proxy",
        "/api/v4/groups/nobody/dependency_proxy",
    ],
)
def test_head_and_get_agree(guarded: RunningServer, path: str, headers: dict[str, str]) -> None:
    get, head = (guarded.ask(path, method, headers) for method in ("GET", "HEAD"))
    assert head.status == get.status
    for name in ("WWW-Authenticate", "Content-Type", "Docker-Distribution-Api-Version"):
        if "blobs" not in path or get.status == 401:
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("mirror", ["null", "mygroup"])
@pytest.mark.parametrize(
    "odd",
    [
        'a"',
        'a",error="x',
        "a\r\nX-Injected: yes",
        "a\nb",
        "a b",
        "a,b",
        "a\\",
        "é",
        "a\0",
        "a;b",
        "A",
    ],
)
def test_a_name_puts_nothing_into_the_challenge(
    start_with_users: StartWithUsers, mirror: str, odd: str
) -> None:
    server = start_with_users(mirror=mirror)
    name = quote(odd)
    for path in (
        f"{PREFIX}/{name}/manifests/latest",
        f"{PREFIX}/{name}/blobs/sha256:{'0' * 64}",
        f"{PREFIX}/{name}/tags/list",
        f"{PREFIX}/{name}/referrers/sha256:{'0' * 64}",
        f"/v2/{name}/dependency_proxy/containers/hello/manifests/latest",
        f"/v2/{name}/manifests/latest",
    ):
        reply = server.ask(path)
        assert reply.status in (400, 404), path
        assert "WWW-Authenticate" not in reply.headers
        assert "X-Injected" not in reply.headers


def test_the_realm_is_never_what_the_request_says(guarded: RunningServer) -> None:
    host = "evil.example.org"
    headers = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
    assert guarded.ask("/v2/", "GET", headers).headers["WWW-Authenticate"] == REALM
