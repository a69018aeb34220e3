"""Clearing one image or one reference: it goes, and so does what only it needs; the rest stays."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from depproxy.store.files import Directory
from depproxy.store.inventory import Reference
from depproxy.store.partial import Partial
from depproxy.store.pointers import Pointers
from depproxy.store.removal import Removal, Remover
from depproxy.store.survey import walk_references
from depproxy.store.tree import Tree
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, Reply, RunningServer, Start
from tests.scenarios.test_pull import amd64_of, pull_as_docker
from tests.signing_in import basic, write_users

PATIENCE = 10.0
"""Seconds after which what has not happened never will."""

CHANCE = 0.5
"""Seconds that others get in the middle of something; it is right that they wait longer for it."""

ZEROS = {"message": "202 Accepted", "manifests": 0, "blobs": 0, "bytes": 0}


# -- what is on disk, and what leads to it -------------------------------------------------------


def tree_of(server: RunningServer, group: str = "mygroup") -> Path:
    return server.data / "groups" / group / "-"


def settle(server: RunningServer) -> None:
    """Wait until nothing in any group is about to get its name."""
    wait_for(lambda: not any(server.data.glob("groups/*/-/partial/*")))


def held(server: RunningServer, group: str = "mygroup") -> dict[Digest, int]:
    """Every blob on disk, and its bytes."""
    settle(server)
    return {
        Digest(f"{path.parent.parent.name}:{path.name}"): path.stat().st_size
        for path in (tree_of(server, group) / "blobs").glob("*/*/*")
    }


def pointers(server: RunningServer, group: str = "mygroup") -> dict[str, Digest | None]:
    """Every reference on disk, by its path, and the manifest that it means."""
    top = tree_of(server, group) / "manifests"
    return {
        str(path.relative_to(top)): Digest(document["digest"]) if document["digest"] else None
        for path in [*top.rglob("tags/*.json"), *top.rglob("digests/*/*.json")]
        for document in [json.loads(path.read_bytes())]
    }


def reach(server: RunningServer, digests: Iterable[Digest | None]) -> set[Digest]:
    """What manifests lead to, by the bodies on disk, and is there."""
    there, found, ways = held(server), set[Digest](), [digest for digest in digests if digest]
    while ways:
        digest = ways.pop()
        if digest in there and digest not in found:
            found.add(digest)
            path = tree_of(server) / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
            ways += contents_of(path.read_bytes()).digests
    return found


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def wait_until_removed(server: RunningServer, group: str = "mygroup") -> None:
    """The disk follows a purge in the background: wait until it has."""
    wait_for(lambda: not any((tree_of(server, group) / "removed").glob("*")))


def check_pointers(server: RunningServer) -> None:
    """No pointer is left without its manifest, and no blob without a pointer that leads to it."""
    meant = pointers(server).values()
    assert set(meant) <= set(held(server))
    assert reach(server, meant) == set(held(server))


def clear(server: RunningServer, image: str, reference: str = "") -> Reply:
    """Purge, and let the disk follow."""
    reply = purge(server, image, reference)
    wait_until_removed(server)
    return reply


def purge(server: RunningServer, image: str, reference: str = "") -> Reply:
    named = {"image": image, "reference": reference}
    return server.purge(query=f"?{urlencode({name: to for name, to in named.items() if to})}")


def check_told(
    server: RunningServer, reply: Reply, before: dict[Digest, int], manifests: Collection[Digest]
) -> set[Digest]:
    """The answer counts just what has gone from disk, and that is returned."""
    gone = set(before) - set(held(server))
    assert (reply.status, reply.json) == (
        202,
        {
            "message": "202 Accepted",
            "manifests": len(gone & set(manifests)),
            "blobs": len(gone - set(manifests)),
            "bytes": sum(before[digest] for digest in gone),
        },
    )
    return gone


# -- what is pulled ------------------------------------------------------------------------------


def pull(
    server: RunningServer, name: str, reference: str = "latest", variants: int = 1
) -> set[Digest]:
    """What a client asks for, and so many variants of an index; returns all that it got."""
    head = server.manifest(name, reference, "HEAD")
    assert head.status == 200, (name, reference, head.status)
    digest = Digest(head.headers["Docker-Content-Digest"])
    found, ways = {digest}, [digest]
    while ways:
        body = server.manifest(name, ways.pop())
        assert body.status == 200
        contents = contents_of(body.body)
        ways += [variant.digest for variant in contents.variants[:variants]]
        found.update(ways)
        for part in contents.parts:
            blob = server.blob(name, part.digest)
            assert part.digest.names(blob.body), (blob.status, part.digest)
            found.add(part.digest)
    server.settle()
    return found


def add_manifest(
    registry: FakeRegistry,
    name: str,
    *layers: bytes,
    tag: str = "",
    algorithm: str = "sha256",
) -> Digest:
    """An image for one platform, of a config of its own and these layers."""
    config = json.dumps({"os": "linux", "architecture": "amd64", "of": name, "tag": tag}).encode()
    for data in (config, *layers):
        registry.add_blob(name, data)
    described = [{"digest": Digest.of(data), "size": len(data)} for data in (config, *layers)]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    body = json.dumps({**document, "config": described[0], "layers": described[1:]}).encode()
    digest = Digest.of(body, algorithm)
    return registry.add_manifest(name, body, OCI_MANIFEST, tag=tag, digest=digest)


def add_index(registry: FakeRegistry, name: str, *manifests: Digest, tag: str = "") -> Digest:
    """An index of manifests that the registry has."""
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(registry.content(f"/manifests/{digest}").body),
            "platform": {"os": "linux", "architecture": "amd64", "variant": f"v{number}"},
        }
        for number, digest in enumerate(manifests)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "for": tag}
    return registry.add_manifest(name, json.dumps(document).encode(), OCI_INDEX, tag=tag)


def layer(number: int, size: int = 3000) -> bytes:
    return random.Random(number).randbytes(size)


def is_asked_for(registry: FakeRegistry, digests: Collection[Digest]) -> set[Digest]:
    """Those of these that the registry was asked for by GET."""
    return {Digest(seen.path.rpartition("/")[2]) for seen in registry.asked("GET")} & set(digests)


# -- an image ------------------------------------------------------------------------------------


def test_an_image_goes_with_all_that_only_it_needs(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello", variants=2)
    before = held(server)
    assert set(before) == got
    gone = check_told(server, clear(server, "hello"), before, hello.manifests)
    assert gone == got
    assert not pointers(server)


def test_what_another_image_needs_stays_and_is_not_counted(
    server: RunningServer, registry: FakeRegistry
) -> None:
    manifests = {
        add_manifest(registry, "library/one", layer(1), layer(2), tag="latest"),
        add_manifest(registry, "library/two", layer(2), layer(3), tag="latest"),
    }
    one, two = pull(server, "one"), pull(server, "two")
    before = held(server)
    assert check_told(server, clear(server, "one"), before, manifests) == one - two
    registry.requests.clear()
    assert pull(server, "two") == two
    assert not registry.asked("GET")
    assert one & two == {Digest.of(layer(2))}


def test_an_images_other_images_of_a_longer_name_stay(
    server: RunningServer, registry: FakeRegistry
) -> None:
    for number, name in enumerate(("team/app", "team/app/tool", "team/app2", "team")):
        add_manifest(registry, name, layer(number), tag="latest")
        if name != "team":
            pull(server, name)
    before = {path for path in pointers(server) if not path.startswith("docker.io/team/app/-/")}
    assert len(before) == 4
    assert clear(server, "team/app").json["manifests"] == 1
    assert set(pointers(server)) == before
    check_pointers(server)


def test_the_same_manifest_of_two_images_goes_with_the_second(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.add_image("library/copy", "latest", hello)
    got = pull(server, "hello") | pull(server, "copy")
    before = held(server)
    assert clear(server, "hello").json == ZEROS
    assert held(server) == before
    registry.requests.clear()
    assert server.manifest("copy", hello.index).cache == "hit"
    assert not registry.requests
    assert check_told(server, clear(server, "copy"), before, hello.manifests) == got


@pytest.mark.parametrize(
    "name",
    [
        "hello",
        "library/hello",
        "docker.io/hello",
        "docker.io/library/hello",
        "index.docker.io/hello",
    ],
)
def test_every_spelling_of_an_image_clears_it(
    server: RunningServer, hello: Image, name: str
) -> None:
    pull(server, "hello")
    assert clear(server, name).json["manifests"] == 2
    assert not held(server)


def test_an_image_that_is_pulled_again_is_fetched_anew(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello")
    clear(server, "hello")
    registry.requests.clear()
    assert pull(server, "hello") == got
    assert len(registry.asked("GET")) == len(got)
    assert is_asked_for(registry, got) == got
    check_pointers(server)


def test_a_cleared_image_is_not_served_while_the_upstream_is_down(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depproxy.cache.fill.PAUSES", ())
    path = f"{PREFIX}/hello/tags/list"
    pull(server, "hello")
    assert server.ask(path).status == 200
    clear(server, "hello")
    registry.go_down()
    assert server.manifest("hello", "latest").status == 502
    assert server.manifest("hello", hello.index).status == 502
    assert server.ask(path).status == 502
    assert server.blob("hello", next(iter(hello.blobs))).status == 502


def test_a_cleared_image_stays_so_after_a_restart(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start
) -> None:
    add_manifest(registry, "library/two", layer(2), tag="latest")
    two = pull(server, "two")
    pull(server, "hello")
    clear(server, "hello")
    server.stop()
    again = start()
    again.wait_for_counts()
    assert set(held(again)) == two
    assert clear(again, "hello").json == ZEROS


def test_a_purge_that_the_server_had_no_time_for_is_finished_by_the_next(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_manifest(registry, "library/two", layer(2), tag="latest")
    two = pull(server, "two")
    pull(server, "hello")
    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", lambda *_: 0)
        assert purge(server, "hello").json["manifests"] == 2
        server.stop()
    assert set(held(server)) > two
    again = start()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == two


# -- a reference ---------------------------------------------------------------------------------


def test_a_tag_takes_along_the_digests_that_it_leads_to(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello", variants=2)
    before = held(server)
    assert len(pointers(server)) == 4
    gone = check_told(server, clear(server, "hello", "latest"), before, hello.manifests)
    assert gone == got
    assert not pointers(server)


def test_a_tag_leaves_other_tags_and_what_they_lead_to(
    server: RunningServer, registry: FakeRegistry
) -> None:
    manifests = {
        add_manifest(registry, "library/app", layer(1), layer(2), tag="v1"),
        add_manifest(registry, "library/app", layer(2), layer(3), tag="v2"),
    }
    v1, v2 = pull(server, "app", "v1"), pull(server, "app", "v2")
    before = held(server)
    gone = check_told(server, clear(server, "app", "v1"), before, manifests)
    assert gone == v1 - v2
    assert set(held(server)) == v2
    check_pointers(server)


def test_two_tags_of_one_digest_go_one_by_one(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.tag("library/hello", "v2", hello.index)
    got = pull(server, "hello") | pull(server, "hello", "v2")
    before, known = held(server), pointers(server)
    assert clear(server, "hello", "latest").json == ZEROS
    assert held(server) == before
    assert set(known) - set(pointers(server)) == {"docker.io/library/hello/-/tags/latest.json"}
    registry.requests.clear()
    assert pull(server, "hello", "v2") == got
    assert not registry.asked("GET")
    gone = check_told(server, clear(server, "hello", "v2"), before, hello.manifests)
    assert gone == got
    assert not pointers(server)


def test_an_indexs_manifest_stays_where_another_tag_leads_to_it(
    server: RunningServer, registry: FakeRegistry
) -> None:
    parts = [add_manifest(registry, "library/app", layer(n), tag=f"part-{n}") for n in range(3)]
    first = add_index(registry, "library/app", *parts[:2], tag="first")
    second = add_index(registry, "library/app", *parts[1:], tag="second")
    pull(server, "app", "first", variants=2)
    kept = pull(server, "app", "second", variants=2)
    before = held(server)
    gone = check_told(server, clear(server, "app", "first"), before, {*parts, first, second})
    assert gone & {*parts, first, second} == {first, parts[0]}
    assert set(held(server)) == kept
    check_pointers(server)


def test_a_manifest_stays_where_a_digest_that_was_pulled_alone_leads_to_it(
    server: RunningServer, registry: FakeRegistry
) -> None:
    part = add_manifest(registry, "library/app", layer(1))
    first = add_index(registry, "library/app", part, tag="first")
    second = add_index(registry, "library/app", part)
    pull(server, "app", "first")
    kept = pull(server, "app", second)
    before = held(server)
    gone = check_told(server, clear(server, "app", "first"), before, {part, first, second})
    assert gone == {first}
    assert set(held(server)) == kept
    clear(server, "app", second)
    assert not held(server)


def test_a_digest_that_was_pulled_alone_goes_with_what_it_leads_to(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello", hello.index)
    before = held(server)
    gone = check_told(server, clear(server, "hello", hello.index), before, hello.manifests)
    assert gone == got
    assert not pointers(server)


def test_a_digest_that_a_tag_leads_to_stays_on_disk(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello")
    for digest in (hello.index, amd64_of(hello)):
        assert clear(server, "hello", digest).json == ZEROS
    assert set(held(server)) == got
    registry.go_down()
    pull_as_docker(server, hello)


def test_a_digest_by_sha512_goes_like_any_other(
    server: RunningServer, registry: FakeRegistry
) -> None:
    digest = add_manifest(registry, "library/app", layer(1), algorithm="sha512", tag="v1")
    for reference in ("v1", digest):
        got = pull(server, "app", reference)
        before = held(server)
        assert digest in got
        gone = check_told(server, clear(server, "app", reference), before, {digest})
        assert gone == got == set(before)
        assert not pointers(server)


def test_a_tag_that_has_moved_takes_its_newest_manifest_only(
    server: RunningServer, registry: FakeRegistry
) -> None:
    old = add_manifest(registry, "library/app", layer(1), tag="v1")
    before_move = pull(server, "app", "v1")
    new = add_manifest(registry, "library/app", layer(1), layer(2), tag="v1")
    pull(server, "app", "v1")
    before = held(server)
    gone = check_told(server, clear(server, "app", "v1"), before, {old, new})
    assert gone == set(before) - before_move
    assert set(held(server)) == before_move  # the old digest can still be pulled
    assert clear(server, "app", old).json["manifests"] == 1
    assert not held(server)


def test_a_tag_that_is_only_announced_is_forgotten(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    server.manifest("hello", "latest", "HEAD")
    assert list(pointers(server).values()) == [None]
    assert clear(server, "hello", "latest").json == ZEROS
    assert not pointers(server)


def test_a_tag_that_is_gone_upstream_can_be_cleared(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    got = pull(server, "hello")
    registry.untag("library/hello", "latest")
    assert server.manifest("hello", "latest").status == 404
    before = held(server)
    gone = check_told(server, clear(server, "hello", "latest"), before, hello.manifests)
    assert gone == got


def test_a_reference_is_fetched_anew_after_it_was_cleared(
    server: RunningServer, registry: FakeRegistry
) -> None:
    add_manifest(registry, "library/app", layer(1), layer(2), tag="v1")
    add_manifest(registry, "library/app", layer(2), layer(3), tag="v2")
    v1, v2 = pull(server, "app", "v1"), pull(server, "app", "v2")
    clear(server, "app", "v1")
    registry.requests.clear()
    pull(server, "app", "v1")
    assert is_asked_for(registry, v1 | v2) == v1 - v2
    check_pointers(server)


# -- nothing, and nonsense -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("nope", ""),
        ("hello/nope", ""),
        ("quay.io/hello", ""),
        ("quay.io/library/hello", "latest"),
        ("hello", "nope"),
        ("hello", str(Digest.of(b"nope"))),
        ("hello", str(Digest.of(b"nope", "sha512"))),
    ],
)
def test_what_is_not_cached_is_zeros_and_clears_nothing(
    server: RunningServer, hello: Image, name: str, reference: str
) -> None:
    pull(server, "hello")
    before, known = held(server), pointers(server)
    reply = clear(server, name, reference)
    assert (reply.status, reply.json) == (202, ZEROS)
    assert (held(server), pointers(server)) == (before, known)


def test_an_image_of_a_group_that_never_had_one_is_zeros(server: RunningServer) -> None:
    assert clear(server, "hello").json == ZEROS
    server.purge()
    assert clear(server, "hello", "latest").json == ZEROS


@pytest.mark.parametrize(
    "query",
    [
        "image=",
        "image",
        "image=hello&reference=",
        "image=hello&image=hello",
        "image=hello&image=other",
        "image=hello&reference=latest&reference=latest",
        "reference=latest",
        "image=&reference=latest",
        "images=hello",
        "image=hello&tag=latest",
        "image=hello&reference=latest&force=1",
        "image=Hello",
        "image=hello:latest",
        "image=hello@sha256:00",
        "image=hello/",
        "image=/hello",
        "image=hello//more",
        "image=../hello",
        "image=docker.io/../hello",
        "image=docker.io",
        "image=docker.io/",
        "image=hello%00",
        "image=%20hello",
        "image=hello&reference=latest%0A",
        "image=%ff",
        "image=-",
        "image=*",
        f"image={'a' * 201}",
        f"image={'a/' * 150}a",
        "image=hello&reference=.latest",
        "image=hello&reference=la%20test",
        "image=hello&reference=a/b",
        f"image=hello&reference={'t' * 129}",
        "image=hello&reference=sha256:abc",
        f"image=hello&reference=sha256:{'A' * 64}",
        f"image=hello&reference=md5:{'a' * 32}",
        "image=hello&reference=*",
    ],
)
def test_bad_parameters_are_400_and_nothing_goes(
    server: RunningServer, hello: Image, query: str
) -> None:
    server.manifest("hello", "latest")
    before, known = held(server), pointers(server)
    reply = server.purge(query=f"?{query}")
    assert reply.status == 400
    assert reply.json["message"] == "400 Bad Request"
    assert reply.json["error"]
    assert (held(server), pointers(server)) == (before, known)


def test_an_error_repeats_what_was_sent_letter_by_letter(server: RunningServer) -> None:
    reply = server.purge(query="?image=hello&reference=100%25")
    assert "'100%'" in reply.json["error"]


# -- upstreams -----------------------------------------------------------------------------------


@pytest.fixture
def quay(hello: Image) -> Iterator[FakeRegistry]:
    """A second registry, with the very same image."""
    with FakeRegistry() as fake:
        fake.add_image("library/hello", "latest", hello)
        fake.add_image("prometheus/node-exporter", "latest", make_image("An exporter."))
        yield fake


def start_with_quay(start: Start, quay: FakeRegistry) -> RunningServer:
    group = "upstreams: [docker.io, quay.io]"
    return start(group=group, more=f"  quay.io: {{url: {quay.url}, aliases: [quay.example]}}\n")


def test_the_same_name_of_two_upstreams_are_two_images(
    start: Start, quay: FakeRegistry, hello: Image
) -> None:
    server = start_with_quay(start, quay)
    got = pull(server, "hello")
    pull(server, "quay.io/library/hello")
    assert clear(server, "quay.io/hello").json == ZEROS  # `library/` is Docker Hub's only
    assert len(pointers(server)) == 6
    assert clear(server, "quay.io/library/hello").json == ZEROS  # docker.io's needs everything
    assert {path.partition("/")[0] for path in pointers(server)} == {"docker.io"}
    before = held(server)
    assert check_told(server, clear(server, "hello"), before, hello.manifests) == got


@pytest.mark.parametrize("host", ["quay.io", "quay.example"])
def test_an_upstream_is_named_by_its_key_or_an_alias(
    start: Start, quay: FakeRegistry, host: str
) -> None:
    server = start_with_quay(start, quay)
    pull(server, "quay.io/prometheus/node-exporter")
    assert clear(server, f"{host}/prometheus/node-exporter").json["manifests"] == 2
    assert not held(server)


@pytest.mark.parametrize("is_configured", [True, False])
@pytest.mark.parametrize("reference", ["", "latest"])
def test_what_came_from_an_upstream_that_the_group_no_longer_has_can_be_cleared(
    start: Start, quay: FakeRegistry, hello: Image, is_configured: bool, reference: str
) -> None:
    first = start_with_quay(start, quay)
    kept = pull(first, "hello")
    pull(first, "quay.io/prometheus/node-exporter")
    first.stop()
    more = f"  quay.io: {{url: {quay.url}}}\n" if is_configured else ""
    server = start(more=more)
    server.wait_for_counts()
    assert server.manifest("quay.io/prometheus/node-exporter", "latest").status == 404
    reply = clear(server, "quay.io/prometheus/node-exporter", reference)
    assert reply.json["manifests"] == 2
    assert set(held(server)) == kept


# -- while others pull ---------------------------------------------------------------------------


def test_who_reads_a_blob_reads_it_to_its_end(
    server: RunningServer, registry: FakeRegistry
) -> None:
    data = layer(1, 32 * 2**20)
    add_manifest(registry, "library/app", data, tag="v1")
    pull(server, "app", "v1")
    with server.open(f"{PREFIX}/app/blobs/{Digest.of(data)}") as response:
        assert response.read(1000) == data[:1000]
        assert clear(server, "app").json["blobs"] == 2
        assert not held(server)
        assert response.read() == data[1000:]


def test_a_purge_in_the_middle_of_a_pull_harms_nobody(
    server: RunningServer, registry: FakeRegistry
) -> None:
    data = layer(1, 4 * 2**20)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    digest = Digest.of(data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    server.manifest("app", "v1")
    with server.open(f"{PREFIX}/app/blobs/{digest}") as response:
        assert response.read(1000) == data[:1000]
        reply = purge(server, "app")
        assert (reply.json["manifests"], reply.json["blobs"]) == (1, 0)
        gate.open()
        assert response.read() == data[1000:]
    wait_until_removed(server)
    assert manifest in pull(server, "app", "v1")
    assert len(registry.asked("GET", f".*{digest}")) == 1  # one blob costs one download
    clear(server, "app")
    assert not held(server)


def test_pulls_and_purges_side_by_side_end_right(
    server: RunningServer, registry: FakeRegistry
) -> None:
    for number in range(3):
        shared = layer(number % 2, 200_000)
        add_manifest(registry, "library/app", shared, layer(10 + number), tag=f"v{number}")
    add_manifest(registry, "library/two", layer(0, 200_000), layer(5), tag="latest")
    two = pull(server, "two")
    done = threading.Event()

    def pull_until_done(number: int) -> int:
        count = 0
        while not done.is_set():
            pull(server, "app", f"v{number}")
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        pulls = [pool.submit(pull_until_done, number) for number in range(3)]
        try:
            for number in range(60):
                reference = ("", "v0", "v1", "v2")[number % 4]
                assert purge(server, "app", reference).status == 202
        finally:
            done.set()
        assert all(result.result() for result in pulls)
    wait_until_removed(server)
    for number in range(3):
        pull(server, "app", f"v{number}")
    check_counted(server)
    clear(server, "app")
    assert set(held(server)) >= two
    registry.requests.clear()
    pull(server, "two")
    assert not registry.asked("GET")


def check_counted(server: RunningServer) -> None:
    """What is told of a group is what is on disk."""
    told = server.ask("/api/v4/groups/mygroup/dependency_proxy").json
    files = held(server)
    documents = {digest for digest in pointers(server).values() if digest in files}
    assert (told["manifests"], told["blobs"], told["bytes"]) == (
        len(documents),
        len(files) - len(documents),
        sum(files.values()),
    )


@pytest.mark.parametrize("reference", ["", "latest"])
def test_a_pull_that_comes_while_pointers_are_taken_away_is_kept_and_counted(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
) -> None:
    """The disk is synced between a pointer's removal and the rest, which takes a while."""
    got = pull(server, "hello")
    move = Remover._move_pointers
    with ThreadPoolExecutor(1) as pool:
        pulls: list[Future[set[Digest]]] = []

        def slow_move(self: Remover, *arguments: Any, **more: Any) -> Any:
            moved = move(self, *arguments, **more)
            if not pulls:
                pulls.append(pool.submit(pull, server, "hello"))
                wait(pulls, timeout=CHANCE)
            return moved

        monkeypatch.setattr(Remover, "_move_pointers", slow_move)
        clear(server, "hello", reference)
        assert pulls[0].result() == got
    assert pull(server, "hello") == got
    check_counted(server)
    check_pointers(server)
    before = held(server)
    assert check_told(server, clear(server, "hello"), before, hello.manifests) == got


def test_a_pull_whose_manifest_is_just_being_taken_leaves_no_pointer_without_one(
    server: RunningServer, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body was found on disk, and goes before the pointer to it is written."""
    got = pull(server, "hello")
    about_to_point, taken = threading.Event(), threading.Event()
    finish, write = Remover.finish, Pointers.write_digest

    def late_finish(self: Remover, *arguments: Any) -> int:
        about_to_point.wait(PATIENCE)
        freed = finish(self, *arguments)
        taken.set()
        return freed

    def late_write(self: Pointers, *arguments: Any) -> None:
        about_to_point.set()
        taken.wait(PATIENCE)
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", late_finish)
        patch.setattr(Pointers, "write_digest", late_write)
        purge(server, "hello")
        reply = server.manifest("hello", "latest")
        assert (reply.status, reply.body) == (200, hello.manifests[hello.index][1])
    wait_until_removed(server)
    check_pointers(server)
    assert pull(server, "hello") == got
    check_pointers(server)
    check_counted(server)


def test_a_blob_that_comes_back_while_an_old_purge_is_looking_for_it_is_counted(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two purges had it on their lists: the first has deleted it, a pull brings it again, and the
    second finds nothing just before it gets its name."""
    digest = Digest.of(layer(1))
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    may_finish, finished, verified = (threading.Event() for _ in range(3))
    finish, publish = Remover.finish, Partial.publish
    slow_ones = iter([may_finish])

    def late_finish(self: Remover, *arguments: Any) -> int:
        waits = next(slow_ones, None)
        if waits:
            waits.wait(PATIENCE)
        freed = finish(self, *arguments)
        if waits:
            finished.set()
        return freed

    def late_publish(self: Partial) -> None:
        verified.set()
        finished.wait(PATIENCE)
        publish(self)

    monkeypatch.setattr(Remover, "finish", late_finish)
    purge(server, "app")
    pull(server, "app", "v1")
    purge(server, "app")
    wait_for(lambda: not held(server))
    monkeypatch.setattr(Partial, "publish", late_publish)
    assert server.blob("app", digest).body == layer(1)
    assert verified.wait(PATIENCE)
    may_finish.set()
    assert set(held(server)) == {digest}
    check_counted(server)


# -- before the first count is complete ----------------------------------------------------------


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, no count begins."""
    go_on = threading.Event()
    survey = Tree.survey

    def held_back(tree: Tree, stop: threading.Event) -> None:
        while not go_on.wait(0.001) and not stop.is_set():
            pass
        survey(tree, stop)

    monkeypatch.setattr("depproxy.store.tree.Tree.survey", held_back)
    yield go_on
    go_on.set()


@pytest.fixture
def two_images(registry: FakeRegistry) -> set[Digest]:
    """Images `one` and `two` that share a layer; returns their manifests."""
    return {
        add_manifest(registry, "library/one", layer(1), layer(2), tag="latest"),
        add_manifest(registry, "library/two", layer(2), layer(3), tag="latest"),
    }


@pytest.mark.parametrize("reference", ["", "latest"])
def test_before_the_count_is_complete_an_image_goes_at_once_and_its_blobs_after_it(
    server: RunningServer,
    registry: FakeRegistry,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
    reference: str,
) -> None:
    one, two = pull(server, "one"), pull(server, "two")
    server.stop()
    again = start()
    reply = purge(again, "one", reference)
    assert (reply.status, reply.json["exact"]) == (202, False)
    assert reply.json["manifests"] <= 1
    assert {path.split("/")[2] for path in pointers(again)} == {"two"}
    assert set(held(again)) == one | two
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == two
    check_counted(again)
    registry.requests.clear()
    pull(again, "two")
    assert not registry.asked("GET")
    assert "exact" not in clear(again, "two").json


def test_before_the_count_is_complete_what_another_tag_leads_to_stays(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start, walk: threading.Event
) -> None:
    registry.tag("library/hello", "v2", hello.index)
    got = pull(server, "hello") | pull(server, "hello", "v2")
    server.stop()
    again = start()
    reply = purge(again, "hello", "latest")
    assert reply.json == {**ZEROS, "exact": False}
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == got
    assert len(pointers(again)) == 3


def test_what_is_pulled_again_before_the_count_is_complete_stays(
    server: RunningServer,
    registry: FakeRegistry,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
) -> None:
    one, two = pull(server, "one"), pull(server, "two")
    server.stop()
    again = start()
    purge(again, "one")
    assert pull(again, "one") == one
    walk.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == one | two
    check_counted(again)
    check_pointers(again)


def test_a_count_that_ends_just_then_loses_no_blob_out_of_sight(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    walk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The purge has begun by what little was known, and ends when everything is."""
    pull(server, "one")
    two = pull(server, "two")
    server.stop()
    again = start()
    begin = Remover.begin

    def slow_begin(self: Remover, *arguments: Any, **more: Any) -> Removal:
        removal = begin(self, *arguments, **more)
        walk.set()
        again.wait_for_counts()
        return removal

    monkeypatch.setattr(Remover, "begin", slow_begin)
    clear(again, "one")
    assert set(held(again)) == two


def test_a_pointer_that_the_count_was_just_reading_does_not_come_back(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pull(server, "one")
    two = pull(server, "two")
    server.stop()
    reached, go_on = threading.Event(), threading.Event()
    load = "depproxy.store.times.Times.load"

    def slow_load(_: object, repository: object, reference: object) -> None:
        is_counting = threading.current_thread().name.startswith("chores")
        if is_counting and (str(repository), reference) == ("docker.io/library/one", "latest"):
            reached.set()
            go_on.wait(PATIENCE)

    monkeypatch.setattr(load, slow_load)
    again = start()
    assert reached.wait(PATIENCE)
    purge(again, "one")
    go_on.set()
    again.wait_for_counts()
    wait_until_removed(again)
    assert set(held(again)) == two
    check_counted(again)


def test_two_counts_at_once_take_nothing_that_others_need(
    server: RunningServer,
    two_images: set[Digest],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one after a start, and the housekeeper's or the one that seeks room: the first to end has
    been overtaken, and knows of nothing."""
    pull(server, "one")
    two = pull(server, "two")
    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", lambda *_: 0)
        purge(server, "one")
        server.stop()
    survey, references = Tree.survey, "depproxy.store.survey.walk_references"
    counting = threading.local()
    overtaken, first_has_ended = threading.Event(), threading.Event()
    numbers = itertools.count(1)

    def numbered_survey(tree: Tree, stop: threading.Event) -> None:
        counting.number = next(numbers) if tree.group == "mygroup" else 0
        survey(tree, stop)
        if counting.number == 1:
            first_has_ended.set()

    def slow_walk(tree: Directory, top: str = "manifests") -> Iterator[Reference]:
        if counting.number == 1:
            overtaken.wait(CHANCE)
        if counting.number == 2:
            overtaken.set()
            first_has_ended.wait(CHANCE)
        return walk_references(tree, top)

    monkeypatch.setattr(Tree, "survey", numbered_survey)
    monkeypatch.setattr(references, slow_walk)
    again = start(group="max_size: 1GiB", more="housekeeping: {interval: 50ms}\n")
    again.wait_for_counts()
    assert set(held(again)) >= two
    wait_until_removed(again)
    assert set(held(again)) == two


# -- rights --------------------------------------------------------------------------------------


def test_owners_may_and_readers_may_not(
    start: Start, registry: FakeRegistry, hello: Image, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    write_users(users, {"reader": "r", "owner": "o", "stranger": "s"})
    group = "visibility: private\nreaders: [reader]\nowners: [owner]"
    server = start(group=group, more=f"auth: {{users_file: {users}}}\n")
    path = "/api/v4/groups/mygroup/dependency_proxy/cache?image=hello&reference=latest"
    name = f"{PREFIX}/hello/manifests/latest"
    assert server.ask(name, headers=basic("reader", "r")).status == 200
    before = held(server)
    for headers, status in (
        ({}, 401),
        (basic("owner", "r"), 401),
        (basic("stranger", "s"), 404),
        (basic("reader", "r"), 403),
    ):
        assert server.ask(path, "DELETE", headers).status == status
        assert held(server) == before
    reply = server.ask(path, "DELETE", basic("owner", "o"))
    assert (reply.status, reply.json["manifests"]) == (202, 1)
