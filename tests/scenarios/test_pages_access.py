"""Signing in on the pages, what it opens, and what it never does."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from depproxy.access.attempts import FREE_FAILURES
from depproxy.demo.image import Image
from tests.browsing import PAGE, SIGN_IN, Tab
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.test_purge_image import add_manifest, held, layer, pull
from tests.signing_in import basic, write_users

PASSWORDS = {"reader": "secret of reader", "owner": "secret of owner", "stranger": "of stranger"}
PRIVATE = "visibility: private\nreaders: [reader]\nowners: [owner]"
CLEAR = f"{PAGE}/clear"
CACHE = "/api/v4/groups/mygroup/dependency_proxy/cache"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    write_users(file, PASSWORDS)
    return file


@pytest.fixture
def private(start: Start, users: Path) -> RunningServer:
    """``mygroup`` is private, ``other`` is public."""
    return start(group=PRIVATE, more=f"auth: {{users_file: {users}}}\n")


@pytest.fixture
def public(start: Start, users: Path) -> RunningServer:
    """``mygroup`` is public, and has an owner."""
    return start(group="owners: [owner]", more=f"auth: {{users_file: {users}}}\n")


def signed_in(server: RunningServer, user: str) -> Tab:
    tab = Tab(server)
    assert tab.sign_in(user, PASSWORDS[user]).status == 200
    return tab


def administrator(server: RunningServer) -> Tab:
    tab = Tab(server)
    assert tab.sign_in_as_admin().status == 200
    return tab


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
        {"PRIVATE-TOKEN": (private.data / "admin_token").read_text().strip()},
    ):
        assert private.ask(PAGE, headers=headers).status == 303


# -- clearing ------------------------------------------------------------------------------------


def stock(server: RunningServer, registry: FakeRegistry) -> None:
    shared = layer(0)
    for tag in ("v1", "v2"):
        add_manifest(registry, "library/app", shared, layer(int(tag[1]), 5000), tag=tag)
    add_manifest(registry, "library/tool", shared, tag="v1")
    for name, tag in (("app", "v1"), ("app", "v2"), ("tool", "v1")):
        pull(server, name, tag)


def test_an_owner_clears_one_reference_and_is_told_what_went(
    public: RunningServer, registry: FakeRegistry
) -> None:
    stock(public, registry)
    tab = signed_in(public, "owner")
    before = held(public)
    tab.open(PAGE)
    links = [given.get("href", "") for tag, given in tab.document.tags if tag == "a"]
    assert f"{CLEAR}?image=app&reference=v1" in links
    tab.open(f"{CLEAR}?image=app&reference=v1")
    assert "Clear app:v1?" in tab.text
    assert "Manifests 1 Other blobs 2 Bytes" in tab.text
    assert held(public) == before
    asked = tab.text.partition("Bytes ")[2].partition(" What")[0]
    reply = tab.send(CLEAR)
    assert reply.status == 200
    assert "app:v1 is cleared" in tab.text
    assert f"Manifests 1 Other blobs 2 Bytes {asked}" in tab.text
    tab.open(PAGE)
    assert "app:v2" in tab.text
    assert "tool:v1" in tab.text
    assert "app:v1" not in tab.text


def test_an_owner_clears_an_image(public: RunningServer, registry: FakeRegistry) -> None:
    stock(public, registry)
    tab = signed_in(public, "owner")
    tab.open(f"{CLEAR}?image=app")
    assert "Clear all of app?" in tab.text
    assert "Manifests 2 Other blobs 4 Bytes" in tab.text
    tab.send(CLEAR)
    assert "app is cleared" in tab.text
    tab.open(PAGE)
    assert "tool:v1" in tab.text
    assert "app:" not in tab.text


def test_an_owner_clears_the_group(public: RunningServer, registry: FakeRegistry) -> None:
    stock(public, registry)
    tab = signed_in(public, "owner")
    usage = public.ask("/api/v4/groups/mygroup/dependency_proxy").json
    tab.open(CLEAR)
    assert "Clear the whole cache of mygroup?" in tab.text
    numbers = f"Manifests {usage['manifests']} Other blobs {usage['blobs']} Bytes"
    assert numbers in tab.text
    tab.send(CLEAR)
    assert "The cache of mygroup is cleared" in tab.text
    assert numbers in tab.text
    assert "Nothing is cached yet" in (tab.open(PAGE), tab.text)[1]


def test_the_administrator_clears_without_users_too(
    server: RunningServer, registry: FakeRegistry
) -> None:
    stock(server, registry)
    tab = administrator(server)
    tab.open(CLEAR)
    tab.send(CLEAR)
    assert "The cache of mygroup is cleared" in tab.text


def test_who_may_not_clear_sees_nothing_of_it_and_cannot(
    public: RunningServer, registry: FakeRegistry
) -> None:
    stock(public, registry)
    for tab, status in ((Tab(public), 303), (signed_in(public, "reader"), 403)):
        tab.open(PAGE)
        assert tab.reply.status == 200
        assert b"/clear" not in tab.reply.body
        assert "Clear cache" not in tab.text
        assert tab.ask(CLEAR).status == status
        assert tab.post(CLEAR, what="everything").status == status
    assert "app:v1" in (tab.open(PAGE), tab.text)[1]


def test_clearing_an_unknown_group_asks_strangers_who_they_are(public: RunningServer) -> None:
    for group in ("mygroup", "nobody"):
        path = f"/groups/{group}/-/dependency_proxy"
        reply = Tab(public).post(f"{path}/clear", what="everything")
        assert (reply.status, reply.headers["Location"]) == (
            303,
            f"{SIGN_IN}?next={quote(path, safe='')}",
        )


@pytest.mark.parametrize("word", [None, "", "0" * 64])
def test_a_form_of_another_site_clears_nothing(
    public: RunningServer, registry: FakeRegistry, word: str | None
) -> None:
    stock(public, registry)
    tab = signed_in(public, "owner")
    before = held(public)
    fields = {"what": "everything"} if word is None else {"what": "everything", "word": word}
    assert tab.post(CLEAR, **fields).status == 403
    assert "the form has expired" in tab.text.lower()
    assert held(public) == before


def test_a_word_of_another_session_is_not_taken(public: RunningServer) -> None:
    tab, other = signed_in(public, "owner"), signed_in(public, "owner")
    other.open(CLEAR)
    word = other.form(CLEAR).fields["word"]
    assert tab.post(CLEAR, what="everything", word=word).status == 403


def test_a_sign_in_form_of_another_site_is_not_taken(private: RunningServer) -> None:
    """Else somebody could be signed in as another one, without noticing."""
    tab = Tab(private)
    reply = tab.post(SIGN_IN, user="owner", password=PASSWORDS["owner"])
    assert reply.status == 403
    assert "depproxy_session" not in tab.cookies


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"image": ""},
        {"reference": "v1", "what": "everything"},
        {"image": "No Name"},
        {"image": "app", "reference": "no tag"},
        {"image": "app", "reference": "md5:abc"},
    ],
)
def test_a_form_that_names_nothing_clears_nothing(
    public: RunningServer, registry: FakeRegistry, fields: dict[str, str]
) -> None:
    stock(public, registry)
    tab = signed_in(public, "owner")
    before = held(public)
    tab.open(CLEAR)
    word = tab.form(CLEAR).fields["word"]
    assert tab.post(CLEAR, word=word, **fields).status == 400
    assert "html" in tab.reply.headers["Content-Type"]
    assert held(public) == before


def test_a_form_that_is_too_long_is_refused(private: RunningServer) -> None:
    assert Tab(private).post(SIGN_IN, user="x" * 70_000).status == 413
