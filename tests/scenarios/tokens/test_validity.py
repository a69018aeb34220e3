"""How long a token is good: as long as what it rests on."""

from pathlib import Path

import pytest

from depproxy.demo.image import Image
from tests.running import RunningServer
from tests.scenarios.tokens.clients import (
    PASSWORDS,
    PRIVATE,
    READER,
    StartWithUsers,
    assert_no_token,
)
from tests.signing_in import basic, bearer, token_for, token_path, write_users


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
