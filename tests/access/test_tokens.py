"""Tokens of clients: what ours say, and that nothing else is taken for one."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from depproxy.access.tokens import SERVICE, Claims, Tokens
from tests.access.fakes import ALICES_HASH, ALICES_NEXT_HASH, Clock

SECRET = "the server's secret"
ISSUER = "https://proxy.example.org"
KEY = hmac.digest(SECRET.encode(), b"depproxy: tokens of clients", "sha256")
NAMES = ["acme/dependency_proxy/containers/alpine", "alpine"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
HEADER_NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "cty", "jwk"])

clock = Clock()


def tokens(secret: str = SECRET, issuer: str = ISSUER, lifetime: float = 900) -> Tokens:
    return Tokens(secret, issuer, lifetime, clock)


def right_claims() -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": "alice",
        "iat": 1000,
        "exp": 1900,
        "password": "0123",
        "access": [{"type": "repository", "name": "alpine", "actions": ["pull"]}],
    }


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(claims: object, header: object = None, key: bytes = KEY) -> str:
    """A token as it would be made by hand, signed with HMAC-SHA-256."""
    parts = [header or {"alg": "HS256", "typ": "JWT"}, claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


def test_a_token_says_what_was_put_into_it() -> None:
    issued = tokens().issue("alice", ALICES_HASH, NAMES)
    mark = tokens().password_mark("alice", ALICES_HASH)
    assert tokens().read(issued.text) == Claims("alice", mark, frozenset(NAMES))
    assert (issued.issued_at, issued.expires_in) == (1000, 900)


def test_a_token_may_be_anonymous_and_for_nothing() -> None:
    issued = tokens().issue("", "", [])
    assert tokens().read(issued.text) == Claims("", "", frozenset())


@settings(deadline=None)
@given(st.text(min_size=1), st.lists(st.text(), max_size=3, unique=True))
def test_any_user_and_any_repositories_are_read_back(user: str, names: list[str]) -> None:
    claims = tokens().read(tokens().issue(user, ALICES_HASH, names).text)
    assert claims
    assert (claims.user, claims.repositories) == (user, frozenset(names))


def test_a_token_survives_a_restart_and_another_lifetime() -> None:
    issued = tokens().issue("alice", ALICES_HASH, NAMES)
    assert tokens(lifetime=300).read(issued.text) == tokens().read(issued.text)


def test_a_token_made_by_hand_with_the_right_key_is_ours() -> None:
    """Without this the tests of wrong tokens would prove nothing."""
    assert tokens().read(signed(right_claims())) == Claims("alice", "0123", frozenset({"alpine"}))


def test_a_token_ends_with_its_lifetime() -> None:
    own = Clock()
    issuer = Tokens(SECRET, ISSUER, 900, own)
    text = issuer.issue("alice", ALICES_HASH, NAMES).text
    own.now += 899.9
    assert issuer.read(text)
    own.now += 0.1
    assert issuer.read(text) is None


def test_a_clock_that_was_set_back_makes_no_token_bad() -> None:
    own = Clock()
    own.now = 4e9  # later than the clock of whoever runs this test
    issuer = Tokens(SECRET, ISSUER, 900, own)
    text = issuer.issue("alice", ALICES_HASH, NAMES).text
    own.now -= 500
    assert issuer.read(text)


def test_a_token_of_another_secret_or_server_is_not_ours() -> None:
    text = tokens().issue("alice", ALICES_HASH, NAMES).text
    assert tokens(secret="another").read(text) is None
    assert tokens(issuer="https://other.example.org").read(text) is None


def test_the_secret_itself_signs_no_tokens() -> None:
    """It has other uses, each with a key of its own."""
    assert tokens().read(signed(right_claims(), key=SECRET.encode())) is None


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "HS512", "RS256", "ES256", "", 5])
def test_no_other_algorithm_will_do(algorithm: object) -> None:
    header = {"alg": algorithm, "typ": "JWT"}
    assert tokens().read(signed(right_claims(), header)) is None
    unsigned = signed(right_claims(), header).rpartition(".")[0]
    assert tokens().read(f"{unsigned}.") is None


@pytest.mark.filterwarnings("ignore:The HMAC key is .* bytes long")  # not all of PyJWT warn
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_right_signature_by_another_algorithm_is_none(algorithm: str) -> None:
    assert tokens().read(jwt.encode(right_claims(), KEY, algorithm)) is None


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp", "access", "password"])
def test_a_token_without_one_of_its_claims_is_none(claim: str) -> None:
    claims = right_claims()
    del claims[claim]
    assert tokens().read(signed(claims)) is None
    assert tokens().read(signed({**claims, claim: None})) is None


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("aud", "registry.example.org"),
        ("aud", ["registry.example.org"]),
        ("aud", 5),
        ("aud", ""),
        ("iss", "https://other.example.org"),
        ("iss", f"{ISSUER}/"),
        ("iss", [ISSUER]),
        ("iss", 5),
        ("sub", 5),
        ("sub", ["alice"]),
        ("sub", {"name": "alice"}),
        ("exp", 0),
        ("exp", 1000),
        ("exp", -1900),
        ("exp", "soon"),
        ("exp", [1900]),
        ("password", 5),
        ("password", ["0123"]),
        ("access", "alpine"),
        ("access", 5),
        ("access", True),
        ("access", ["alpine"]),
        ("access", [None]),
        ("access", [{}]),
        ("access", [{"name": ["alpine"]}]),
        ("access", [{"name": 5}]),
        ("access", {"name": "alpine"}),
    ],
)
def test_a_token_whose_claim_is_another_or_no_such_thing_is_none(claim: str, value: object) -> None:
    assert tokens().read(signed({**right_claims(), claim: value})) is None


@settings(deadline=None)
@given(JSON)
def test_claims_that_are_no_object_or_lack_ours_are_none(claims: object) -> None:
    assert tokens().read(signed(claims)) is None


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(right_claims())), JSON, min_size=1))
def test_claims_are_read_in_their_types_or_not_at_all(wrong: dict[str, object]) -> None:
    claims = tokens().read(signed({**right_claims(), **wrong}))
    if claims:
        assert isinstance(claims.user, str)
        assert isinstance(claims.password, str)
        assert all(isinstance(name, str) for name in claims.repositories)


@settings(deadline=None)
@given(st.dictionaries(HEADER_NAMES, JSON), st.booleans())
def test_whatever_a_header_says_a_token_without_our_signature_is_none(
    header: dict[str, object], is_right: bool
) -> None:
    algorithm = {"alg": "HS256"} if is_right else {}
    assert tokens().read(signed(right_claims(), {**header, **algorithm}, b"x" * 32)) is None


@settings(deadline=None)
@given(st.sampled_from([0, 1]), st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_that_was_altered_anywhere_is_none(part: int, place: int, difference: int) -> None:
    parts = tokens().issue("alice", ALICES_HASH, NAMES).text.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    raw[place % len(raw)] ^= difference
    parts[part] = encoded(bytes(raw))
    assert tokens().read(".".join(parts)) is None


@settings(deadline=None)
@given(st.text(st.characters()) | st.text("aA0-_.=") | st.lists(st.just("e30")).map(".".join))
@example("")
@example("..")
@example("\udcff.\udcff.\udcff")
@example(encoded(b"[" * 20_000) + ".e30.AAAA")
@example(encoded(b'{"alg":' * 5_000) + ".e30.AAAA")
@example(encoded(b'{"alg":' + b"9" * 10_000 + b"}") + ".e30.AAAA")
def test_garbage_is_no_token(text: str) -> None:
    assert tokens().read(text) is None


def test_a_mark_differs_with_the_password_the_user_and_the_server() -> None:
    marks = {
        tokens().password_mark("alice", ALICES_HASH),
        tokens().password_mark("alice", ALICES_NEXT_HASH),
        tokens().password_mark("bob", ALICES_HASH),
        tokens(secret="another").password_mark("alice", ALICES_HASH),
    }
    assert len(marks) == 4
    assert not any(mark in ALICES_HASH for mark in marks)
    assert tokens().password_mark("", "") == ""


def test_a_token_does_not_carry_the_stored_hash() -> None:
    payload = tokens().issue("alice", ALICES_HASH, NAMES).text.split(".")[1]
    assert ALICES_HASH[7:].encode() not in base64.urlsafe_b64decode(payload + "==")
