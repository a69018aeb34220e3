"""The pages' door: what a session rests on, and what ends it."""

import asyncio
from pathlib import Path

import pytest

from depproxy.access.admin import AdminToken
from depproxy.access.attempts import FREE_FAILURES, Attempts
from depproxy.access.gate import Gate
from depproxy.access.reception import Reception
from depproxy.access.sessions import SESSION_LIFETIME, Sessions
from depproxy.access.tokens import Tokens
from depproxy.access.users import Users
from depproxy.access.visitor import ADMIN, ANONYMOUS, Password
from depproxy.errors import TooManyAttempts, Unauthenticated
from tests.access.fakes import (
    ALICES,
    ALICES_NEXT_HASH,
    BOBS,
    BOBS_HASH,
    Clock,
    users_file,
)

SECRET = "the secret of this server, in its file"
ADDRESS = "192.0.2.1"


def make_reception(
    clock: Clock, users: Users | None, *, secret: str = SECRET, admin: str = "admin's token"
) -> Reception:
    token = AdminToken(admin)
    tokens = Tokens(secret, "https://cache.example.org", 900, clock)
    gate = Gate({}, None, token, tokens, users)
    return Reception(gate, Sessions(secret, clock), users, token, Attempts(clock))


@pytest.fixture
def reception(clock: Clock, users: Users) -> Reception:
    return make_reception(clock, users)


def sign_in(reception: Reception, user: str = "alice", password: str = ALICES) -> str:
    return asyncio.run(reception.sign_in(Password(user, password), ADDRESS))


def sign_in_as_admin(reception: Reception, token: str = "admin's token") -> str:
    return asyncio.run(reception.sign_in_as_admin(token, ADDRESS))


def test_who_signs_in_is_who_he_is_and_no_more(reception: Reception) -> None:
    visitor = reception.visitor(sign_in(reception))
    assert (visitor.user, visitor.is_vouched, visitor.is_admin) == ("alice", True, False)
    assert reception.visitor(sign_in_as_admin(reception)) == ADMIN


@pytest.mark.parametrize(("user", "password"), [("alice", BOBS), ("nobody", ALICES), ("", "")])
def test_a_wrong_password_begins_nothing(reception: Reception, user: str, password: str) -> None:
    with pytest.raises(Unauthenticated):
        sign_in(reception, user, password)


@pytest.mark.parametrize("token", ["", " ", "admin's", "admin's token!"])
def test_a_wrong_admin_token_begins_nothing(reception: Reception, token: str) -> None:
    with pytest.raises(Unauthenticated):
        sign_in_as_admin(reception, token)


def test_without_users_only_the_admin_token_signs_in(clock: Clock) -> None:
    reception = make_reception(clock, None)
    assert not reception.has_users
    with pytest.raises(Unauthenticated):
        sign_in(reception)
    assert reception.visitor(sign_in_as_admin(reception)) == ADMIN


@pytest.mark.parametrize("cookie", ["", "nonsense"])
def test_nobody_in_particular_has_no_session(reception: Reception, cookie: str) -> None:
    assert reception.visitor(cookie) == ANONYMOUS


def test_a_new_password_ends_the_users_sessions_and_nobody_elses(
    reception: Reception, file: Path
) -> None:
    alices, bobs = sign_in(reception), sign_in(reception, "bob", BOBS)
    admins = sign_in_as_admin(reception)
    users_file(file.parent, alice=ALICES_NEXT_HASH, bob=BOBS_HASH)
    assert reception.visitor(alices) == ANONYMOUS
    assert reception.visitor(bobs).user == "bob"
    assert reception.visitor(admins) == ADMIN


def test_a_user_who_is_removed_has_no_session_any_more(reception: Reception, file: Path) -> None:
    cookie = sign_in(reception)
    users_file(file.parent, bob=BOBS_HASH)
    assert reception.visitor(cookie) == ANONYMOUS


def test_a_session_outlives_a_restart_unless_the_key_has_changed(
    reception: Reception, clock: Clock, users: Users
) -> None:
    cookie = sign_in(reception)
    assert make_reception(clock, users).visitor(cookie).user == "alice"
    assert make_reception(clock, users, secret="another").visitor(cookie) == ANONYMOUS


def test_another_admin_token_ends_the_administrators_sessions(
    reception: Reception, clock: Clock, users: Users
) -> None:
    cookie = sign_in_as_admin(reception)
    assert make_reception(clock, users, admin="another").visitor(cookie) == ANONYMOUS


def test_a_session_expires(reception: Reception, clock: Clock) -> None:
    cookie = sign_in(reception)
    clock.now += SESSION_LIFETIME
    assert reception.visitor(cookie) == ANONYMOUS


def test_signing_out_ends_the_session(reception: Reception) -> None:
    cookie = sign_in(reception)
    reception.sign_out(cookie)
    assert reception.visitor(cookie) == ANONYMOUS


def test_wrong_admin_tokens_are_slowed_as_wrong_passwords_are(clock: Clock) -> None:
    """Attempts that wait block nobody: these are given up on before their turn has come."""
    reception = make_reception(clock, None)
    for _ in range(FREE_FAILURES):
        with pytest.raises(Unauthenticated):
            sign_in_as_admin(reception, "wrong")

    async def rush() -> None:
        attempts = [
            asyncio.ensure_future(reception.sign_in_as_admin("wrong", ADDRESS)) for _ in range(60)
        ]
        done, waiting = await asyncio.wait(attempts, timeout=0)
        for attempt in waiting:
            attempt.cancel()
        refused = [attempt for attempt in done if isinstance(attempt.exception(), TooManyAttempts)]
        assert refused
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(rush())


def test_a_form_without_a_seed_is_nobodys(reception: Reception) -> None:
    assert reception.is_form_word("seed", reception.form_word("seed"))
    assert not reception.is_form_word("", reception.form_word(""))
    assert reception.new_seed() != reception.new_seed()
