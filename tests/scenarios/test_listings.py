"""Lists of tags and referrers: asked of the upstream, kept, paged, linked to this server."""

import json
import re

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start

TAGS = f"{PREFIX}/hello/tags/list"


@pytest.fixture
def tagged(registry: FakeRegistry, hello: Image) -> list[str]:
    tags = sorted(f"v{number}" for number in range(10))
    for tag in tags:
        registry.tag("library/hello", tag, hello.index)
    registry.untag("library/hello", "latest")
    return tags


def walk(server: RunningServer, path: str) -> list[list[str]]:
    """All pages, as a client follows them."""
    pages = []
    while path:
        reply = server.ask(path)
        assert reply.status == 200
        pages.append(reply.json["tags"])
        match = re.fullmatch(r'<([^>]+)>; rel="next"', reply.headers["Link"] or "")
        path = match[1] if match else ""
        assert not path or path.startswith("/v2/")
    return pages


def test_tags_are_the_upstreams_under_the_name_that_was_asked(
    server: RunningServer, tagged: list[str]
) -> None:
    for name in ("hello", "docker.io/library/hello"):
        reply = server.ask(f"{PREFIX}/{name}/tags/list")
        assert reply.headers["Content-Type"] == "application/json"
        asked = f"mygroup/dependency_proxy/containers/{name}"
        assert reply.json == {"name": asked, "tags": tagged}


@pytest.mark.parametrize("pages", [True, False], ids=["pages", "does not page"])
def test_pages_are_followed_to_the_end_whether_or_not_the_upstream_pages(
    server: RunningServer, registry: FakeRegistry, tagged: list[str], pages: bool
) -> None:
    registry.pages = pages
    found = walk(server, f"{TAGS}?n=4")
    assert [len(page) for page in found] == [4, 4, 2]
    assert [tag for page in found for tag in page] == tagged
    assert walk(server, f"{TAGS}?n=3&last=v5&ns=docker.io") == [["v6", "v7", "v8"], ["v9"]]


def test_the_upstreams_query_is_carried_over(
    server: RunningServer, registry: FakeRegistry, tagged: list[str]
) -> None:
    link = server.ask(f"{TAGS}?n=4").headers["Link"]
    assert link == f'<{TAGS}?last=v3&n=4&token=a%2Fb>; rel="next"'
    server.ask(link[1:].partition(">")[0])
    assert registry.requests[-1].query == {"last": ["v3"], "n": ["4"], "token": ["a/b"]}


def test_the_next_page_is_of_the_upstream_that_was_named(
    start: Start, registry: FakeRegistry, tagged: list[str]
) -> None:
    more = f"  quay.io: {{url: {registry.url}}}\n"
    server = start(group="upstreams: [docker.io, quay.io]", more=more)
    path = f"{PREFIX}/library/hello/tags/list"
    link = server.ask(f"{path}?ns=quay.io&n=4").headers["Link"]
    assert link == f'<{path}?last=v3&n=4&token=a%2Fb&ns=quay.io>; rel="next"'


def test_n_is_clamped(server: RunningServer, registry: FakeRegistry, tagged: list[str]) -> None:
    assert server.ask(f"{TAGS}?n={10**30}").json["tags"] == tagged
    assert registry.requests[-1].query["n"] == ["1000"]
    assert server.ask(f"{TAGS}?n=-5").json["tags"] == []
    assert server.ask(f"{TAGS}?n=many").json["tags"] == tagged


def test_the_last_good_list_is_served_while_the_upstream_fails(
    start: Start, registry: FakeRegistry, tagged: list[str]
) -> None:
    server = start(extra="revalidate_timeout: 200ms\nstall_timeout: 1s")
    assert server.ask(TAGS).json["tags"] == tagged
    for behaviour in (behaviours.status(503), behaviours.hang(), behaviours.status(200)):
        registry.misbehave(behaviour)
        stale = server.ask(TAGS)
        assert (stale.json["tags"], "Warning" in stale.headers) == (tagged, True)
    registry.go_down()
    server.stop()
    assert start().ask(TAGS).json["tags"] == tagged


def test_a_failure_is_neither_404_nor_an_empty_list(
    start: Start, registry: FakeRegistry, tagged: list[str]
) -> None:
    server = start(extra="stall_timeout: 1s")
    for behaviour, status in (
        (behaviours.status(500), 502),
        (behaviours.hang(), 504),
        (behaviours.status(429), 429),
        (behaviours.status(200, {}, b"<html>"), 502),
        (behaviours.status(200, {}, b'{"tags": 5}'), 502),
        (behaviours.status(200, {}, b"{}"), 502),
        (behaviours.status(200, {}, b"[" * 100_000), 502),
        (behaviours.status(404), 404),
        (behaviours.status(401), 404),
    ):
        registry.misbehave(behaviour)
        assert server.ask(TAGS).status == status
        referrers = server.ask(f"{PREFIX}/hello/referrers/{Digest.of(b'x')}")
        assert referrers.status == status


def test_404_takes_the_kept_list_away(
    server: RunningServer, registry: FakeRegistry, tagged: list[str]
) -> None:
    server.ask(TAGS)
    registry.misbehave(behaviours.status(404), times=1)
    assert server.ask(TAGS).status == 404
    registry.go_down()
    assert server.ask(TAGS).status == 502


def test_referrers_pass_through_with_their_filter_and_outlive_the_upstream(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    body = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    registry.referrers[hello.index] = body
    path = f"{PREFIX}/hello/referrers/{hello.index}"
    assert server.ask(path).body == body
    filtered = server.ask(f"{path}?artifactType=application/x")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert registry.requests[-1].query == {"artifactType": ["application/x"]}
    registry.go_down()
    for query in ("", "?artifactType=application/x"):
        stale = server.ask(path + query)
        assert (stale.status, stale.body, "Warning" in stale.headers) == (200, body, True)
    assert server.ask(f"{path}?artifactType=other").status == 502


def test_lists_are_read_only(server: RunningServer) -> None:
    reply = server.ask(TAGS, "POST")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")
    bad = server.ask(f"{PREFIX}/hello/referrers/latest")
    assert (bad.status, bad.error) == (400, "DIGEST_INVALID")


def test_a_client_that_asks_for_ever_new_pages_does_not_fill_the_disk(
    server: RunningServer, registry: FakeRegistry, tagged: list[str]
) -> None:
    for number in range(30):
        server.ask(f"{TAGS}?last=a{number}")
    lists = server.tree / "manifests/docker.io/library/hello/-/lists"
    assert len(list(lists.iterdir())) <= 20


def test_that_an_upstream_has_no_referrers_is_known_while_it_is_down(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    path = f"{PREFIX}/hello/referrers/{hello.index}"
    assert server.ask(path).status == 404
    registry.go_down()
    assert server.ask(path).status == 404
    assert server.ask(f"{PREFIX}/hello/referrers/{Digest.of(b'x')}").status == 502
