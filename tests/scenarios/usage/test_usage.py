"""What a group holds and does: the numbers are those of the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.group_api import API, counts, listed, usage
from tests.images import add_manifest, layer
from tests.on_disk import held
from tests.pulling import pull
from tests.purging import clear
from tests.running import PREFIX, Reply, RunningServer, Start
from tests.signing_in import write_users


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
    assert upstream(server)["rate_limit"] is None
    registry.misbehave(behaviours.rate_limited(100, 76), ".*/manifests/.*")
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
