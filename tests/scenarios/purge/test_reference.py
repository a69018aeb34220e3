"""Clearing one tag or digest: it goes with what only it leads to; the rest stays."""

import pytest

from depproxy.demo.image import Image
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.images import add_index, add_manifest, amd64_of, layer
from tests.on_disk import (
    check_counted,
    check_pointers,
    fail_amid_a_removal,
    held,
    pointers,
    wait_until_removed,
)
from tests.pulling import is_asked_for, pull, pull_as_docker
from tests.purging import ZEROS, check_told, clear, purge
from tests.running import RunningServer, Start


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


def test_a_disk_that_fails_in_the_middle_leaves_nothing_behind(
    server: RunningServer, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone by then is gone, and what only it has needed follows without a restart."""
    add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    moved = fail_amid_a_removal(monkeypatch)
    assert purge(server, "app", "v1").status == 503
    assert next(moved) >= 2
    wait_until_removed(server)
    check_pointers(server)
    check_counted(server)
    assert clear(server, "app").status == 202
    assert not held(server)


@pytest.mark.parametrize("reference", ["latest", ""])
def test_what_was_missing_is_asked_for_anew(
    start: Start, registry: FakeRegistry, hello: Image, reference: str
) -> None:
    server = start(group="not_found_ttl: 1h")
    pull(server, "hello")
    registry.misbehave(behaviours.status(404), ".*/manifests/latest", times=1)
    for _ in range(2):
        assert server.manifest("hello", "latest").status == 404
    assert server.manifest("hello", "other").status == 404
    clear(server, "hello", reference)
    assert server.manifest("hello", "latest").status == 200
    asked = len(registry.asked("HEAD"))
    assert server.manifest("hello", "other").status == 404
    assert (len(registry.asked("HEAD")) > asked) == (not reference)
