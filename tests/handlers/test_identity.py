"""Credentials in a request's head, and the challenge that asks for them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from depproxy.access.visitor import Bearer, Password
from depproxy.handlers.identity import bearer_challenge, presented, presented_password

REALM = "https://proxy.example.org/jwt/auth"


def basic(credentials: bytes) -> str:
    return base64.b64encode(credentials).decode()


@given(st.text().filter(lambda user: ":" not in user), st.text())
def test_the_first_colon_ends_the_user(user: str, password: str) -> None:
    header = {"Authorization": f"Basic {basic(f'{user}:{password}'.encode())}"}
    assert presented(header) == presented_password(header) == Password(user, password)


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        ("Bearer a.b.c", Bearer("a.b.c")),
        ("bearer  a.b.c ", Bearer("a.b.c")),
        ("BEARER a.b.c", Bearer("a.b.c")),
        ("Bearer", Bearer("")),
        (f"basic {basic(b'a:b')}", Password("a", "b")),
        (f" BASIC   {basic(b'a:b')} ", Password("a", "b")),
        (f"Basic {basic(b'a:')}", Password("a", "")),
        (f"Basic {basic(b':b')}", Password("", "b")),
        (f"Basic {basic(b'a')}", Password("a", "")),
    ],
)
def test_the_scheme_is_read_in_any_case(value: str, credentials: Password | Bearer) -> None:
    assert presented({"Authorization": value}) == credentials


def test_the_headers_name_is_read_in_any_case() -> None:
    assert presented(HTTPHeaders({"authorization": "bearer a.b.c"})) == Bearer("a.b.c")


@pytest.mark.parametrize(
    "value", ["", " ", "Negotiate abc", "Digest username=a", "Basic:abc", "abc", basic(b"a:b")]
)
def test_what_is_of_no_scheme_of_ours_presents_nothing(value: str) -> None:
    assert presented({"Authorization": value}) is None
    assert presented({}) is None


@pytest.mark.parametrize("value", ["Basic", "Basic ???", "Basic YTpi!", "Basic YTp", "Basic ä"])
def test_basic_credentials_that_cannot_be_decoded_are_wrong_ones_not_missing_ones(
    value: str,
) -> None:
    assert presented({"Authorization": value}) == Password("", "")


def test_bytes_that_are_no_text_are_credentials_nevertheless() -> None:
    found = presented({"Authorization": f"Basic {basic(bytes([0xE4, 0x3A, 0xFF]))}"})
    assert found == Password("\udce4", "\udcff")


@given(st.text(st.characters()), st.sampled_from(["", "Basic ", "Bearer "]))
def test_any_header_presents_something_or_nothing(text: str, scheme: str) -> None:
    header = {"Authorization": scheme + text}
    found = presented(header)
    assert presented_password(header) == (found if isinstance(found, Password) else None)
    assert found is not None or not scheme


def test_where_passwords_are_asked_for_tokens_do_not_count() -> None:
    assert presented_password({"Authorization": "Bearer a.b.c"}) is None
    assert presented_password({}) is None


def test_a_challenge_names_realm_service_and_scope() -> None:
    assert bearer_challenge(REALM, "dependency_proxy", "repository:a/b:pull", None) == (
        f'Bearer realm="{REALM}",service="dependency_proxy",scope="repository:a/b:pull"'
    )


def test_a_challenge_tells_what_is_wrong_with_the_token_and_leaves_out_what_is_empty() -> None:
    assert bearer_challenge(REALM, "dependency_proxy", "", "invalid_token") == (
        f'Bearer realm="{REALM}",service="dependency_proxy",error="invalid_token"'
    )
