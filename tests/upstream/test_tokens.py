"""Upstreams' tokens: read with care, kept until they expire, each for its own purpose only."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.upstream.tokens import Token, TokenJar, TokenKey
from tests.clock import Clock

KEY = TokenKey(None, "https://auth.example.org/token", "registry", "repository:a:pull")


def answer(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_has_either_of_two_names(jar: TokenJar, name: str) -> None:
    assert jar.read(answer(**{name: "abc"})).value == "abc"


def test_of_both_names_token_counts(jar: TokenJar) -> None:
    assert jar.read(answer(token="abc", access_token="def")).value == "abc"
    assert jar.read(answer(token="", access_token="def")).value == "def"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"null",
        b'"token"',
        b"{}",
        b"[" * 100_000,
        b'{"token": ' + b"9" * 10_000 + b"}",
        answer(token=None),
        answer(token=""),
        answer(access_token=""),
        answer(token="", access_token=""),
        answer(token=5),
        answer(token=["abc"]),
        answer(token="a\r\nX-Injected: b"),
        answer(token="a\x00"),
        answer(token="ä"),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_an_answer_without_a_token_that_fits_a_header_is_none(jar: TokenJar, body: bytes) -> None:
    with pytest.raises(ValueError):
        jar.read(body)


@given(st.binary() | st.dictionaries(st.just("token"), st.text()).map(lambda d: answer(**d)))
def test_any_bytes_hold_a_token_or_none(body: bytes) -> None:
    try:
        token = TokenJar(Clock()).read(body)
    except ValueError:
        return
    assert token.value
    assert token.value.isascii()
    assert token.value.isprintable()


def test_a_token_is_kept_until_shortly_before_its_end(jar: TokenJar, clock: Clock) -> None:
    jar.put(KEY, jar.read(answer(token="abc", expires_in=300)))
    clock.now += 290
    assert jar.get(KEY) is not None
    clock.now += 10
    assert jar.get(KEY) is None


@pytest.mark.parametrize("expires_in", [None, 0, -5, "300", True, float("nan"), [], {}])
def test_a_token_without_a_lifetime_lives_a_minute(
    jar: TokenJar, clock: Clock, expires_in: object
) -> None:
    jar.put(KEY, jar.read(answer(token="abc", expires_in=expires_in)))
    clock.now += 50
    assert jar.get(KEY) is not None
    clock.now += 10
    assert jar.get(KEY) is None


@pytest.mark.parametrize("expires_in", [10**400, float("inf"), 10**9])
def test_a_token_lives_no_longer_than_a_day(jar: TokenJar, clock: Clock, expires_in: float) -> None:
    jar.put(KEY, jar.read(answer(token="abc", expires_in=expires_in)))
    clock.now += 86_400
    assert jar.get(KEY) is None


def test_a_token_that_lives_for_seconds_can_be_used_at_once(jar: TokenJar) -> None:
    jar.put(KEY, jar.read(answer(token="abc", expires_in=2)))
    assert jar.get(KEY) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, identity="me"),
        replace(KEY, realm="https://auth.example.org/other"),
        replace(KEY, service="other"),
        replace(KEY, scope="repository:b:pull"),
    ],
)
def test_a_token_serves_only_what_it_was_given_for(jar: TokenJar, other: TokenKey) -> None:
    jar.put(KEY, jar.read(answer(token="abc")))
    assert jar.get(other) is None


def test_a_dropped_token_is_forgotten(jar: TokenJar) -> None:
    jar.put(KEY, jar.read(answer(token="abc")))
    jar.drop(KEY)
    jar.drop(KEY)
    assert jar.get(KEY) is None


def test_what_an_upstream_wants_is_remembered_by_identity_and_scope(jar: TokenJar) -> None:
    jar.expect(None, KEY.scope, KEY)
    assert jar.expected(None, KEY.scope) == KEY
    assert jar.expected("me", KEY.scope) is None
    assert jar.expected(None, "repository:b:pull") is None


def test_a_scanner_that_asks_for_many_repositories_does_not_fill_the_memory(jar: TokenJar) -> None:
    token = jar.read(answer(token="abc"))
    keys = [replace(KEY, scope=f"repository:{number}:pull") for number in range(20_000)]
    for key in keys:
        jar.put(key, token)
        jar.expect(None, key.scope, key)
    assert jar.get(keys[-1]) == token
    assert jar.get(keys[0]) is None
    assert jar.expected(None, keys[0].scope) is None


def test_a_tokens_value_is_not_shown() -> None:
    assert "secret" not in repr(Token("secret", obtained=0, expires=1))


def test_a_token_is_not_presented_in_its_last_five_seconds(jar: TokenJar, clock: Clock) -> None:
    """It would expire on its way."""
    jar.put(KEY, jar.read(answer(token="abc", expires_in=60)))
    clock.now += 54.9
    assert jar.get(KEY)
    clock.now += 0.2
    assert jar.get(KEY) is None
