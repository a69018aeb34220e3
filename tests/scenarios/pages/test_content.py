"""The pages without a browser: what is on them, for whom, and how they are sent."""

import json
import re
from pathlib import Path

import pytest

from depproxy.config import load_config
from depproxy.demo.image import Image
from depproxy.oci.manifest import OCI_INDEX
from tests.browsing import PAGE, Tab
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.pulling import pull
from tests.running import RunningServer, Start, write_config
from tests.waiting import wait_for


@pytest.fixture
def tab(server: RunningServer) -> Tab:
    return Tab(server)


def seen(tab: Tab, path: str = PAGE) -> str:
    reply = tab.open(path)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return tab.text


# -- what is on them -----------------------------------------------------------------------------


def test_the_first_page_lists_the_groups_with_what_they_hold(tab: Tab, hello: Image) -> None:
    pull(tab.server, "hello")
    pull(tab.server, "hello")
    text = seen(tab, "/")
    usage = tab.server.ask("/api/v4/groups/mygroup/dependency_proxy").json
    rate = round(100 * usage["hits"] / (usage["hits"] + usage["misses"]))
    assert re.search(rf"mygroup 1 .* kB {rate} % .*B other 0 0 B – 0 B", text)
    links = [given.get("href") for tag, given in tab.document.tags if tag == "a"]
    assert PAGE in links


def test_a_groups_page_tells_what_the_api_tells(tab: Tab, hello: Image) -> None:
    for _ in range(2):
        pull(tab.server, "hello", variants=2)
    usage = tab.server.ask("/api/v4/groups/mygroup/dependency_proxy").json
    text = seen(tab)
    assert f"{usage['manifests']} manifests, {usage['blobs']} blobs" in text
    assert f"{usage['hits']} hits, {usage['misses']} misses" in text
    assert usage["prefix"] in text
    [image] = tab.server.ask("/api/v4/groups/mygroup/dependency_proxy/manifests").json
    assert "hello:latest" in text
    assert "linux/amd64 linux/arm64" in text
    assert f"{image['digest'][:19]}…" in text
    times = [given for tag, given in tab.document.tags if tag == "time"]
    told = {given["datetime"] for given in times}
    assert {image["cached"], image["last_pulled"], image["last_checked"]} <= told
    for given in times:
        exact = given["datetime"].replace("T", " ").replace("Z", " UTC")
        assert given["title"] == exact or "just now" in given["title"] or "ago" in given["title"]


def test_an_empty_group_shows_the_first_command(start: Start) -> None:
    tab = Tab(start(more="external_url: https://cache.example.org\n"))
    command = "docker pull cache.example.org/mygroup/dependency_proxy/containers/alpine:latest"
    text = seen(tab)
    assert "Nothing is cached yet" in text
    assert command in text
    assert "FROM cache.example.org/mygroup" in text
    assert "image: cache.example.org/mygroup" in text
    assert '[host."https://cache.example.org/v2/mygroup/dependency_proxy/containers"]' in text


def test_a_name_of_a_tag_and_one_of_a_digest_are_ready_to_be_copied(
    tab: Tab, registry: FakeRegistry, hello: Image
) -> None:
    pull(tab.server, "hello")
    digest = add_manifest(registry, "library/app", layer(1))
    assert tab.server.manifest("app", digest).status == 200
    seen(tab)
    copied = {given.get("data-copy") for _, given in tab.document.tags}
    prefix = "localhost:8080/mygroup/dependency_proxy/containers"
    assert {f"{prefix}/hello:latest", f"{prefix}/app@{digest}", digest} <= copied


def test_images_are_searched_sorted_and_paged(
    tab: Tab, registry: FakeRegistry, hello: Image
) -> None:
    for number in range(23):
        add_manifest(registry, "library/app", layer(number, 100 * number), tag=f"v{number:02}")
        pull(tab.server, "app", f"v{number:02}")
    pull(tab.server, "hello")

    def names(query: str = "") -> list[str]:
        return re.findall(r"(?:app|hello):\w+", seen(tab, PAGE + query).partition("How to")[0])

    assert list(dict.fromkeys(names())) == [f"app:v{number:02}" for number in range(20)]
    assert "1–20 of 24" in tab.text
    assert "Page 1 of 2" in tab.text
    assert names("?page=2")[-1] == "hello:latest"
    assert names("?page=3") == []
    assert list(dict.fromkeys(names("?search=v07"))) == ["app:v07"]
    assert names("?sort=-bytes")[0] != names("?sort=bytes")[0] == "app:v00"
    assert names("?search=nothing-like-it") == []
    assert "No image is called, or has a digest, like nothing-like-it" in tab.text


def test_links_of_the_list_keep_what_was_asked_for(
    tab: Tab, registry: FakeRegistry, hello: Image
) -> None:
    for number in range(21):
        add_manifest(registry, "library/app", layer(number), tag=f"v{number:02}")
        pull(tab.server, "app", f"v{number:02}")
    seen(tab, f"{PAGE}?search=app&sort=-bytes&period=24h")
    links = {given.get("rel"): given["href"] for tag, given in tab.document.tags if tag == "a"}
    assert links["next"] == f"{PAGE}?search=app&sort=-bytes&page=2&period=24h#images"
    sorts = {given["aria-sort"] for _, given in tab.document.tags if "aria-sort" in given}
    assert sorts == {"none", "descending"}
    hrefs = {given.get("href") for _, given in tab.document.tags}
    assert f"{PAGE}?search=app&sort=bytes&period=24h#images" in hrefs
    assert f"{PAGE}?search=app&period=24h#images" in hrefs


@pytest.mark.parametrize(
    "query", ["?page=0", "?page=x", "?page=99999999999999", "?sort=nonsense", "?period=1y", "?%ff"]
)
def test_wishes_that_cannot_be_are_left_out(tab: Tab, query: str) -> None:
    assert "Nothing is cached yet" in seen(tab, PAGE + query)


def test_upstreams_are_told_with_their_state_and_what_is_left(
    tab: Tab, registry: FakeRegistry, hello: Image
) -> None:
    assert "docker.io reachable It has not told of a rate limit." in seen(tab)
    registry.misbehave(behaviours.rate_limited(100, 76), ".*/manifests/.*")
    tab.server.manifest("hello", "latest")
    assert "docker.io reachable 76 of 100 requests left, per 6 hours" in seen(tab)
    registry.misbehave(behaviours.status(429))
    tab.server.manifest("hello", "latest")
    assert "docker.io limited for 0 seconds" in seen(tab)
    registry.go_down()
    tab.server.manifest("hello", "latest")
    assert "docker.io failing for " in seen(tab)


def test_policies_are_told_in_words(start: Start) -> None:
    text = seen(Tab(start(group="expire_after: 90d\nmax_size: 50GiB")))
    assert "expire_after What nobody has pulled for 90 days goes." in text
    assert "max_size Beyond 50 GiB, the least recently pulled goes." in text


def test_hits_and_bytes_are_drawn_by_the_hour(tab: Tab, hello: Image) -> None:
    assert "Nothing was pulled in the last 7 days." in seen(tab)
    pull(tab.server, "hello")
    for period, label in (("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")):
        seen(tab, f"{PAGE}?period={period}")
        pictures = [given for tag, given in tab.document.tags if tag == "svg"]
        assert len(pictures) == 2
        assert pictures[0]["aria-label"].startswith(f"Hit rate of the last {label}. ")
        bars = [given for tag, given in tab.document.tags if given.get("class") == "accent"]
        assert len(bars) == 2


def test_a_download_under_way_is_shown_until_it_has_ended(
    tab: Tab, registry: FakeRegistry, hello: Image
) -> None:
    gate = behaviours.Gate()
    blob = registry.add_blob("library/hello", layer(1, 400_000))
    registry.misbehave(behaviours.blob_until(100_000, "hold", gate=gate), f".*/blobs/{blob}")
    with tab.server.open(f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{blob}") as response:
        first = response.read(1)
        for path in (PAGE, f"{PAGE}/fills"):
            told = f"hello {blob.hex[:12]} 100.0 kB of 400.0 kB · 25 %"
            wait_for(lambda path=path, told=told: told in seen(tab, path))  # type: ignore[misc]
            [bar] = [given for tag, given in tab.document.tags if tag == "progress"]
            assert (bar["max"], bar["value"]) == ("400000", "100000")
        assert "under way" not in seen(tab, "/groups/other/-/dependency_proxy")
        gate.open()
        assert len(first + response.read()) == 400_000
    wait_for(lambda: tab.open(f"{PAGE}/fills").body.strip() == b"")
    assert "under way" not in seen(tab)


# -- how they are sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", PAGE, f"{PAGE}/fills", "/-/sign_in", "/nowhere"])
def test_pages_are_kept_by_nobody_and_run_nothing_of_strangers(tab: Tab, path: str) -> None:
    headers = tab.ask(path, Accept="text/html").headers
    assert headers["Cache-Control"] == "no-store"
    policy = dict(
        part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_nothing_on_a_page_is_inline_or_from_elsewhere(tab: Tab, hello: Image) -> None:
    pull(tab.server, "hello")
    tab.sign_in_as_admin()
    for path in ("/", PAGE, f"{PAGE}/clear", "/-/sign_in", "/nowhere"):
        tab.ask(path, Accept="text/html")
        for tag, given in tab.document.tags:
            assert tag != "style"
            assert tag != "script" or "src" in given
            assert not [name for name in given if name == "style" or name.startswith("on")]
            for name in ("src", "href", "action"):
                assert not given.get(name) or given[name][:1] in "/#"
                assert given.get(name, "")[:2] != "//"


def test_assets_are_kept_for_as_long_as_they_are_the_same(tab: Tab) -> None:
    tab.open("/")
    urls = {
        given[name]
        for _, given in tab.document.tags
        for name in ("src", "href")
        if "/static/" in given.get(name, "")
    }
    assert {url.rpartition(".")[2][:3].rstrip("?") for url in urls} == {"css", "js", "svg"}
    for url in urls:
        reply = tab.ask(url)
        assert reply.status == 200
        assert "immutable" in reply.headers["Cache-Control"]
        assert tab.ask(url.partition("?")[0]).headers["Cache-Control"] == "no-cache"
    assert tab.ask("/-/static/nothing.css").status == 404
    assert tab.ask("/-/static/..%2ftemplates%2fbase.html").status == 404


def test_head_and_get_agree(tab: Tab) -> None:
    for path in ("/", PAGE, "/-/sign_in", "/groups/nobody/-/dependency_proxy"):
        got, head = tab.ask(path), tab.ask(path, "HEAD")
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_the_pull_prefix_in_a_browser_leads_to_the_groups_page(tab: Tab) -> None:
    for path in ("/mygroup/dependency_proxy/containers", "/mygroup/dependency_proxy/containers/"):
        reply = tab.ask(path)
        assert reply.status in (301, 302, 303)
        assert reply.headers["Location"] == PAGE
    nested = tab.ask("/acme/platform/dependency_proxy/containers")
    assert nested.headers["Location"] == "/groups/acme/platform/-/dependency_proxy"
    strange = tab.ask("//evil.example/dependency_proxy/containers")
    assert strange.headers["Location"].startswith("/groups/")


def test_nested_groups_have_pages_by_slash_and_by_its_code(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    write_config(tmp_path, registry.url)
    file = tmp_path / "depproxy.yml"
    file.write_text(file.read_text() + "  acme/platform:\n")
    with RunningServer(load_config(file)) as server:
        tab = Tab(server)
        for path in ("acme/platform", "acme%2Fplatform"):
            assert "localhost:8080/acme/platform/dependency_proxy/containers" in seen(
                tab, f"/groups/{path}/-/dependency_proxy"
            )
        assert tab.open("/groups/acme/-/dependency_proxy").status == 404


# -- errors --------------------------------------------------------------------------------------


def test_errors_of_pages_are_pages_and_others_are_not(tab: Tab) -> None:
    unknown = tab.ask("/groups/nobody/-/dependency_proxy")
    assert (unknown.status, unknown.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no group 'nobody' on this server" in tab.text
    assert "html" in tab.ask("/nowhere", Accept="text/html,*/*").headers["Content-Type"]
    assert "plain" in tab.ask("/nowhere").headers["Content-Type"]
    assert "json" in tab.ask("/v2/nowhere", Accept="text/html").headers["Content-Type"]
    assert "json" in tab.ask("/api/nowhere", Accept="text/html").headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_verbs_are_refused_with_those_that_work(tab: Tab, method: str) -> None:
    reply = tab.ask(PAGE, method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert "html" in reply.headers["Content-Type"]


@pytest.mark.parametrize(
    "name", ["Nobody", "..", "a%00b", "%ff", "<script>alert(1)</script>", "a/"]
)
def test_what_can_be_no_group_is_an_unknown_one(tab: Tab, name: str) -> None:
    reply = tab.ask(f"/groups/{name}/-/dependency_proxy")
    assert reply.status == 404
    assert b"<script>alert" not in reply.body


# -- names of strangers --------------------------------------------------------------------------


def test_whatever_an_upstream_calls_things_is_text(tab: Tab, registry: FakeRegistry) -> None:
    evil = "<script>alert(1)</script>"
    manifest = add_manifest(registry, "library/app", layer(1))
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifest,
        "size": 1,
        "platform": {"os": evil, "architecture": '"><img src=x onerror=alert(1)>'},
    }
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    registry.add_manifest("library/app", json.dumps(index).encode(), OCI_INDEX, tag="v1")
    pull(tab.server, "app", "v1")
    text = seen(tab)
    assert evil in text
    assert not [tag for tag, given in tab.document.tags if tag == "img" and "onerror" in given]
    assert evil.encode() not in tab.reply.body


def test_a_search_is_text(tab: Tab, hello: Image) -> None:
    pull(tab.server, "hello")
    seen(tab, PAGE + "?search=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert b"<script>alert" not in tab.reply.body
    [field] = [given for tag, given in tab.document.tags if given.get("name") == "search"]
    assert field["value"] == '"><script>alert(1)</script>'
