"""What is cached in a group, and how the list of it is paged, searched and sorted."""

import json
import os
import re
from datetime import UTC, datetime

import pytest

from depproxy.demo.image import Image
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.fakes.registry import FakeRegistry
from tests.group_api import API, asked_list, listed
from tests.images import add_manifest, amd64_of, layer
from tests.on_disk import held, tree_of
from tests.pulling import pull
from tests.purging import clear
from tests.running import Reply, RunningServer, Start


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
