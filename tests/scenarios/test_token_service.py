"""``/jwt/auth`` and ``/v2/``, as docker, podman and containerd ask them."""

import calendar
import http.client
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest

from depproxy.demo.image import Image
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, Reply, RunningServer, Start
from tests.signing_in import basic, bearer, send, token_for, token_path, write_users

PRIVATE = "mygroup/dependency_proxy/containers/hello"
PUBLIC = "other/dependency_proxy/containers/hello"
MIRRORED = "library/hello"

PASSWORDS = {"reader": "secret-of-reader", "stranger": "secret-of-stranger"}
READER = basic("reader", PASSWORDS["reader"])
WRONG = basic("reader", "wrong-secret")
NO_PASSWORD: dict[str, str] = {}

REALM = 'Bearer realm="http://localhost:8080/jwt/auth",service="dependency_proxy"'


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    file = tmp_path / "htpasswd"
    write_users(file, PASSWORDS)
    return file


StartWithUsers = Callable[..., RunningServer]


@pytest.fixture
def start_with_users(start: Start, users_file: Path) -> StartWithUsers:
    """``mygroup`` is private, ``other`` is not."""

    def start_one(mirror: str = "null", auth: str = "", readers: str = "reader") -> RunningServer:
        return start(
            group=f"visibility: private\nreaders: [{readers}]",
            more=f"auth: {{users_file: {users_file}{auth}}}\nmirror: {{group: {mirror}}}\n",
        )

    return start_one


@pytest.fixture
def guarded(start_with_users: StartWithUsers, hello: Image) -> RunningServer:
    return start_with_users()


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


# -- scopes --------------------------------------------------------------------------------------


def test_a_login_asks_for_no_scope_and_gets_a_token(guarded: RunningServer) -> None:
    query = "account=reader&client_id=docker&offline_token=true&service=dependency_proxy"
    reply = guarded.ask(f"/jwt/auth?{query}", "GET", READER)
    assert (claims(reply)["sub"], granted(reply)) == ("reader", [])


@pytest.mark.parametrize(
    "scopes",
    [
        [pull(PRIVATE), pull(PUBLIC)],
        [f"{pull(PRIVATE)} {pull(PUBLIC)}"],
        [f" {pull(PRIVATE)}  {pull(PUBLIC)} ", pull(PRIVATE), ""],
    ],
    ids=["repeated", "in one", "both"],
)
def test_several_scopes_are_granted_at_once(guarded: RunningServer, scopes: list[str]) -> None:
    asked = guarded.ask(token_path(*scopes), "GET", READER)
    posted = post(guarded, sign_in_form("reader", PASSWORDS["reader"], *scopes))
    for reply in (asked, posted):
        assert granted(reply) == [PRIVATE, PUBLIC]
        for name in (PRIVATE, PUBLIC):
            path = f"/v2/{name}/manifests/latest"
            assert guarded.ask(path, "GET", bearer(reply.json["token"])).status == 200


@pytest.mark.parametrize(
    "scope",
    [
        pull("nobody/dependency_proxy/containers/hello"),
        pull(MIRRORED),
        pull("mygroup/dependency_proxy/containers/Hello"),
        pull("mygroup/dependency_proxy/containers/"),
        pull(f"{PRIVATE}/../../other"),
        pull(""),
        f"repository:{PRIVATE}:push",
        f"repository:{PRIVATE}:",
        f"repository:{PRIVATE}",
        f"registry:{PRIVATE}:pull",
        "registry:catalog:*",
        "repository::pull",
        "repository",
        ":::",
        "é",
    ],
)
def test_a_scope_that_cannot_be_had_is_left_out_and_no_error(
    guarded: RunningServer, scope: str
) -> None:
    for reply in (
        guarded.ask(token_path(scope, pull(PRIVATE)), "GET", READER),
        post(guarded, sign_in_form("reader", PASSWORDS["reader"], f"{scope} {pull(PRIVATE)}")),
    ):
        assert granted(reply) == [PRIVATE]
    assert granted(guarded.ask(token_path(scope), "GET", READER)) == []


@pytest.mark.parametrize("headers", [NO_PASSWORD, basic("stranger", PASSWORDS["stranger"])])
def test_what_a_user_may_not_read_is_left_out(
    guarded: RunningServer, headers: dict[str, str]
) -> None:
    reply = guarded.ask(token_path(pull(PRIVATE), pull(PUBLIC)), "GET", headers)
    assert granted(reply) == [PUBLIC]


@pytest.mark.parametrize("actions", ["pull,push", "push,pull", "delete,pull,push", "*"])
def test_pushing_is_never_granted(guarded: RunningServer, actions: str) -> None:
    reply = guarded.ask(token_path(f"repository:{PRIVATE}:{actions}"), "GET", READER)
    assert granted(reply) == [PRIVATE]


def test_a_token_fits_into_a_header_however_much_is_asked_for(guarded: RunningServer) -> None:
    names = [f"mygroup/dependency_proxy/containers/{'a' * 190}{n}" for n in range(150)]
    form = sign_in_form("reader", PASSWORDS["reader"], *map(pull, names))
    reply = post(guarded, form)
    path = f"/v2/{names[0]}/manifests/latest"
    assert guarded.ask(path, "GET", bearer(reply.json["token"])).error == "MANIFEST_UNKNOWN"


# -- the answer ----------------------------------------------------------------------------------


def test_the_answer_is_what_clients_of_both_specifications_read(guarded: RunningServer) -> None:
    before = int(time.time())
    reply = guarded.ask(token_path(pull(PRIVATE)), "GET", READER)
    after = time.time()
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert set(reply.json) == {"token", "access_token", "expires_in", "issued_at"}
    assert reply.json["token"] == reply.json["access_token"]
    assert reply.json["expires_in"] == 900
    issued = calendar.timegm(time.strptime(reply.json["issued_at"], "%Y-%m-%dT%H:%M:%SZ"))
    assert before <= issued <= after
    assert (claims(reply)["iat"], claims(reply)["exp"]) == (issued, issued + 900)
    assert claims(reply)["aud"] == "dependency_proxy"


def test_the_lifetime_is_that_of_the_configuration(start_with_users: StartWithUsers) -> None:
    server = start_with_users(auth=", token_lifetime: 5m")
    assert server.ask(token_path()).json["expires_in"] == 300


def test_a_token_tells_nothing_of_the_password(guarded: RunningServer, users_file: Path) -> None:
    found = str(claims(guarded.ask(token_path(), "GET", READER)))
    for line in users_file.read_text().splitlines():
        assert line.partition(":")[2] not in found
    assert PASSWORDS["reader"] not in found


def test_a_form_without_a_user_is_anonymous(guarded: RunningServer) -> None:
    scopes = [("scope", pull(PRIVATE)), ("scope", pull(PUBLIC))]
    for form in ([("grant_type", "password"), *scopes], scopes, []):
        reply = post(guarded, form)
        assert claims(reply)["sub"] == ""
        assert granted(reply) == ([PUBLIC] if form else [])


def test_a_form_without_a_user_may_come_with_basic_credentials(guarded: RunningServer) -> None:
    assert claims(post(guarded, [("grant_type", "password")], READER))["sub"] == "reader"
    assert post(guarded, [("grant_type", "password")], WRONG).status == 401


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GET", "POST"])
@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("reader", "wrong"),
        ("reader", ""),
        ("reader", PASSWORDS["reader"] + "\0"),
        ("reader", "x" * 5000),
        ("nobody", PASSWORDS["reader"]),
        ("Reader", PASSWORDS["reader"]),
        ("", PASSWORDS["reader"]),
        ("", ""),
        ("réäder", "pässword"),
    ],
)
def test_a_wrong_password_gets_no_token(
    guarded: RunningServer, kind: str, user: str, password: str
) -> None:
    if kind == "GET":
        reply = guarded.ask(token_path(pull(PUBLIC)), "GET", basic(user, password))
    else:
        reply = post(guarded, sign_in_form(user, password, pull(PUBLIC)))
    assert_no_token(reply)


def assert_no_token(reply: Reply) -> None:
    assert (reply.status, reply.error) == (401, "UNAUTHORIZED")
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="depproxy"'
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert set(reply.json) == {"errors"}


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic !",
        "Basic cmVhZGVy",
        "Basic /////w==",
        "basic cmVhZGVyOng",
        "Basic " * 9,
    ],
)
def test_credentials_that_cannot_be_read_are_wrong_ones(guarded: RunningServer, value: str) -> None:
    assert_no_token(guarded.ask(token_path(pull(PUBLIC)), "GET", {"Authorization": value}))


def test_half_of_a_password_form_is_a_wrong_one(guarded: RunningServer) -> None:
    assert_no_token(post(guarded, [("username", "reader")]))
    assert_no_token(post(guarded, [("password", PASSWORDS["reader"])]))


def test_a_token_is_no_credential_for_another_token(guarded: RunningServer) -> None:
    """It would outlive the password's right otherwise."""
    token = token_for(guarded, PRIVATE, headers=READER)
    reply = guarded.ask(token_path(pull(PRIVATE)), "GET", bearer(token))
    assert (claims(reply)["sub"], granted(reply)) == ("", [])


@pytest.mark.parametrize("grant", ["refresh_token", "authorization_code", "client_credentials", ""])
def test_other_grants_than_a_password_are_refused(guarded: RunningServer, grant: str) -> None:
    form = [("grant_type", grant), ("refresh_token", "x"), ("service", "dependency_proxy")]
    reply = post(guarded, form)
    assert reply.status == 400
    assert "password" in reply.message


@pytest.mark.parametrize(
    "body",
    [b"username=reader&password=\xff\xfe", b"\xff", b"&".join(b"a=b" for _ in range(2000))],
    ids=["a password that is not UTF-8", "nothing in UTF-8", "too many fields"],
)
def test_a_body_that_is_no_form_is_refused(guarded: RunningServer, body: bytes) -> None:
    assert send(guarded, "/jwt/auth", "POST", {}, body).status == 400


def test_escapes_that_are_not_utf_8_are_a_wrong_password(guarded: RunningServer) -> None:
    body = b"grant_type=password&username=reader&password=%ff%fe"
    assert_no_token(send(guarded, "/jwt/auth", "POST", {}, body))


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1_000_000])
def test_an_oversized_form_is_refused(guarded: RunningServer, size: int) -> None:
    reply = send(guarded, "/jwt/auth", "POST", {}, b"a" * size)
    assert reply.status == 413
    assert set(reply.json) == {"errors"}
    assert send(guarded, "/jwt/auth", "POST", {}, b"scope=" + b"a" * 60_000).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_tokens_are_got_and_posted_for(guarded: RunningServer, method: str) -> None:
    reply = guarded.ask("/jwt/auth", method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, POST")


# -- the mirror ----------------------------------------------------------------------------------

HUB = basic("me-at-docker-hub", "secret-of-docker-hub")
"""What dockerd sends to its mirrors."""


def test_a_public_mirror_looks_at_no_password(
    start_with_users: StartWithUsers, hello: Image, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_with_users(mirror="other")
    scopes = [pull(MIRRORED), f"{pull('library/alpine')} {pull('me/app')}"]
    for _ in range(8):  # more than an address may be wrong for nothing
        for headers in (HUB, WRONG, {"Authorization": "Basic !"}, READER):
            reply = server.ask(token_path(*scopes), "GET", headers)
            assert claims(reply)["sub"] == ""
            assert granted(reply) == [MIRRORED, "library/alpine", "me/app"]
    reply = post(server, sign_in_form("me-at-docker-hub", "secret-of-docker-hub", *scopes))
    assert claims(reply)["sub"] == ""
    assert "wrong" not in caplog.text
    assert "docker-hub" not in caplog.text
    path = f"/v2/{MIRRORED}/manifests/latest"
    assert server.ask(path, "GET", bearer(reply.json["token"])).status == 200
    assert server.ask(path, "GET", HUB).status == 200


@pytest.mark.parametrize(
    ("mirror", "scopes"),
    [
        ("mygroup", [pull(MIRRORED)]),
        ("null", [pull(MIRRORED)]),
        ("other", []),
        ("other", [pull(MIRRORED), pull(PUBLIC)]),
        ("other", [f"{pull(MIRRORED)} {pull(PRIVATE)}"]),
        ("other", [pull(MIRRORED), "registry:catalog:*"]),
        ("other", [pull(MIRRORED), f"repository:{MIRRORED}:push"]),
        ("other", [pull(MIRRORED), pull("Wrong")]),
        ("other", [pull(PUBLIC)]),
    ],
)
def test_every_other_request_has_its_password_checked(
    start_with_users: StartWithUsers, mirror: str, scopes: list[str]
) -> None:
    server = start_with_users(mirror=mirror)
    assert_no_token(server.ask(token_path(*scopes), "GET", HUB))
    assert_no_token(post(server, sign_in_form("me-at-docker-hub", "secret", *scopes)))
    assert claims(server.ask(token_path(*scopes), "GET", READER))["sub"] == "reader"


def test_a_private_mirror_is_for_its_readers(
    start_with_users: StartWithUsers, hello: Image
) -> None:
    server = start_with_users(mirror="mygroup")
    path = f"/v2/{MIRRORED}/manifests/latest"
    reply = server.ask(path)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == f'{REALM},scope="{pull(MIRRORED)}"'
    token = token_for(server, MIRRORED, headers=READER)
    assert server.ask(path, "GET", bearer(token)).status == 200
    assert server.ask(path, "GET", bearer(token_for(server, MIRRORED))).status == 401
    for_group = bearer(token_for(server, PRIVATE, headers=READER))
    assert (
        'error="insufficient_scope"'
        in server.ask(path, "GET", for_group).headers["WWW-Authenticate"]
    )
    stranger = server.ask(path, "GET", basic("stranger", PASSWORDS["stranger"]))
    assert (stranger.status, stranger.error) == (404, "NAME_UNKNOWN")
    assert "''" not in stranger.message


def test_without_a_mirror_its_paths_are_unknown_to_everybody(guarded: RunningServer) -> None:
    for headers in (NO_PASSWORD, READER, WRONG, bearer("x.y.z")):
        reply = guarded.ask(f"/v2/{MIRRORED}/manifests/latest", "GET", headers)
        assert (reply.status, reply.error) == (404, "NAME_UNKNOWN")


# -- /v2/ ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_root_tells_who_asks_how_to_get_a_token(guarded: RunningServer, path: str) -> None:
    admin = {"PRIVATE-TOKEN": (guarded.data / "admin_token").read_text().strip()}
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


@pytest.mark.parametrize(
    "after",
    [{**PASSWORDS, "reader": "another"}, {"stranger": PASSWORDS["stranger"]}, {}],
    ids=["another password", "removed", "nobody left"],
)
def test_a_token_ends_with_the_password_that_it_rests_on(
    guarded: RunningServer, users_file: Path, after: dict[str, str]
) -> None:
    token = bearer(token_for(guarded, PRIVATE, headers=READER))
    path = f"/v2/{PRIVATE}/manifests/latest"
    for headers in (token, READER):
        assert guarded.ask(path, "GET", headers).status == 200
    write_users(users_file, after)
    for asked in ("/v2/", path):
        for headers in (token, READER):
            assert guarded.ask(asked, "GET", headers).status == 401
    assert_no_token(guarded.ask(token_path(), "GET", READER))


def test_a_new_user_counts_at_once(guarded: RunningServer, users_file: Path) -> None:
    newcomer = basic("newcomer", "secret")
    assert_no_token(guarded.ask(token_path(), "GET", newcomer))
    write_users(users_file, {**PASSWORDS, "newcomer": "secret"})
    assert guarded.ask("/v2/", "GET", newcomer).status == 200


def test_a_users_file_that_is_gone_leaves_the_users_as_they_were(
    guarded: RunningServer, users_file: Path
) -> None:
    users_file.unlink()
    assert guarded.ask("/v2/", "GET", READER).status == 200
    write_users(users_file, {"stranger": PASSWORDS["stranger"]})
    assert guarded.ask("/v2/", "GET", READER).status == 401


def test_a_token_outlives_the_server(start_with_users: StartWithUsers, hello: Image) -> None:
    first = start_with_users()
    token = bearer(token_for(first, PRIVATE, headers=READER))
    first.stop()
    assert start_with_users().ask(f"/v2/{PRIVATE}/manifests/latest", "GET", token).status == 200


def test_a_token_ends_with_the_right_that_it_was_given_for(
    start_with_users: StartWithUsers, hello: Image
) -> None:
    first = start_with_users()
    token = bearer(token_for(first, PRIVATE, headers=READER))
    first.stop()
    second = start_with_users(readers="stranger")
    assert second.ask(f"/v2/{PRIVATE}/manifests/latest", "GET", token).status == 404


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


# -- secrets -------------------------------------------------------------------------------------


def test_no_password_and_no_token_is_in_the_log(
    guarded: RunningServer, users_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = token_for(guarded, PRIVATE, headers=READER)
    bad = f"{token[:-6]}bad-ab"
    for path in ("/v2/", f"/v2/{PRIVATE}/manifests/latest", f"{PREFIX}/Wrong/manifests/latest"):
        for headers in (READER, WRONG, bearer(token), bearer(bad)):
            guarded.ask(path, "GET", headers)
            guarded.ask(path, "POST", headers)
    guarded.ask("/api/v4/groups/mygroup/dependency_proxy", "GET", WRONG)
    guarded.ask("/api/v4/groups/mygroup/dependency_proxy/cache", "DELETE", WRONG)
    guarded.purge()
    guarded.purge("wrong-secret-of-admin")
    post(guarded, sign_in_form("reader", PASSWORDS["reader"], pull(PRIVATE)))
    post(guarded, sign_in_form("reader", "wrong-secret", pull(PRIVATE)))
    send(guarded, "/jwt/auth", "POST", {}, b"password=wrong-secret&username=\xff")
    post(guarded, [("grant_type", "refresh_token"), ("refresh_token", token)])
    users_file.write_text("reader:plain-secret-of-reader\n")
    guarded.ask("/v2/", "GET", READER)
    secrets = [line.strip() for line in (guarded.data / "admin_token").read_text().splitlines()]
    secrets += ["secret", READER["Authorization"].split()[1], WRONG["Authorization"].split()[1]]
    secrets += [token, bad, token.split(".")[1], token.split(".")[2][:-6]]
    assert "a wrong user or password came from 127.0.0.1" in caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []


# -- slow-down -----------------------------------------------------------------------------------


def test_who_presents_many_wrong_passwords_is_told_to_wait(
    start_with_users: StartWithUsers, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.access.attempts.FIRST_PAUSE", 1000.0)
    monkeypatch.setattr("depproxy.access.attempts.LONGEST_PAUSE", 1000.0)
    server = start_with_users()
    for _ in range(5):
        assert_no_token(server.ask(token_path(), "GET", WRONG))
    for path in (token_path(), "/v2/", f"/v2/{PRIVATE}/manifests/latest"):
        reply = server.ask(path, "GET", WRONG)
        assert (reply.status, reply.error) == (429, "TOOMANYREQUESTS")
        assert int(reply.headers["Retry-After"]) > 0
    reply = server.ask("/api/v4/groups/mygroup/dependency_proxy/cache", "DELETE", WRONG)
    assert (reply.status, reply.json) == (429, {"message": "429 Too Many Requests"})
    elsewhere = send(server, token_path(), "GET", READER, source="127.0.0.2")
    assert claims(elsewhere)["sub"] == "reader"


@pytest.mark.parametrize(
    "path", [f"/v2/{PUBLIC}/manifests/latest", "/api/v4/groups/other/dependency_proxy"]
)
def test_a_public_group_slows_nobody(
    start_with_users: StartWithUsers,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    """Wrong credentials count as none there, however many came before."""
    monkeypatch.setattr("depproxy.access.attempts.FIRST_PAUSE", 1000.0)
    monkeypatch.setattr("depproxy.access.attempts.LONGEST_PAUSE", 1000.0)
    server = start_with_users()
    for _ in range(8):
        assert server.ask(path, "GET", WRONG).status == 200
    assert "wrong" not in caplog.text


# -- without users -------------------------------------------------------------------------------


def test_without_users_nobody_is_asked_who_he_is(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    for headers in (NO_PASSWORD, WRONG, bearer("x.y.z")):
        for path in ("/v2/", f"/v2/{PRIVATE}/manifests/latest"):
            assert server.ask(path, "GET", headers).status == 200
        assert server.ask("/api/v4/groups/mygroup/dependency_proxy", "GET", headers).status == 200
        unknown = server.ask(
            "/v2/nobody/dependency_proxy/containers/hello/manifests/latest", "GET", headers
        )
        assert (unknown.status, unknown.error) == (404, "NAME_UNKNOWN")
        usage = server.ask("/api/v4/groups/nobody/dependency_proxy", "GET", headers)
        assert (usage.status, usage.json) == (404, {"message": "404 Group Not Found"})


def test_without_users_every_password_is_wrong(server: RunningServer) -> None:
    assert_no_token(server.ask(token_path(), "GET", READER))
    assert_no_token(server.ask(token_path(pull(PUBLIC)), "GET", READER))
    assert_no_token(post(server, sign_in_form("reader", "x")))
    for group in ("mygroup", "nobody"):
        reply = server.ask(f"/api/v4/groups/{group}/dependency_proxy/cache", "DELETE", READER)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Basic realm="depproxy"')


def test_without_users_there_are_tokens_for_everybody(server: RunningServer) -> None:
    assert granted(server.ask(token_path(pull(PRIVATE)))) == [PRIVATE]
