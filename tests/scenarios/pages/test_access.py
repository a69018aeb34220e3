"""Signing in on the pages, what it opens, and what it never does."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from depproxy.access.attempts import FREE_FAILURES
from depproxy.demo.image import Image
from tests.browsing import PAGE, SIGN_IN, Tab
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.pages.people import PASSWORDS, administrator, signed_in
from tests.signing_in import basic, write_users

CACHE = "/api/v4/groups/mygroup/dependency_proxy/cache"


# -- who sees what -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "/fills", "/clear", "?search=a"])
def test_a_private_and_an_unknown_group_are_alike_to_strangers(
    private: RunningServer, suffix: str
) -> None:
    replies = []
    for group in ("mygroup", "nobody", "No-Name"):
        reply = Tab(private).ask(f"/groups/{group}/-/dependency_proxy{suffix}")
        assert reply.status == 303
        replies.append(str(reply.headers["Location"]).replace(group, "G"))
        following = quote(f"/groups/{group}/-/dependency_proxy{suffix}", safe="")
        assert reply.headers["Location"] == f"{SIGN_IN}?next={following}"
        assert "WWW-Authenticate" not in reply.headers
    assert len(set(replies)) == 1


def test_the_first_page_names_no_private_group_to_strangers(private: RunningServer) -> None:
    for tab in (Tab(private), signed_in(private, "stranger")):
        tab.open("/")
        assert "mygroup" not in tab.text
        assert "other" in tab.text
    for tab in (signed_in(private, "reader"), signed_in(private, "owner"), administrator(private)):
        tab.open("/")
        assert "mygroup private" in tab.text


def test_a_user_without_the_right_finds_nothing_as_where_there_is_nothing(
    private: RunningServer,
) -> None:
    tab = signed_in(private, "stranger")
    pages = []
    for group in ("mygroup", "nobodys"):
        reply = tab.ask(f"/groups/{group}/-/dependency_proxy")
        assert reply.status == 404
        pages.append(tab.text.replace(group, "G"))
    assert pages[0] == pages[1]


def test_who_signs_in_comes_to_where_he_wanted_to_go(private: RunningServer) -> None:
    tab = Tab(private)
    tab.open(f"{PAGE}?search=a")
    assert tab.path.startswith(SIGN_IN)
    reply = tab.send(SIGN_IN, user="reader", password=PASSWORDS["reader"])
    assert (reply.status, tab.path) == (200, f"{PAGE}?search=a")
    assert "Signed in as reader" in tab.text


@pytest.mark.parametrize(
    "following", ["https://evil.example/", "//evil.example", "/\\evil.example"]
)
def test_nobody_is_led_away_after_signing_in(private: RunningServer, following: str) -> None:
    tab = Tab(private)
    tab.open(f"{SIGN_IN}?next={quote(following)}")
    form = tab.form(SIGN_IN)
    fields = {**form.fields, "user": "reader", "password": PASSWORDS["reader"]}
    reply = tab.post(f"{SIGN_IN}?next={quote(following)}", **fields)
    assert (reply.status, reply.headers["Location"]) == (303, "/")


def test_without_users_an_unknown_group_is_404_for_everybody(server: RunningServer) -> None:
    for tab in (Tab(server), administrator(server)):
        assert tab.ask("/groups/nobody/-/dependency_proxy").status == 404


def test_the_admin_token_reads_private_groups_and_knows_which_there_are(
    private: RunningServer,
) -> None:
    tab = administrator(private)
    assert tab.ask(PAGE).status == 200
    assert tab.ask("/groups/nobody/-/dependency_proxy").status == 404


# -- sessions ------------------------------------------------------------------------------------


def cookie_of(tab: Tab, name: str = "depproxy_session") -> str:
    return next(line for line in tab.set_cookies if line.startswith(f"{name}="))


def begin(tab: Tab) -> str:
    """Sign in as the owner; what the browser is told of the cookie."""
    tab.open(SIGN_IN)
    fields = {**tab.form(SIGN_IN).fields, "user": "owner", "password": PASSWORDS["owner"]}
    assert tab.post(SIGN_IN, **fields).status == 303
    return cookie_of(tab)


def test_cookies_are_read_by_no_script_and_sent_with_no_others_forms(
    private: RunningServer,
) -> None:
    tab = Tab(private)
    cookie = begin(tab)
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    fresh = Tab(private)
    fresh.open(SIGN_IN)
    assert "HttpOnly" in cookie_of(fresh, "depproxy_form")
    assert "SameSite=Strict" in cookie_of(fresh, "depproxy_form")


def test_cookies_are_for_tls_only_where_clients_come_by_it(start: Start, users: Path) -> None:
    server = start(
        group="owners: [owner]",
        more=f"external_url: https://cache.example.org\nauth: {{users_file: {users}}}\n",
    )
    assert "; Secure" in begin(Tab(server))


def test_cookies_are_for_tls_only_where_a_trusted_proxy_says_that_it_was_used(
    start: Start, users: Path
) -> None:
    server = start(more=f"trusted_proxies: [127.0.0.1]\nauth: {{users_file: {users}}}\n")
    for scheme, is_secure in (("https", True), ("http", False)):
        tab = Tab(server)
        tab.ask(SIGN_IN, X_Forwarded_Proto=scheme)
        assert ("; Secure" in cookie_of(tab, "depproxy_form")) is is_secure


def test_pages_that_need_no_form_set_no_cookie(private: RunningServer) -> None:
    tab = Tab(private)
    tab.ask("/")
    assert tab.set_cookies == []


def test_a_new_password_ends_the_session(private: RunningServer, users: Path) -> None:
    tab = signed_in(private, "reader")
    assert tab.ask(PAGE).status == 200
    write_users(users, {**PASSWORDS, "reader": "another"})
    assert tab.ask(PAGE).status == 303


def test_a_removed_user_has_no_session(private: RunningServer, users: Path) -> None:
    tab = signed_in(private, "reader")
    write_users(users, {"owner": "x", "reader2": "y"})
    assert tab.ask(PAGE).status == 303


def test_signing_out_ends_the_session_for_a_kept_cookie_too(private: RunningServer) -> None:
    tab = signed_in(private, "owner")
    kept = dict(tab.cookies)
    reply = tab.send("/-/sign_out")
    assert (reply.status, tab.path) == (200, "/")
    assert "Sign in" in tab.text
    assert "depproxy_session" not in tab.cookies
    tab.cookies = kept
    assert tab.ask(PAGE).status == 303


def test_signing_out_is_a_form(private: RunningServer) -> None:
    tab = signed_in(private, "owner")
    assert tab.ask("/-/sign_out").status == 405
    assert tab.post("/-/sign_out").status == 403
    assert tab.ask(PAGE).status == 200


def test_an_altered_cookie_is_nobodys(private: RunningServer) -> None:
    tab = signed_in(private, "reader")
    head, claims, signature = tab.cookies["depproxy_session"].split(".")
    for text in (f"{head}.{claims}.", f"{head}.{claims}x.{signature}", "é", '"', "a=b"):
        tab.cookies["depproxy_session"] = quote(text)
        assert tab.ask(PAGE).status == 303


# -- wrong passwords -----------------------------------------------------------------------------


def attempt(server: RunningServer, source: str = "127.0.0.1", **fields: str) -> Tab:
    tab = Tab(server, source)
    tab.open(SIGN_IN)
    tab.send(SIGN_IN, **fields)
    return tab


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user": "owner", "password": "wrong"}, "User or password is wrong."),
        ({"user": "nobody", "password": PASSWORDS["owner"]}, "User or password is wrong."),
        ({"user": "", "password": ""}, "User or password is wrong."),
        ({"token": "wrong"}, "This is not the admin token."),
    ],
)
def test_wrong_credentials_sign_nobody_in(
    private: RunningServer, fields: dict[str, str], words: str
) -> None:
    tab = attempt(private, **fields)
    assert tab.reply.status == 401
    assert words in tab.text
    assert "WWW-Authenticate" not in tab.reply.headers
    assert "depproxy_session" not in tab.cookies
    assert b"wrong" not in tab.reply.body.replace(b"password is wrong", b"")
    assert tab.ask(PAGE).status == 303


def test_wrong_passwords_are_slowed_with_those_of_other_clients(private: RunningServer) -> None:
    for _ in range(FREE_FAILURES):
        attempt(private, "127.2.0.1", user="owner", password="wrong")
    begun = time.monotonic()
    attempt(private, "127.2.0.1", user="owner", password="wrong")
    assert time.monotonic() - begun > 0.2
    assert attempt(private, "127.2.0.2", user="owner", password=PASSWORDS["owner"]).path == "/"


def test_a_password_is_never_sent_back(private: RunningServer) -> None:
    tab = attempt(private, user="own<er", password="hunter2")
    assert b"hunter2" not in tab.reply.body
    assert b'value="own&lt;er"' in tab.reply.body


# -- the cookie is for pages only ----------------------------------------------------------------


@pytest.mark.parametrize("who", [lambda s: signed_in(s, "owner"), administrator])
def test_no_other_surface_takes_the_cookie(
    private: RunningServer, hello: Image, who: Callable[[RunningServer], Tab]
) -> None:
    tab = who(private)
    assert tab.ask(PAGE).status == 200
    for path, method in (
        ("/v2/", "GET"),
        (f"{PREFIX}/hello/manifests/latest", "GET"),
        ("/api/v4/groups/mygroup/dependency_proxy", "GET"),
        ("/api/v4/groups/mygroup/dependency_proxy/manifests", "GET"),
        (CACHE, "DELETE"),
    ):
        assert tab.ask(path, method).status == 401, path
    token = tab.ask("/jwt/auth?scope=repository:mygroup/dependency_proxy/containers/hello:pull")
    pulled = private.ask(
        f"{PREFIX}/hello/manifests/latest",
        headers={"Authorization": f"Bearer {token.json['token']}"},
    )
    assert pulled.status == 401


def test_a_clients_credentials_open_no_page(private: RunningServer) -> None:
    """Passwords that a browser keeps for this host by itself would make every link to a form."""
    for headers in (
        basic("owner", PASSWORDS["owner"]),
        {"PRIVATE-TOKEN": private.token},
    ):
        assert private.ask(PAGE, headers=headers).status == 303
