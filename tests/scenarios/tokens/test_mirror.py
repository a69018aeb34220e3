"""Tokens for mirror paths: dockerd sends a password there that is none of ours."""

import pytest

from depproxy.demo.image import Image
from tests.running import RunningServer
from tests.scenarios.tokens.clients import (
    MIRRORED,
    NO_PASSWORD,
    PASSWORDS,
    PRIVATE,
    PUBLIC,
    READER,
    REALM,
    WRONG,
    StartWithUsers,
    assert_no_token,
    claims,
    granted,
    post,
    pull,
    sign_in_form,
)
from tests.signing_in import basic, bearer, token_for, token_path

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
        ("other", [*(pull(f"library/a{number}") for number in range(60)), pull(PUBLIC)]),
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
