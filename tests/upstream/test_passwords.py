"""Who is told the password: the upstream itself where it wants it, and its token service."""

from dataclasses import replace

import pytest

from depproxy.upstream.messages import Answer, Request
from depproxy.upstream.tokens import TokenJar
from tests.upstream.dialogue import (
    OK,
    REALM,
    RULES,
    URL,
    challenged,
    redirect,
    said,
    talk,
    token,
    who,
)


class Somebody:
    """A user with a password."""

    username = "me"

    def basic(self) -> str:
        return PASSWORD


PASSWORD = "Basic bWU6c2VjcmV0"
KNOWN = replace(RULES, login=Somebody())
ASKED = said(401, {"WWW-Authenticate": 'Basic realm="x"'})


def test_a_password_is_given_to_who_asks_and_from_then_on_at_once(jar: TokenJar) -> None:
    steps, answer = talk(jar, ASKED, OK, rules=KNOWN)
    assert ([who(step) for step in steps], answer) == ([None, PASSWORD], OK)
    steps, answer = talk(jar, OK, rules=KNOWN)
    assert ([who(step) for step in steps], answer) == ([PASSWORD], OK)


def test_a_password_that_is_wrong_is_given_once(jar: TokenJar) -> None:
    """More would lock a user out."""
    steps, answer = talk(jar, ASKED, ASKED, rules=KNOWN)
    assert ([who(step) for step in steps], answer) == ([None, PASSWORD], ASKED)


def test_a_password_that_has_become_wrong_is_given_once(jar: TokenJar) -> None:
    talk(jar, ASKED, OK, rules=KNOWN)
    steps, answer = talk(jar, ASKED, rules=KNOWN)
    assert ([who(step) for step in steps], answer) == ([PASSWORD], ASKED)


def test_where_a_token_is_wanted_the_password_goes_to_the_realm_only(jar: TokenJar) -> None:
    steps, _ = talk(jar, challenged(), token(), OK, rules=KNOWN)
    assert [who(step) for step in steps] == [None, PASSWORD, "Bearer abc"]
    assert steps[1].request.url.startswith(REALM)


@pytest.mark.parametrize(
    "target",
    ["https://cdn.example.net/x", "https://registry.example.org:8443/x", "https://example.org/x"],
)
@pytest.mark.parametrize("answers", [(ASKED,), (challenged(), token())], ids=["basic", "bearer"])
def test_a_redirect_to_another_host_or_port_gets_no_credentials(
    jar: TokenJar, target: str, answers: tuple[Answer, ...]
) -> None:
    steps, _ = talk(jar, *answers, redirect(target), OK, rules=KNOWN)
    assert (steps[-1].request.url, who(steps[-1])) == (target, None)


def test_a_redirect_carries_nothing_that_the_request_came_with(jar: TokenJar) -> None:
    request = Request("GET", URL).with_authorization("Bearer of another")
    steps, _ = talk(jar, redirect("https://cdn.example.net/x"), OK, request=request)
    assert who(steps[-1]) is None
