"""What a group holds and does, and what is cached in it: the numbers are those of the disk."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.fakes import behaviours
from tests.fakes.registry import Exchange, FakeRegistry
from tests.images import add_manifest, amd64_of, layer
from tests.on_disk import held, tree_of
from tests.pulling import pull
from tests.purging import clear
from tests.running import PREFIX, Reply, RunningServer, Start
from tests.signing_in import basic, write_users

API = "/api/v4/groups/mygroup/dependency_proxy"


def usage(server: RunningServer, group: str = "mygroup") -> dict[str, Any]:
    reply = server.ask(f"/api/v4/groups/{group}/dependency_proxy")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    told: dict[str, Any] = reply.json
    return told


def counts(server: RunningServer) -> tuple[int, int, int]:
    told = usage(server)
    return told["manifests"], told["blobs"], told["bytes"]


def asked_list(server: RunningServer, **query: object) -> Reply:
    return server.ask(f"{API}/manifests?{urlencode(query)}")


def listed(server: RunningServer, **query: object) -> list[dict[str, Any]]:
    reply = asked_list(server, **query)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json
    return found


# -- what is held --------------------------------------------------------------------------------


def test_an_empty_group_holds_nothing_and_says_how_to_pull(start: Start) -> None:
    server = start(more="external_url: https://cache.example.org\n")
    told = usage(server)
    assert told["group"] == "mygroup"
    assert told["prefix"] == "cache.example.org/mygroup/dependency_proxy/containers"
    assert (told["manifests"], told["blobs"], told["bytes"]) == (0, 0, 0)
    assert (told["hits"], told["misses"]) == (0, 0)
    assert (told["bytes_served"], told["bytes_fetched"], told["bytes_saved"]) == (0, 0, 0)
    assert "exact" not in told


def test_usage_is_what_is_on_disk_however_it_came_and_went(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    manifests = {add_manifest(registry, "library/app", layer(1), tag="v1"), *hello.manifests}
    lone = registry.add_blob("library/app", layer(7))

    def check() -> None:
        files = held(server)
        documents = manifests & set(files)
        expected = len(documents), len(files) - len(documents), sum(files.values())
        assert counts(server) == expected

    steps: tuple[Callable[[], object], ...] = (
        lambda: pull(server, "hello"),
        lambda: pull(server, "hello", variants=2),
        lambda: pull(server, "app", "v1"),
        lambda: server.blob("app", lone),
        lambda: clear(server, "hello"),
        lambda: pull(server, "hello"),
        lambda: server.purge(),
        lambda: pull(server, "app", "v1"),
    )
    for step in steps:
        step()
        check()


def test_a_manifest_of_two_images_counts_once(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.add_image("library/copy", "latest", hello)
    pull(server, "hello")
    before = counts(server)
    pull(server, "copy")
    assert counts(server) == before
    assert len(listed(server)) == 2


def test_usage_and_a_purge_of_the_group_agree(server: RunningServer, hello: Image) -> None:
    pull(server, "hello")
    told = usage(server)
    assert server.purge().json == {
        "message": "202 Accepted",
        **{name: told[name] for name in ("manifests", "blobs", "bytes")},
    }


def test_usage_is_the_same_after_a_restart(
    server: RunningServer, hello: Image, start: Start
) -> None:
    pull(server, "hello", variants=2)
    before = counts(server)
    server.stop()
    again = start()
    again.wait_for_counts()
    assert counts(again) == before
    assert "exact" not in usage(again)


def test_until_the_first_count_is_complete_usage_says_so(
    server: RunningServer, hello: Image, start: Start, walk: Any
) -> None:
    pull(server, "hello")
    server.stop()
    again = start()
    assert usage(again)["exact"] is False
    walk.set()
    again.wait_for_counts()
    assert "exact" not in usage(again)


# -- what was done -------------------------------------------------------------------------------


def did(server: RunningServer) -> dict[str, int]:
    told = usage(server)
    names = ("hits", "misses", "bytes_served", "bytes_fetched", "bytes_saved")
    return {name: told[name] for name in names}


def test_every_answer_with_a_manifest_or_a_blob_is_a_hit_or_a_miss(
    server: RunningServer, hello: Image
) -> None:
    index = len(hello.manifests[hello.index][1])
    blob = next(iter(hello.blobs))
    size = len(hello.blobs[blob])
    expected = dict.fromkeys(did(server), 0)
    script: list[tuple[Callable[[], Reply], bool, int, int]] = [
        (lambda: server.manifest("hello", "latest", "HEAD"), False, 0, 0),
        (lambda: server.manifest("hello", hello.index), False, index, index),
        (lambda: server.manifest("hello", hello.index), True, index, 0),
        (lambda: server.manifest("hello", "latest", "HEAD"), True, 0, 0),
        (lambda: server.manifest("hello", "latest"), True, index, 0),
        (lambda: server.blob("hello", blob, "HEAD"), False, 0, 0),
        (lambda: server.blob("hello", blob), False, size, size),
        (lambda: server.blob("hello", blob), True, size, 0),
        (lambda: server.blob("hello", blob, Range="bytes=10-29"), True, 20, 0),
        (lambda: server.blob("hello", blob, "HEAD"), True, 0, 0),
        (lambda: server.blob("hello", blob, If_None_Match=f'"{blob}"'), True, 0, 0),
    ]
    for request, is_hit, served, fetched in script:
        assert request().status in (200, 206, 304)
        server.settle()
        expected["hits"] += is_hit
        expected["misses"] += not is_hit
        expected["bytes_served"] += served
        expected["bytes_fetched"] += fetched
        expected["bytes_saved"] = max(0, expected["bytes_served"] - expected["bytes_fetched"])
        assert did(server) == expected


def test_errors_and_other_questions_count_as_nothing(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    before = did(server)
    server.manifest("hello", "nope")
    server.manifest("Hello", "latest")
    server.blob("hello", Digest.of(b"nope"))
    server.ask("/v2/")
    server.ask(f"{PREFIX}/hello/tags/list")
    listed(server)
    assert did(server) == before


def test_groups_are_counted_apart(server: RunningServer, hello: Image) -> None:
    server.manifest("hello", "latest")
    assert usage(server, "other")["misses"] == 0
    assert usage(server)["misses"] == 1


def test_what_was_done_survives_a_purge_and_a_restart(
    server: RunningServer, hello: Image, start: Start
) -> None:
    since = usage(server)["since"]
    pull(server, "hello")
    pull(server, "hello")
    before = did(server)
    assert before["hits"] > 0
    assert before["bytes_saved"] == before["bytes_served"] - before["bytes_fetched"] > 0
    server.purge()
    assert did(server) == before
    server.stop()
    again = start()
    assert did(again) == before
    assert usage(again)["since"] == since
    again.manifest("hello", "latest")
    assert did(again)["misses"] == before["misses"] + 1


def test_unreadable_counters_begin_anew(server: RunningServer, hello: Image, start: Start) -> None:
    server.manifest("hello", "latest")
    server.stop()
    files = list((server.data / "groups" / "mygroup").glob("*.json"))
    assert len(files) == 1
    for content in (b"", b"{", b"[]", b'{"since": "x"}', b"\xff"):
        files[0].write_bytes(content)
        again = start()
        assert usage(again)["misses"] == 0
        again.stop()


# -- upstreams and policies ----------------------------------------------------------------------


def upstream(server: RunningServer) -> dict[str, Any]:
    [told] = usage(server)["upstreams"]
    assert told["name"] == "docker.io"
    found: dict[str, Any] = told
    return found


def test_an_upstream_is_reachable_failing_or_limited(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    def state() -> str:
        told = upstream(server)
        is_well = told["state"] == "reachable"
        assert (told["reason"] is None) == is_well
        assert (told["failing_for"] is None) == is_well
        return str(told["state"])

    assert state() == "reachable"
    registry.misbehave(behaviours.status(500))
    server.manifest("hello", "latest")
    assert state() == "failing"
    registry.misbehave(behaviours.status(429))
    server.manifest("hello", "latest")
    assert state() == "limited"
    registry.behave()
    server.manifest("hello", "latest")
    assert state() == "reachable"
    registry.go_down()
    server.manifest("hello", "latest")
    assert state() == "failing"


def test_a_404_of_an_upstream_is_no_failure(server: RunningServer, registry: FakeRegistry) -> None:
    assert server.manifest("nope", "latest").status == 404
    assert upstream(server)["state"] == "reachable"


def test_the_remaining_rate_limit_is_told(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    async def limiting(exchange: Exchange) -> None:
        found = exchange.registry.content(exchange.seen.path)
        headers = {
            "Content-Type": found.media_type,
            "Docker-Content-Digest": found.digest,
            "RateLimit-Limit": "100;w=21600",
            "RateLimit-Remaining": "76;w=21600",
        }
        await exchange.send(200, headers, found.body)

    assert upstream(server)["rate_limit"] is None
    registry.misbehave(limiting, ".*/manifests/.*")
    server.manifest("hello", "latest")
    assert upstream(server)["rate_limit"] == {"limit": 100, "remaining": 76, "window": 21600}


def test_a_groups_upstreams_are_told_in_its_order(start: Start, registry: FakeRegistry) -> None:
    more = f"  quay.io: {{url: {registry.url}}}\n"
    server = start(group="upstreams: [quay.io, docker.io]", more=more)
    assert [told["name"] for told in usage(server)["upstreams"]] == ["quay.io", "docker.io"]
    assert [told["name"] for told in usage(server, "other")["upstreams"]] == ["docker.io"]


def test_policies_are_told_and_names_and_passwords_are_not(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    users = tmp_path / "users"
    write_users(users, {"jane": "x"})
    server = start(
        group="expire_after: 90d\nmax_size: 50GiB\nrevalidate_after: 5m\nstale_for: 12h\n"
        "allow: [library/*]\nowners: [jane]\n"
        f"credentials: {{docker.io: {{username: robot, password_file: {secret}}}}}",
        more=f"auth: {{users_file: {users}}}\n",
    )
    policies = usage(server)["policies"]
    told = {
        "visibility": "public",
        "upstreams": ["docker.io"],
        "revalidate_after": 300,
        "stale_for": 43200,
        "refused_stale_for": 86400,
        "not_found_ttl": 10,
        "expire_after": 90 * 86400,
        "max_size": 50 * 2**30,
        "allow": ["library/*"],
        "deny": [],
    }
    assert policies == told
    body = server.ask(API).body
    for hidden in (b"hunter2", b"robot", b"jane", bytes(secret), bytes(users)):
        assert hidden not in body


# -- what is cached ------------------------------------------------------------------------------


def seconds(text: str) -> float:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    return datetime.fromisoformat(text).timestamp()


def test_a_cached_image_is_described(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    before = datetime.now(UTC).timestamp() - 1
    pull(server, "hello")
    amd64 = amd64_of(hello)
    arm64 = next(digest for digest in hello.manifests if digest not in (hello.index, amd64))
    files = held(server)
    [image] = listed(server)
    for name in ("cached", "last_pulled", "last_checked"):
        assert before <= seconds(image.pop(name)) <= datetime.now(UTC).timestamp()
    of_amd64 = sum(files.values()) - files[hello.index]
    assert image == {
        "image": "hello",
        "reference": "latest",
        "digest": hello.index,
        "media_type": OCI_INDEX,
        "platforms": ["linux/amd64"],
        "variants": [
            {"platform": "linux/amd64", "digest": amd64, "bytes": of_amd64, "cached": True},
            {"platform": "linux/arm64", "digest": arm64, "bytes": 0, "cached": False},
        ],
        "bytes": sum(files.values()),
        "gone": False,
    }


def test_a_second_platform_adds_what_it_needs(server: RunningServer, hello: Image) -> None:
    pull(server, "hello", variants=2)
    [image] = listed(server)
    assert image["platforms"] == ["linux/amd64", "linux/arm64"]
    assert image["bytes"] == sum(held(server).values())
    layers = sum(variant["bytes"] for variant in image["variants"])
    index = held(server)[hello.index]
    assert layers > image["bytes"] - index  # what both need counts for both


def test_a_manifest_of_one_platform_has_that_of_its_config(
    server: RunningServer, registry: FakeRegistry
) -> None:
    digest = add_manifest(registry, "library/app", layer(1), tag="v1")
    server.manifest("app", "v1")
    [image] = listed(server)
    assert (image["platforms"], image["media_type"]) == ([], OCI_MANIFEST)
    pull(server, "app", "v1")
    [image] = listed(server)
    assert (image["platforms"], image["variants"]) == (["linux/amd64"], [])
    assert image["digest"] == digest


def test_a_digest_that_was_pulled_alone_is_listed(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull(server, "hello", hello.index)
    [image] = listed(server)
    assert (image["reference"], image["digest"]) == (hello.index, hello.index)
    assert image["last_checked"] is None
    registry.tag("library/hello", "latest", hello.index)
    pull(server, "hello", "latest")
    assert [image["reference"] for image in listed(server)] == ["latest"]


def test_a_digest_that_a_tag_has_left_is_listed(
    server: RunningServer, registry: FakeRegistry
) -> None:
    old = add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    new = add_manifest(registry, "library/app", layer(2), tag="v1")
    pull(server, "app", "v1")
    assert {(image["reference"], image["digest"]) for image in listed(server)} == {
        ("v1", new),
        (old, old),
    }


def test_a_tag_that_is_gone_upstream_is_listed_as_such(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start
) -> None:
    pull(server, "hello")
    registry.untag("library/hello", "latest")
    server.manifest("hello", "latest")
    [image] = listed(server)
    assert (image["reference"], image["gone"]) == ("latest", True)
    server.stop()
    again = start()
    again.wait_for_counts()
    assert listed(again) == [image]


def test_what_is_only_announced_is_not_listed(server: RunningServer, hello: Image) -> None:
    server.manifest("hello", "latest", "HEAD")
    assert listed(server) == []


def test_the_list_is_the_same_after_a_restart(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start
) -> None:
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "hello")
    pull(server, "app", "v1")
    before = listed(server)
    assert len(before) == 2
    server.stop()
    again = start()
    again.wait_for_counts()
    assert listed(again) == before


def test_an_image_is_named_as_it_is_pulled(start: Start, registry: FakeRegistry) -> None:
    names = {"library/app": "app", "team/app": "team/app"}
    server = start(
        group="upstreams: [docker.io, quay.io]", more=f"  quay.io: {{url: {registry.url}}}\n"
    )
    for name in names:
        add_manifest(registry, name, layer(1), tag="v1")
        pull(server, name, "v1")
        pull(server, f"quay.io/{name}", "v1")
    found = [image["image"] for image in listed(server)]
    assert sorted(found) == ["app", "quay.io/library/app", "quay.io/team/app", "team/app"]
    for name in found:
        assert clear(server, name).status == 202
    assert listed(server) == []
    assert not held(server)


# -- pages, search, order ------------------------------------------------------------------------


@pytest.fixture
def shelf(server: RunningServer, registry: FakeRegistry) -> RunningServer:
    """Five images of different sizes, pulled in the order of their names."""
    for number, name in enumerate(("alpine", "busybox", "team/redis", "team/node", "caddy")):
        path = name if "/" in name else f"library/{name}"
        add_manifest(registry, path, layer(number, 1000 * (7 - number)), tag=f"v{number}")
        pull(server, name, f"v{number}")
    return server


NAMES = ["alpine", "busybox", "caddy", "team/node", "team/redis"]


def names(reply: Reply) -> list[str]:
    return [image["image"] for image in reply.json]


def test_a_list_is_sorted_by_image_and_reference(
    shelf: RunningServer, registry: FakeRegistry
) -> None:
    add_manifest(registry, "library/alpine", layer(9), tag="a-first")
    pull(shelf, "alpine", "a-first")
    assert [(image["image"], image["reference"]) for image in listed(shelf)][:3] == [
        ("alpine", "a-first"),
        ("alpine", "v0"),
        ("busybox", "v1"),
    ]


def stamp(server: RunningServer, start: Start) -> RunningServer:
    """Start again with times of its own for every image: they are on disk, in seconds."""
    server.stop()
    files = sorted((tree_of(server) / "manifests").rglob("tags/*.times"))
    assert len(files) == len(NAMES)
    for number, path in enumerate(files):
        times = [10**6 * (1 + number * step % 5) for step in (2, 3, 4)]
        pulled = json.loads(path.read_text())["pulled"] + times[1]
        path.write_text(json.dumps({"checked": times[0], "pulled": pulled}))
        os.utime(path.with_suffix(".json"), (times[2], times[2]))
    again = start()
    again.wait_for_counts()
    return again


@pytest.mark.parametrize(
    "key", ["image", "reference", "digest", "bytes", "cached", "last_pulled", "last_checked"]
)
def test_a_list_is_sorted_by_every_key_both_ways(
    shelf: RunningServer, start: Start, key: str
) -> None:
    server = stamp(shelf, start)
    up = listed(server, sort=key)
    values = [image[key] for image in up]
    assert values == sorted(values)
    assert len(set(values)) == len(NAMES)
    assert {image["image"] for image in up} == set(NAMES)
    assert listed(server, sort=f"-{key}") == up[::-1]


def test_pages_are_told_as_gitlab_does(shelf: RunningServer) -> None:
    told = [
        {
            "X-Total": "5",
            "X-Total-Pages": "3",
            "X-Per-Page": "2",
            "X-Page": str(number),
            "X-Next-Page": following,
            "X-Prev-Page": before,
        }
        for number, following, before in ((1, "2", ""), (2, "3", "1"), (3, "", "2"))
    ]
    for number, headers in enumerate(told, 1):
        reply = asked_list(shelf, page=number, per_page=2, sort="-image")
        assert names(reply) == NAMES[::-1][2 * number - 2 : 2 * number]
        assert {name: reply.headers[name] for name in headers} == headers


def test_links_lead_through_all_pages_of_the_same_question(shelf: RunningServer) -> None:
    path, found, pages = f"{API}/manifests?per_page=2&search=v&sort=-image", list[str](), 0
    while path:
        reply = shelf.ask(path)
        found += names(reply)
        links = re.findall(r'<([^>]*)>; rel="(\w+)"', reply.headers["Link"])
        path = next((link for link, rel in links if rel == "next"), "")
        pages += 1
    assert (found, pages) == (NAMES[::-1], 3)
    first = next(link for link, rel in links if rel == "first")
    assert names(shelf.ask(first)) == found[:2]


@pytest.mark.parametrize(
    ("per_page", "told"), [(None, 20), (1, 1), (5, 5), (100, 100), (101, 100), (99999, 100)]
)
def test_a_page_has_20_items_if_nothing_is_said_and_100_at_most(
    shelf: RunningServer, per_page: int | None, told: int
) -> None:
    reply = asked_list(shelf, **({"per_page": per_page} if per_page else {}))
    assert reply.headers["X-Per-Page"] == str(told)
    assert len(reply.json) == min(told, 5)


def test_a_page_behind_the_last_is_empty(shelf: RunningServer) -> None:
    reply = asked_list(shelf, page=3, per_page=4)
    assert (reply.status, reply.json) == (200, [])
    assert (reply.headers["X-Next-Page"], reply.headers["X-Total"]) == ("", "5")


def test_an_empty_group_has_an_empty_list(server: RunningServer) -> None:
    reply = asked_list(server)
    assert (reply.status, reply.json, reply.headers["X-Total"]) == (200, [], "0")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", NAMES),
        ("team/", ["team/node", "team/redis"]),
        ("BUSY", ["busybox"]),
        ("v4", ["caddy"]),
        ("caddy:v4", ["caddy"]),
        ("caddy:v1", []),
        ("nope", []),
        ("%", []),
        ("*", []),
    ],
)
def test_a_search_looks_at_names_and_references(
    shelf: RunningServer, search: str, found: list[str]
) -> None:
    reply = asked_list(shelf, search=search)
    assert (names(reply), reply.headers["X-Total"]) == (found, str(len(found)))


def test_a_search_finds_digests(shelf: RunningServer) -> None:
    digest = listed(shelf)[2]["digest"]
    for search in (digest, digest[:20], digest[7:30].upper()):
        assert names(asked_list(shelf, search=search)) == ["caddy"]


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=",
        "page=one",
        "page=1.5",
        "page=%D9%A1",
        f"page={'9' * 30}",
        "per_page=0",
        "per_page=-5",
        "per_page=",
        "per_page=many",
        "sort=",
        "sort=name",
        "sort=--image",
        "sort=-",
        "sort=IMAGE",
    ],
)
def test_bad_values_are_400(shelf: RunningServer, query: str) -> None:
    reply = shelf.ask(f"{API}/manifests?{query}")
    assert (reply.status, reply.json["message"]) == (400, "400 Bad Request")
    assert reply.json["error"]


def test_questions_are_no_pulls(shelf: RunningServer) -> None:
    before = listed(shelf)
    for path in (API, f"{API}/manifests"):
        head = shelf.ask(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == shelf.ask(path).headers["Content-Length"]
    assert listed(shelf) == before


# -- rights --------------------------------------------------------------------------------------

PATHS = ("", "/manifests")


@pytest.mark.parametrize("path", PATHS)
def test_a_private_group_tells_only_those_who_may_read(
    start: Start, hello: Image, tmp_path: Path, path: str
) -> None:
    users = tmp_path / "users"
    write_users(users, {"reader": "r", "stranger": "s"})
    group = "visibility: private\nreaders: [reader]"
    server = start(group=group, more=f"auth: {{users_file: {users}}}\n")
    admin = {"PRIVATE-TOKEN": (server.data / "admin_token").read_text().strip()}
    for name in ("mygroup", "nobody"):
        asked = f"/api/v4/groups/{name}/dependency_proxy{path}"
        for headers in ({}, basic("reader", "wrong"), {"PRIVATE-TOKEN": "wrong"}):
            reply = server.ask(asked, headers=headers)
            assert (reply.status, reply.json) == (401, {"message": "401 Unauthorized"})
            assert reply.headers["WWW-Authenticate"] == 'Basic realm="depproxy"'
        assert server.ask(asked, headers=basic("stranger", "s")).status == 404
        readable = 200 if name == "mygroup" else 404
        assert server.ask(asked, headers=basic("reader", "r")).status == readable
        assert server.ask(asked, headers=admin).status == readable
    assert server.ask(f"/api/v4/groups/other/dependency_proxy{path}").status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("group", ["nobody", "no%2Fbody", "NO", "%ff"])
def test_without_users_an_unknown_group_is_404(
    server: RunningServer, path: str, group: str
) -> None:
    reply = server.ask(f"/api/v4/groups/{group}/dependency_proxy{path}")
    assert (reply.status, reply.json["message"]) == (404, "404 Group Not Found")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_verbs_are_405(server: RunningServer, path: str, verb: str) -> None:
    reply = server.ask(f"{API}{path}", verb)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
