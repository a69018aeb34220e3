"""What nobody has pulled for ``expire_after`` goes by itself; what somebody needs stays."""

from collections.abc import Callable
from typing import Any

import pytest

from depproxy.demo.image import Image
from tests.fakes.registry import FakeRegistry
from tests.images import add_index, add_manifest, amd64_of, layer
from tests.on_disk import check_counted, check_pointers, held, pointers
from tests.pulling import blob, pull
from tests.running import RunningServer, Start, StartGroups
from tests.scenarios.housekeeping.ageing import (
    OFTEN,
    add_images,
    age,
    age_blob,
    images,
    let_a_pass_go_by,
)


def test_what_nobody_has_pulled_for_so_long_goes_and_the_rest_stays(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    got = add_images(server, registry, "old", "new")
    server.stop()
    age(server, 25, "old")
    age(server, 23, "new")
    again = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(again)
    assert images(again) == {"new"}
    assert set(held(again)) == got["new"]
    check_counted(again)
    registry.requests.clear()
    pull(again, "new", "v1")
    assert not registry.asked("GET")
    assert pull(again, "old", "v1") == got["old"]


def test_what_others_need_stays_when_an_image_expires(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    for name in ("old", "new"):
        add_manifest(registry, f"library/{name}", layer(1), tag="v1")
        kept = pull(server, name, "v1")
    server.stop()
    age(server, 25, "old")
    again = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(again)
    assert set(held(again)) == kept
    check_pointers(again)
    check_counted(again)


def expired_but_for(
    server: RunningServer, start: Start, walk: Any, act: Callable[[RunningServer], object]
) -> RunningServer:
    """Everything was pulled too long ago, but for what happens before the first pass."""
    server.stop()
    age(server, 25)
    again = start(group="expire_after: 24h", more=OFTEN)
    act(again)
    walk.set()
    let_a_pass_go_by(again)
    return again


KEEPING: dict[str, Callable[[RunningServer, Image], object]] = {
    "HEAD of the tag": lambda server, image: server.manifest("hello", "latest", "HEAD"),
    "GET of the tag": lambda server, image: server.manifest("hello", "latest"),
    "its digest": lambda server, image: server.manifest("hello", image.index),
    "HEAD of its digest": lambda server, image: server.manifest("hello", image.index, "HEAD"),
    "a platform": lambda server, image: server.manifest("hello", amd64_of(image)),
    "as another image": lambda server, image: server.manifest("copy", amd64_of(image)),
}


@pytest.mark.parametrize("how", KEEPING)
def test_every_pull_of_what_a_tag_leads_to_keeps_the_tag(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    start: Start,
    walk: Any,
    how: str,
) -> None:
    walk.set()
    registry.add_image("library/copy", "latest", hello)
    got = pull(server, "hello")
    add_images(server, registry, "old")
    walk.clear()
    again = expired_but_for(server, start, walk, lambda server: KEEPING[how](server, hello))
    assert "docker.io/library/hello/-/tags/latest.json" in pointers(again)
    assert images(again) - {"copy"} == {"hello"}
    assert set(held(again)) == got


def test_without_a_pull_the_tag_goes(
    server: RunningServer, hello: Image, start: Start, walk: Any
) -> None:
    """So that what keeps it is known to."""
    walk.set()
    pull(server, "hello")
    walk.clear()
    again = expired_but_for(
        server, start, walk, lambda server: server.blob("hello", next(iter(hello.blobs)), "HEAD")
    )
    assert not pointers(again)
    assert not held(again)


def test_a_tag_of_a_stale_answer_is_pulled_too(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start, walk: Any
) -> None:
    walk.set()
    got = pull(server, "hello")
    walk.clear()
    registry.go_down()
    again = expired_but_for(server, start, walk, lambda server: server.manifest("hello", "latest"))
    assert set(held(again)) == got


def test_two_tags_of_one_image_expire_apart(
    server: RunningServer, registry: FakeRegistry, start: Start, walk: Any
) -> None:
    walk.set()
    for number, tag in enumerate(("v1", "v2")):
        add_manifest(registry, "library/app", layer(9), layer(number), tag=tag)
        pull(server, "app", tag)
    kept = pull(server, "app", "v2")
    walk.clear()
    again = expired_but_for(server, start, walk, lambda server: pull(server, "app", "v2"))
    assert "docker.io/library/app/-/tags/v1.json" not in pointers(again)
    assert set(held(again)) == kept
    check_pointers(again)


def test_an_indexs_platform_stays_where_another_tag_leads_to_it(
    server: RunningServer, registry: FakeRegistry, start: Start, walk: Any
) -> None:
    walk.set()
    parts = [add_manifest(registry, "library/app", layer(n), tag=f"part-{n}") for n in range(2)]
    add_index(registry, "library/app", *parts, tag="both")
    pull(server, "app", "both", variants=2)
    kept = pull(server, "app", "part-0")
    walk.clear()
    again = expired_but_for(
        server, start, walk, lambda server: server.manifest("app", "part-0", "HEAD")
    )
    # Both indexes lead to the platform that was pulled: that keeps them.
    assert set(held(again)) > kept
    assert {path.rpartition("/")[2] for path in pointers(again) if "/tags/" in path} == {
        "both.json",
        "part-0.json",
    }


def test_a_digest_that_its_tag_has_left_expires_alone(
    server: RunningServer, registry: FakeRegistry, start: Start, walk: Any
) -> None:
    walk.set()
    old = add_manifest(registry, "library/app", layer(1), tag="v1")
    pull(server, "app", "v1")
    add_manifest(registry, "library/app", layer(2), tag="v1")
    kept = pull(server, "app", "v1")
    walk.clear()
    again = expired_but_for(
        server, start, walk, lambda server: server.manifest("app", "v1", "HEAD")
    )
    assert set(held(again)) == kept
    assert old not in pointers(again).values()


def test_a_blob_that_nothing_leads_to_expires_by_its_own_last_pull(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    old, new = (registry.add_blob("library/app", layer(n)) for n in range(2))
    for digest in (old, new):
        server.blob("app", digest)
    server.stop()
    age_blob(server, old, 25)
    age_blob(server, new, 23)
    again = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(again)
    assert set(held(again)) == {new}
    check_counted(again)


def test_a_tag_that_is_gone_upstream_expires(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start
) -> None:
    pull(server, "hello")
    registry.untag("library/hello", "latest")
    server.manifest("hello", "latest")
    server.stop()
    age(server, 25)
    again = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(again)
    assert not pointers(again)
    assert not held(again)


def test_a_tag_that_was_only_asked_for_expires(
    server: RunningServer, hello: Image, start: Start
) -> None:
    server.manifest("hello", "latest", "HEAD")
    server.stop()
    age(server, 25)
    again = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(again)
    assert not pointers(again)


def test_while_a_pull_is_younger_than_that_nothing_goes(
    server: RunningServer, hello: Image, start: Start
) -> None:
    got = pull(server, "hello", variants=2)
    server.stop()
    age(server, 23)
    again = start(group="expire_after: 24h\nmax_size: 1GiB", more=OFTEN)
    before = pointers(again)
    let_a_pass_go_by(again)
    assert (set(held(again)), pointers(again)) == (got, before)


# -- groups --------------------------------------------------------------------------------------


def test_without_limits_nothing_ever_goes(
    start_groups: StartGroups, registry: FakeRegistry, hello: Image
) -> None:
    """The other group's limits show that passes go by, this one's turn included."""
    limits = "  mygroup:\n  other: {expire_after: 1h, max_size: 1MB}\n"
    server = start_groups(limits, "")
    got = pull(server, "hello")
    lone = registry.add_blob("library/app", layer(9, 2**20))
    blob(server, "mygroup", lone)
    blob(server, "other", registry.add_blob("library/app", layer(8)))
    server.stop()
    age(server, 24 * 365 * 20)
    age_blob(server, lone, 24 * 365 * 20)
    again = start_groups(limits, OFTEN)
    for _ in range(2):
        let_a_pass_go_by(again, "other")
    assert set(held(again)) == {lone, *got}


def test_a_group_keeps_the_file_that_it_shares_with_one_that_lets_it_go(
    start_groups: StartGroups, registry: FakeRegistry
) -> None:
    data = layer(1, 100_000)
    digest = registry.add_blob("library/app", data)
    limits = "  mygroup: {expire_after: 1h}\n  other: {expire_after: 90d}\n"
    server = start_groups(limits, "")
    for group in ("mygroup", "other"):
        assert blob(server, group, digest).body == data
    server.stop()
    age_blob(server, digest, 2)
    again = start_groups(limits, OFTEN)
    let_a_pass_go_by(again)
    assert not held(again)
    assert set(held(again, "other")) == {digest}
    registry.requests.clear()
    assert blob(again, "other", digest).body == data
    assert not registry.requests
