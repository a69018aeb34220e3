"""What is said to a registry, and to whom: the generator is driven by hand, without a socket."""

import json
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamSenseless,
)
from depproxy.upstream.conversation import (
    MAX_REDIRECTS,
    Conversation,
    Purpose,
    Rules,
    Step,
    converse,
    refusal,
    retry_after,
)
from depproxy.upstream.messages import Answer, Head, Origin, Request
from depproxy.upstream.tokens import TokenJar

URL = "https://registry.example.org/v2/library/alpine/manifests/latest"
REALM = "https://auth.example.org/token"
SCOPE = "repository:library/alpine:pull"
RULES = Rules("example.org", Origin.of(URL), ("auth.example.org",))
PLAIN = Rules("example.org", Origin.of("http://registry.example.org:5000"), ("auth.example.org",))
REQUEST = Request("GET", URL, {"Accept": "application/json"})


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jar(clock: Clock) -> TokenJar:
    return TokenJar(clock)


def said(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    return Answer(Head(status, HTTPHeaders(headers or {})), body)


def challenged(realm: str = REALM, scope: str | None = SCOPE) -> Answer:
    wanted = f',scope="{scope}"' if scope else ""
    return said(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"{wanted}'})


def token(value: str = "abc", expires_in: int = 300) -> Answer:
    return said(200, body=json.dumps({"token": value, "expires_in": expires_in}).encode())


def redirect(target: str, status: int = 307) -> Answer:
    return said(status, {"Location": target})


OK = said(200)


def play(conversation: Conversation, answers: Iterable[Answer]) -> tuple[list[Step], Answer]:
    """The steps that were taken, and the answer that ended it. Every given answer is needed."""
    steps = [next(conversation)]
    left = iter(answers)
    for answer in left:
        try:
            steps.append(conversation.send(answer))
        except StopIteration as done:
            assert list(left) == []
            return steps, done.value
    raise AssertionError(f"another answer is needed, to {steps[-1]}")


def talk(
    jar: TokenJar, *answers: Answer, request: Request = REQUEST, rules: Rules = RULES
) -> tuple[list[Step], Answer]:
    return play(converse(request, SCOPE, rules, jar), answers)


def who(step: Step) -> str | None:
    return step.request.headers.get("Authorization")


def query_of(step: Step) -> dict[str, list[str]]:
    return parse_qs(urlsplit(step.request.url).query, strict_parsing=True)


@pytest.mark.parametrize("status", [200, 206, 400, 403, 404, 416, 429, 500])
def test_an_answer_that_wants_no_token_is_the_answer(jar: TokenJar, status: int) -> None:
    steps, answer = talk(jar, said(status))
    assert steps == [Step(REQUEST, Purpose.RESOURCE)]
    assert answer.status == status


def test_a_challenge_is_met_with_a_fresh_token(jar: TokenJar) -> None:
    steps, answer = talk(jar, challenged(), token("abc"), OK)
    asked, fetched, again = steps
    assert who(asked) is None
    assert (fetched.purpose, fetched.request.method) == (Purpose.TOKEN, "GET")
    assert fetched.request.url.startswith(f"{REALM}?")
    assert query_of(fetched) == {"service": ["registry"], "scope": [SCOPE]}
    assert who(fetched) is None
    assert again.request == REQUEST.with_authorization("Bearer abc")
    assert answer is OK


def test_a_token_that_is_known_is_presented_at_once(jar: TokenJar) -> None:
    talk(jar, challenged(), token("abc"), OK)
    steps, _ = talk(jar, OK)
    assert [who(step) for step in steps] == ["Bearer abc"]


def test_an_expired_token_is_not_presented(jar: TokenJar, clock: Clock) -> None:
    talk(jar, challenged(), token("abc", expires_in=300), OK)
    clock.now += 300
    steps, _ = talk(jar, challenged(), token("def"), OK)
    assert [who(step) for step in steps] == [None, None, "Bearer def"]


def test_a_known_token_that_is_refused_is_refreshed_once(jar: TokenJar) -> None:
    talk(jar, challenged(), token("abc"), OK)
    steps, answer = talk(jar, challenged(), token("def"), OK)
    assert [who(step) for step in steps] == ["Bearer abc", None, "Bearer def"]
    assert answer is OK


def test_a_fresh_token_that_is_refused_is_the_end(jar: TokenJar) -> None:
    steps, answer = talk(jar, challenged(), token("abc"), challenged())
    assert len(steps) == 3
    assert answer.status == 401


@pytest.mark.parametrize("status", [400, 403])
def test_an_aged_token_is_refreshed_once_where_400_or_403_says_that_it_expired(
    jar: TokenJar, clock: Clock, status: int
) -> None:
    talk(jar, challenged(), token("abc", expires_in=43200), OK)
    clock.now += 40_000
    steps, answer = talk(jar, said(status), token("def"), OK)
    assert [who(step) for step in steps] == ["Bearer abc", None, "Bearer def"]
    assert answer is OK


@pytest.mark.parametrize("status", [400, 403])
def test_a_fresh_token_is_not_refreshed_for_400_or_403(jar: TokenJar, status: int) -> None:
    steps, answer = talk(jar, challenged(), token("abc"), said(status))
    assert len(steps) == 3
    assert answer.status == status


def test_a_token_of_the_same_scope_serves_other_requests(jar: TokenJar) -> None:
    talk(jar, challenged(), token("abc"), OK)
    blob = Request("GET", "https://registry.example.org/v2/library/alpine/blobs/sha256:abc")
    steps, _ = talk(jar, OK, request=blob)
    assert who(steps[0]) == "Bearer abc"


def test_a_token_is_not_presented_for_another_scope(jar: TokenJar) -> None:
    talk(jar, challenged(), token("abc"), OK)
    other = converse(REQUEST, "repository:library/busybox:pull", RULES, jar)
    assert who(next(other)) is None


def test_a_kept_token_for_the_challenge_is_tried_before_a_new_one(jar: TokenJar) -> None:
    talk(jar, challenged(scope="everything"), token("abc"), OK)
    other = converse(REQUEST, "repository:library/busybox:pull", RULES, jar)
    steps, _ = play(other, [challenged(scope="everything"), OK])
    assert [who(step) for step in steps] == [None, "Bearer abc"]

    third = converse(REQUEST, "repository:library/debian:pull", RULES, jar)
    answers = [challenged(scope="everything"), challenged(), token("def"), OK]
    steps, _ = play(third, answers)
    assert [who(step) for step in steps] == [None, "Bearer abc", None, "Bearer def"]


def test_a_challenge_without_a_scope_means_the_requests_own(jar: TokenJar) -> None:
    steps, _ = talk(jar, challenged(scope=None), token(), OK)
    assert query_of(steps[1])["scope"] == [SCOPE]


def test_a_realm_may_have_a_query_of_its_own(jar: TokenJar) -> None:
    steps, _ = talk(jar, challenged(f"{REALM}?account=x"), token(), OK)
    assert query_of(steps[1]) == {"account": ["x"], "service": ["registry"], "scope": [SCOPE]}


def test_parameters_reach_the_token_service_encoded(jar: TokenJar) -> None:
    steps, _ = talk(jar, challenged(scope="a&service=b#c d"), token(), OK)
    assert query_of(steps[1]) == {"service": ["registry"], "scope": ["a&service=b#c d"]}


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_followed_without_credentials(
    jar: TokenJar, status: int
) -> None:
    talk(jar, challenged(), token("abc"), OK)
    cdn = "https://cdn.example.net/blob?signature=x"
    steps, answer = talk(jar, redirect(cdn, status), OK)
    assert who(steps[0]) == "Bearer abc"
    assert steps[1] == Step(Request("GET", cdn, dict(REQUEST.headers), foreign=True))
    assert answer is OK


@pytest.mark.parametrize(
    "target",
    ["https://registry.example.org:8443/x", "https://example.org/x", "//cdn.example.net/x"],
)
def test_another_port_or_host_is_another_origin(jar: TokenJar, target: str) -> None:
    talk(jar, challenged(), token("abc"), OK)
    steps, _ = talk(jar, redirect(target), OK)
    assert who(steps[1]) is None
    assert steps[1].request.foreign


@pytest.mark.parametrize("target", ["/v2/other", "other", "https://registry.example.org:443/v2/x"])
def test_a_redirect_within_the_upstream_keeps_its_credentials(jar: TokenJar, target: str) -> None:
    talk(jar, challenged(), token("abc"), OK)
    steps, _ = talk(jar, redirect(target), OK)
    assert who(steps[1]) == "Bearer abc"
    assert not steps[1].request.foreign
    assert steps[1].request.url.startswith("https://registry.example.org")


def test_a_redirect_within_the_upstream_may_be_challenged_too(jar: TokenJar) -> None:
    steps, answer = talk(jar, redirect("/v2/other"), challenged(), token("abc"), OK)
    assert who(steps[-1]) == "Bearer abc"
    assert answer is OK


def test_a_challenge_of_another_host_is_not_met(jar: TokenJar) -> None:
    steps, answer = talk(jar, redirect("https://cdn.example.net/x"), challenged())
    assert len(steps) == 2
    assert answer.status == 401


def test_method_and_headers_stay_the_same_on_the_way(jar: TokenJar) -> None:
    request = Request("HEAD", URL, {"Range": "bytes=5-"})
    steps, _ = talk(jar, redirect("https://cdn.example.net/x", 303), OK, request=request)
    assert (steps[1].request.method, steps[1].request.headers) == ("HEAD", {"Range": "bytes=5-"})


def test_a_redirects_fragment_is_not_sent(jar: TokenJar) -> None:
    steps, _ = talk(jar, redirect("https://cdn.example.net/x#top"), OK)
    assert steps[1].request.url == "https://cdn.example.net/x"


@pytest.mark.parametrize("target", ["http://cdn.example.net/x", "http://registry.example.org/x"])
def test_a_redirect_from_https_to_http_is_not_followed(jar: TokenJar, target: str) -> None:
    with pytest.raises(UpstreamSenseless, match="https to http"):
        talk(jar, redirect(target))
    with pytest.raises(UpstreamSenseless, match="https to http"):
        talk(jar, redirect("https://cdn.example.net/x"), redirect(target))


def test_a_redirect_from_http_to_https_is_followed_as_a_foreign_one(jar: TokenJar) -> None:
    request = Request("GET", "http://registry.example.org:5000/v2/a/manifests/b")
    target = redirect("https://registry.example.org:5000/x")
    steps, _ = talk(jar, target, OK, request=request, rules=PLAIN)
    assert steps[1].request.foreign


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://x/y", "https://:80", "https://[::1"]
)
def test_a_redirect_to_nowhere_is_senseless(jar: TokenJar, target: str) -> None:
    with pytest.raises(UpstreamSenseless):
        talk(jar, redirect(target))


def test_a_redirect_without_a_location_is_senseless(jar: TokenJar) -> None:
    with pytest.raises(UpstreamSenseless):
        talk(jar, said(302))


@pytest.mark.parametrize("target", ["/v2/loop", "https://cdn.example.net/loop"])
def test_a_few_redirects_are_followed_and_not_one_more(jar: TokenJar, target: str) -> None:
    few = [redirect(target)] * MAX_REDIRECTS
    steps, answer = talk(jar, *few, OK)
    assert len(steps) == MAX_REDIRECTS + 1
    assert answer is OK
    with pytest.raises(UpstreamSenseless, match="redirects"):
        talk(jar, *few, redirect(target))


TARGETS = st.sampled_from(
    [
        "/v2/other",
        URL,
        "https://cdn.example.net/x",
        "https://registry.example.org:8443/x",
        "https://auth.example.org/x",
        "http://registry.example.org/x",
        "nonsense:",
    ]
)
REALMS = st.sampled_from(
    [
        REALM,
        "https://registry.example.org/token",
        "https://evil.example/token",
        "http://auth.example.org/token",
        "https://auth.example.org/token?a=b",
    ]
)
ANSWERS = st.one_of(
    st.sampled_from([200, 401, 403, 404, 429, 500]).map(said),
    st.builds(redirect, TARGETS),
    st.builds(challenged, REALMS),
    st.builds(token, st.sampled_from(["abc", "def"]), st.integers(0, 600)),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.lists(ANSWERS, max_size=30), min_size=1, max_size=3))
def test_whatever_the_upstream_says_credentials_stay_at_home_and_it_ends(
    talks: list[list[Answer]],
) -> None:
    jar = TokenJar(Clock())
    for answers in talks:
        steps: list[Step] = []
        conversation = converse(REQUEST, SCOPE, RULES, jar)
        with suppress(StopIteration, UpstreamError):
            steps.append(next(conversation))
            steps.extend(map(conversation.send, answers))
        assert len(steps) <= 4 * (MAX_REDIRECTS + 1)
        for step in steps:
            origin = Origin.of(step.request.url)
            assert origin.scheme == "https"
            if who(step):
                assert (origin, step.purpose) == (RULES.origin, Purpose.RESOURCE)
            if step.purpose is Purpose.TOKEN:
                assert origin.host in ("registry.example.org", "auth.example.org")
            else:
                assert step.request.foreign == (origin != RULES.origin)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, UpstreamNotFound),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (429, UpstreamLimited),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
        (504, UpstreamFailed),
        (204, UpstreamSenseless),
        (304, UpstreamSenseless),
        (400, UpstreamSenseless),
        (418, UpstreamSenseless),
    ],
)
def test_every_status_that_is_no_success_means_something(
    status: int, error: type[UpstreamError]
) -> None:
    found = refusal("example.org", Head(status, HTTPHeaders()))
    assert type(found) is error
    assert str(found).startswith("example.org: ")
    assert str(status) in str(found)


def test_a_limit_carries_how_long_to_wait() -> None:
    found = refusal("example.org", Head(429, HTTPHeaders({"Retry-After": "17"})))
    assert isinstance(found, UpstreamLimited)
    assert found.retry_after == 17
    assert "17 s" in str(found)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_where_it_is_in_seconds(value: str, seconds: int | None) -> None:
    assert retry_after(Head(429, HTTPHeaders({"Retry-After": value}))) == seconds
