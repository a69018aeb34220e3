"""Where pages are, and that nobody is led away from this server."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.handlers.pages import places


@pytest.mark.parametrize(
    "following",
    [
        "",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "/\n/evil.example",
        "javascript:alert(1)",
        "groups/mygroup",
        "///evil.example",
        "/a\\b",
        "//[",
    ],
)
def test_what_is_no_path_of_this_server_leads_to_the_first_page(following: str) -> None:
    assert places.safe(following) == places.HOME


@pytest.mark.parametrize(
    "following",
    ["/", "/groups/acme/platform/-/dependency_proxy?search=a%20b&page=2", "/?next=//evil.example"],
)
def test_a_path_of_this_server_is_kept(following: str) -> None:
    assert places.safe(following) == following


@given(st.text(alphabet="/\\:.a?#@\t\r\n ", max_size=12))
def test_no_text_leads_to_another_host(following: str) -> None:
    led = urljoin("https://cache.example.org/-/sign_in", places.safe(following))
    assert urlsplit(led).netloc == "cache.example.org"


def test_names_are_encoded_and_slashes_of_a_group_stay() -> None:
    assert places.group_page("acme/platform") == "/groups/acme/platform/-/dependency_proxy"
    assert places.group_page('"?#') == "/groups/%22%3F%23/-/dependency_proxy"
    assert places.clear_page("g") == "/groups/g/-/dependency_proxy/clear"
    assert places.clear_page("g", "a/b", "sha256:1").endswith("?image=a%2Fb&reference=sha256%3A1")


def test_the_sign_in_form_knows_where_to_go_on() -> None:
    assert places.sign_in_page("/a?b=c") == "/-/sign_in?next=%2Fa%3Fb%3Dc"
    assert places.sign_in_page(places.HOME) == "/-/sign_in"
