"""Clearing one image: it goes, and so does what only it needs; the rest stays."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from depproxy.cache.in_use import InUse
from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from depproxy.store.removal import Remover
from depproxy.store.tree import Tree
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import check_counted, check_pointers, held, pointers, wait_until_removed
from tests.pulling import is_asked_for, pull
from tests.purging import ZEROS, check_told, clear, purge
from tests.running import PREFIX, RunningServer, Start
from tests.signing_in import basic, write_users
from tests.waiting import CHANCE, PATIENCE

USAGE = "/api/v4/groups/mygroup/dependency_proxy"


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
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())
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


def test_what_is_about_to_go_is_no_longer_counted(
    server: RunningServer,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk follows, and who asks right after the answer need not wait for it."""
    add_manifest(registry, "library/one", layer(1), tag="latest")
    add_manifest(registry, "library/two", layer(1), layer(2), tag="latest")
    pull(server, "one")
    usage = server.ask(USAGE).json
    pull(server, "two")
    finish, may_finish = Remover.finish, threading.Event()

    def late_finish(self: Remover, *arguments: Any) -> int:
        may_finish.wait(PATIENCE)
        return finish(self, *arguments)

    monkeypatch.setattr(Remover, "finish", late_finish)
    assert purge(server, "two").status == 202
    assert len(held(server)) > usage["manifests"] + usage["blobs"]
    left = server.ask(USAGE).json
    names = ("manifests", "blobs", "bytes", "exact")
    assert [left.get(name) for name in names] == [usage.get(name) for name in names]
    may_finish.set()
    wait_until_removed(server)
    check_counted(server)


def test_what_has_just_come_goes_too(
    server: RunningServer, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob has its name for a moment before its fill has ended."""
    end = InUse.end_write

    def end_late(self: InUse, tree: Tree, digest: Digest) -> None:
        asyncio.get_running_loop().call_later(CHANCE, end, self, tree, digest)

    monkeypatch.setattr(InUse, "end_write", end_late)
    pull(server, "hello")
    assert clear(server, "hello").json["blobs"] == 3
    assert not held(server)
