"""Where a redirect may lead, and what goes along."""

import pytest

from depproxy.errors import UpstreamSenseless
from depproxy.upstream.conversation import MAX_REDIRECTS, Step
from depproxy.upstream.messages import Request
from depproxy.upstream.tokens import TokenJar
from tests.upstream.dialogue import (
    OK,
    PLAIN,
    REQUEST,
    URL,
    challenged,
    redirect,
    said,
    talk,
    token,
    who,
)


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
