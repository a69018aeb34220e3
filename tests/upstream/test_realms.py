"""Where a token may be asked for, and what a token service that fails means."""

import pytest

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamSenseless,
)
from depproxy.upstream.messages import Answer, Request
from depproxy.upstream.tokens import TokenJar
from tests.upstream.dialogue import OK, PLAIN, REALM, challenged, said, talk, token, who


@pytest.mark.parametrize(
    "realm",
    [
        "https://registry.example.org/token",
        "https://REGISTRY.example.org:8443/token",
        "https://auth.example.org/token",
    ],
)
def test_a_realm_is_trusted_on_the_upstreams_host_or_where_it_is_listed(
    jar: TokenJar, realm: str
) -> None:
    steps, _ = talk(jar, challenged(realm), token(), OK)
    assert steps[1].request.url.startswith(realm)


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/token",
        "https://auth.example.org.evil.example/token",
        "https://sub.auth.example.org/token",
        "https://example.org/token",
        "https://auth.example.org@evil.example/token",
        "https://evil.example\\@other.example/token",
        "https://evil.example#@auth.example.org/token",
    ],
)
def test_an_untrusted_realm_is_not_asked_and_the_key_to_add_is_named(
    jar: TokenJar, realm: str
) -> None:
    escaped = realm.replace("\\", "\\\\")
    with pytest.raises(UpstreamSenseless, match=r"upstreams\.example\.org\.trusted_realms"):
        talk(jar, challenged(escaped))


@pytest.mark.parametrize("host", ["registry.example.org", "auth.example.org"])
def test_an_http_realm_of_an_https_upstream_is_not_asked(jar: TokenJar, host: str) -> None:
    with pytest.raises(UpstreamSenseless, match="http"):
        talk(jar, challenged(f"http://{host}/token"))


def test_an_http_upstream_may_have_an_http_realm(jar: TokenJar) -> None:
    request = Request("GET", "http://registry.example.org:5000/v2/a/manifests/b")
    realm = "http://registry.example.org:5001/token"
    _, answer = talk(jar, challenged(realm), token(), OK, request=request, rules=PLAIN)
    assert answer is OK


@pytest.mark.parametrize("realm", ["/token", "auth.example.org/token", "file:///x", "https://[::1"])
def test_a_realm_that_is_no_url_is_senseless(jar: TokenJar, realm: str) -> None:
    with pytest.raises(UpstreamSenseless):
        talk(jar, challenged(realm))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"WWW-Authenticate": 'Basic realm="x"'},
        {"WWW-Authenticate": "Bearer"},
        {"WWW-Authenticate": 'Bearer realm=""'},
        {"WWW-Authenticate": 'Bearer service="x"'},
    ],
)
def test_a_401_that_names_no_realm_is_the_answer(jar: TokenJar, headers: dict[str, str]) -> None:
    steps, answer = talk(jar, said(401, headers))
    assert len(steps) == 1
    assert answer.status == 401


def test_a_bearer_challenge_is_found_behind_another_one(jar: TokenJar) -> None:
    answer = said(401)
    answer.headers.add("WWW-Authenticate", 'Basic realm="x"')
    answer.headers.add("WWW-Authenticate", f'Bearer realm="{REALM}"')
    steps, _ = talk(jar, answer, token(), OK)
    assert who(steps[2]) == "Bearer abc"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(401), UpstreamRefused),
        (said(403), UpstreamRefused),
        (said(429, {"Retry-After": "7"}), UpstreamLimited),
        (said(500), UpstreamFailed),
        (said(503), UpstreamFailed),
        (said(302, {"Location": "https://auth.example.org/other"}), UpstreamSenseless),
        (said(200, body=b"<html>"), UpstreamSenseless),
        (said(200, body=b"{}"), UpstreamSenseless),
        (said(204), UpstreamSenseless),
    ],
)
def test_a_token_service_that_fails_is_an_error_that_names_it(
    jar: TokenJar, answer: Answer, error: type[UpstreamError]
) -> None:
    with pytest.raises(error, match=r"token service auth\.example\.org") as caught:
        talk(jar, challenged(), answer)
    assert type(caught.value) is error
    assert caught.value.upstream == "example.org"


@pytest.mark.parametrize("status", [404, 410])
def test_a_token_service_that_is_not_there_does_not_make_an_image_missing(
    jar: TokenJar, status: int
) -> None:
    with pytest.raises(UpstreamError) as caught:
        talk(jar, challenged(), said(status))
    assert not isinstance(caught.value, UpstreamNotFound)
