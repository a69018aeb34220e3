"""Clearing on the pages: who may, what goes, and which forms are not taken."""

from urllib.parse import quote

import pytest

from tests.browsing import PAGE, SIGN_IN, Tab
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import held
from tests.pulling import pull
from tests.running import RunningServer
from tests.scenarios.pages.people import PASSWORDS, administrator, signed_in

CLEAR = f"{PAGE}/clear"


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
