"""Sessions of the pages: who signed in, for how long, and what no cookie can claim."""

import hmac

import jwt
import pytest

from depproxy.access.sessions import SESSION_LIFETIME, Session, Sessions
from depproxy.access.tokens import Tokens
from tests.access.fakes import ALICES_HASH, ALICES_NEXT_HASH, Clock

SECRET = "the secret of this server, in its file"


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(SECRET, clock)


def read(sessions: Sessions, text: str) -> Session:
    session = sessions.read(text)
    assert session
    return session


def test_a_session_says_who_signed_in_with_which_password(sessions: Sessions) -> None:
    session = read(sessions, sessions.begin("alice", ALICES_HASH))
    assert session.user == "alice"
    assert session.mark == sessions.mark("alice", ALICES_HASH)
    assert session.mark != sessions.mark("alice", ALICES_NEXT_HASH)
    assert session.mark != sessions.mark("bob", ALICES_HASH)


def test_a_session_ends_after_its_lifetime(sessions: Sessions, clock: Clock) -> None:
    text = sessions.begin("alice", ALICES_HASH)
    clock.now += SESSION_LIFETIME - 1
    assert sessions.read(text)
    clock.now += 1
    assert sessions.read(text) is None


def test_a_session_that_was_ended_is_worth_nothing_and_others_go_on(sessions: Sessions) -> None:
    one, other = (sessions.begin("alice", ALICES_HASH) for _ in range(2))
    sessions.end(one)
    sessions.end("nonsense")
    assert sessions.read(one) is None
    assert sessions.read(other)


def test_ended_sessions_are_forgotten_when_they_would_have_expired(
    sessions: Sessions, clock: Clock
) -> None:
    for _ in range(3):
        sessions.end(sessions.begin("alice", ALICES_HASH))
    clock.now += SESSION_LIFETIME
    sessions.end(sessions.begin("alice", ALICES_HASH))
    assert len(sessions._ended) == 1


def test_a_session_of_another_server_is_none(sessions: Sessions, clock: Clock) -> None:
    assert sessions.read(Sessions("another secret", clock).begin("alice", ALICES_HASH)) is None


def test_a_clients_token_is_no_session_and_a_session_no_token(
    sessions: Sessions, clock: Clock
) -> None:
    tokens = Tokens(SECRET, "https://cache.example.org", 900, clock)
    assert sessions.read(tokens.issue("alice", ALICES_HASH, []).text) is None
    assert tokens.read(sessions.begin("alice", ALICES_HASH)) is None


@pytest.mark.parametrize(
    "changes",
    [{"aud": "dependency_proxy"}, {"sub": 7}, {"exp": "later"}, {"mark": None}, {"jti": 1}],
)
def test_claims_of_another_kind_are_no_session_whoever_signed_them(
    sessions: Sessions, changes: dict[str, object]
) -> None:
    key = hmac.digest(SECRET.encode(), b"depproxy: sessions of the pages", "sha256")
    claims = jwt.decode(sessions.begin("alice", ALICES_HASH), options={"verify_signature": False})
    assert sessions.read(jwt.encode(claims, key, "HS256"))
    assert sessions.read(jwt.encode(claims | changes, key, "HS256")) is None


@pytest.mark.parametrize("text", ["", "a.b.c", "é", "a" * 5000])
def test_nonsense_is_no_session(sessions: Sessions, text: str) -> None:
    assert sessions.read(text) is None


def test_an_unsigned_session_is_none(sessions: Sessions) -> None:
    claims = jwt.decode(sessions.begin("alice", ALICES_HASH), options={"verify_signature": False})
    assert sessions.read(jwt.encode(claims, "", "none")) is None


def test_a_form_is_good_for_the_browser_that_it_was_given_to(
    sessions: Sessions, clock: Clock
) -> None:
    word = sessions.form_word("seed")
    assert sessions.is_form_word("seed", word)
    assert not sessions.is_form_word("another seed", word)
    assert not sessions.is_form_word("seed", "")
    assert not sessions.is_form_word("seed", "\udcff")
    assert not Sessions("another secret", clock).is_form_word("seed", word)
