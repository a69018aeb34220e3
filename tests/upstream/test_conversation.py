"""What is said to a registry, and to whom: the generator is driven by hand, without a socket."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.errors import UpstreamError
from depproxy.upstream.conversation import MAX_REDIRECTS, Purpose, Step, converse
from depproxy.upstream.messages import Answer, Origin, Request
from depproxy.upstream.tokens import TokenJar
from tests.clock import Clock
from tests.upstream.dialogue import (
    OK,
    REALM,
    REQUEST,
    RULES,
    SCOPE,
    URL,
    challenged,
    play,
    query_of,
    redirect,
    said,
    talk,
    token,
    who,
)


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


@settings(max_examples=500)
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
