"""What nobody pulls, or is too much, goes by itself; what somebody needs stays."""

import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.group_api import usage
from tests.images import add_index, add_manifest, amd64_of, layer
from tests.on_disk import (
    check_counted,
    check_pointers,
    held,
    pointers,
    settle,
    tree_of,
    wait_until_removed,
)
from tests.pulling import pull
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.test_loans import StartGroups, blob, start_groups
from tests.waiting import wait_for

__all__ = ["start_groups"]

HOUR = 3600
OFTEN = "housekeeping: {interval: 20ms, grace: 0s}\n"
KINDLY = "housekeeping: {interval: 20ms, grace: 1h}\n"
NEVER = "housekeeping: {interval: 1h, grace: 0s}\n"


def age(server: RunningServer, hours: float, name: str = "", group: str = "mygroup") -> None:
    """Let it be so long ago that an image (or every one) was pulled. The server must not run."""
    seconds = hours * HOUR
    for path in (tree_of(server, group) / "manifests").rglob("*.*"):
        if f"/{name}/" not in str(path) and name:
            continue
        if path.suffix == ".times":
            times = json.loads(path.read_text())
            path.write_text(json.dumps({key: when - seconds for key, when in times.items()}))
        elif path.suffix == ".json":
            os.utime(path, (0, path.stat().st_mtime - seconds))


def age_blob(server: RunningServer, digest: Digest, hours: float, group: str = "mygroup") -> None:
    """As `age`, for a blob; its modification time belongs to its seal."""
    path = tree_of(server, group) / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns - int(hours * HOUR * 1e9), status.st_mtime_ns))


def let_a_pass_go_by(server: RunningServer, group: str = "mygroup") -> None:
    """Wait for a whole pass that began after now: one takes along what is of no use since 1970. The
    group needs an ``expire_after``."""
    data = os.urandom(100)
    digest = Digest.of(data)
    path = tree_of(server, group) / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
    path.parent.mkdir(parents=True, exist_ok=True)
    planted = path.with_name("planted")
    planted.write_bytes(data)
    os.utime(planted, (0, 0))
    planted.rename(path)
    wait_for(lambda: not path.exists())
    wait_until_removed(server, group)


def images(server: RunningServer) -> set[str]:
    """The names of all images that have a pointer."""
    return {path.partition("/-/")[0].rpartition("/")[2] for path in pointers(server)}


def size_of(server: RunningServer) -> int:
    return sum(held(server).values())


def add_images(
    server: RunningServer, registry: FakeRegistry, *names: str
) -> dict[str, set[Digest]]:
    """Images of one layer each, pulled."""
    found = {}
    for number, name in enumerate(names):
        add_manifest(registry, f"library/{name}", layer(number, 10_000), tag="v1")
        found[name] = pull(server, name, "v1")
    return found


# -- expire_after --------------------------------------------------------------------------------


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


# -- max_size ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fitting", range(5))
def test_least_recently_pulled_references_go_until_the_rest_fits(
    server: RunningServer, registry: FakeRegistry, start: Start, fitting: int
) -> None:
    got = add_images(server, registry, "d", "b", "c", "a")
    by_age = ["a", "b", "c", "d"]  # from the newest on
    kept = {digest for name in by_age[:fitting] for digest in got[name]}
    files = held(server)
    room = max(sum(files[digest] for digest in kept), max(files.values()))
    server.stop()
    for hours, name in enumerate(by_age, 1):
        age(server, hours, name)
    again = start(group=f"max_size: {room}B\nexpire_after: 90d", more=OFTEN)
    let_a_pass_go_by(again)
    assert set(held(again)) == kept
    assert images(again) == set(by_age[:fitting])
    assert size_of(again) <= room
    check_counted(again)


def test_a_layer_that_many_need_is_no_reason_to_take_more_than_has_to_go(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    got = {}
    for number, name in enumerate(("old", "middle", "new")):
        add_manifest(registry, f"library/{name}", layer(9, 50_000), layer(number), tag="v1")
        got[name] = pull(server, name, "v1")
    room = size_of(server) - 1
    server.stop()
    for hours, name in ((3, "old"), (2, "middle"), (1, "new")):
        age(server, hours, name)
    again = start(group=f"max_size: {room}B\nexpire_after: 90d", more=OFTEN)
    let_a_pass_go_by(again)
    assert images(again) == {"middle", "new"}
    assert set(held(again)) == got["middle"] | got["new"]


def test_a_blob_that_nothing_leads_to_goes_when_its_turn_comes(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    got = add_images(server, registry, "old", "new")
    lone = registry.add_blob("library/app", layer(9))
    server.blob("app", lone)
    files = held(server)
    server.stop()
    age(server, 3, "old")
    age_blob(server, lone, 2)
    age(server, 1, "new")
    room = sum(files.values()) - sum(files[digest] for digest in got["old"])
    again = start(group=f"max_size: {room}B\nexpire_after: 90d", more=OFTEN)
    let_a_pass_go_by(again)
    assert set(held(again)) == {lone, *got["new"]}
    again.stop()
    third = start(group=f"max_size: {room - 1}B\nexpire_after: 90d", more=OFTEN)
    let_a_pass_go_by(third)
    assert set(held(third)) == got["new"]


def test_what_was_handed_out_within_the_grace_stays_however_much_it_is(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    got = add_images(server, registry, "old", "new", "newer")
    room = max(held(server).values())
    server.stop()
    age(server, 2, "old")
    again = start(group=f"max_size: {room}B\nexpire_after: 90d", more=KINDLY)
    for _ in range(3):
        let_a_pass_go_by(again)
        assert set(held(again)) == got["new"] | got["newer"]
    assert images(again) == {"new", "newer"}


def test_the_grace_outlives_the_reference(
    server: RunningServer, hello: Image, start: Start
) -> None:
    """A client that was told what an image is made of finds it all, however many passes go by."""
    got = pull(server, "hello")
    server.stop()
    age(server, 2)
    for digest in got:
        age_blob(server, digest, 5)
    more = "housekeeping: {interval: 20ms, grace: 3h}\n"
    again = start(group="expire_after: 1h", more=more)
    for _ in range(3):
        let_a_pass_go_by(again)
    assert not pointers(again)
    assert set(held(again)) == got


def test_a_platform_that_was_handed_out_stays_when_its_image_goes_for_another_platforms_sake(
    server: RunningServer, hello: Image, start: Start, walk: Any
) -> None:
    """As above, under the usual settings: only one of the platforms is in demand."""
    walk.set()
    got = pull(server, "hello", variants=1)
    pull(server, "hello", variants=2)
    room = max(held(server).values())
    walk.clear()
    server.stop()
    age(server, 2)
    again = start(group=f"max_size: {room}B\nexpire_after: 90d", more=KINDLY)
    again.manifest("hello", "latest", "HEAD")
    again.manifest("hello", amd64_of(hello))
    walk.set()
    for _ in range(3):
        let_a_pass_go_by(again)
    assert set(held(again)) >= got


def test_a_manifest_that_was_handed_out_protects_what_it_names_before_that_is_pulled(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    """Layers come after their manifest, and must not go before the client has them all."""
    server = start(group="max_size: 20000B\nexpire_after: 90d", more=KINDLY)
    add_manifest(registry, "library/app", *(layer(n, 15_000) for n in range(4)), tag="v1")
    manifest = server.manifest("app", "v1").json
    for part in (manifest["config"], *manifest["layers"]):
        server.blob("app", part["digest"])
        let_a_pass_go_by(server)
    registry.requests.clear()
    pull(server, "app", "v1")
    assert not registry.asked("GET")


def test_a_blob_that_is_read_stays_until_that_is_over(
    server: RunningServer, registry: FakeRegistry, start: Start, walk: Any
) -> None:
    walk.set()
    data = layer(1, 32 * 2**20)
    add_manifest(registry, "library/app", data, tag="v1")
    pull(server, "app", "v1")
    walk.clear()
    server.stop()
    age(server, 25)
    again = start(group="expire_after: 24h", more=OFTEN)
    with again.open(f"{PREFIX}/app/blobs/{Digest.of(data)}") as response:
        assert response.read(1000) == data[:1000]
        walk.set()
        let_a_pass_go_by(again)
        assert not pointers(again)
        assert set(held(again)) == {Digest.of(data)}
        assert response.read() == data[1000:]
    again.stop()
    age_blob(again, Digest.of(data), 25)
    third = start(group="expire_after: 24h", more=OFTEN)
    let_a_pass_go_by(third)
    assert not held(third)


def test_pulls_and_passes_side_by_side_end_right(start: Start, registry: FakeRegistry) -> None:
    """A group that is far too small for what is pulled all the time."""
    for number in range(6):
        shared = layer(100 + number % 2, 30_000)
        add_manifest(registry, "library/app", shared, layer(number, 20_000), tag=f"v{number}")
    more = "housekeeping: {interval: 1ms, grace: 0s}\n"
    server = start(group="max_size: 80kB\nexpire_after: 90d", more=more)

    def pull_some(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(30):
            pull_once(server, f"v{dice.randrange(6)}")

    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(pull_some, seed) for seed in range(4)]:
            result.result()
    settle(server)
    let_a_pass_go_by(server)
    let_a_pass_go_by(server)
    assert size_of(server) <= 80_000
    check_counted(server)
    assert set(pointers(server).values()) <= set(held(server))


def pull_once(server: RunningServer, tag: str) -> None:
    """As `pull`, without waiting for anything."""
    manifest = server.manifest("app", tag)
    assert manifest.status == 200
    for part in (manifest.json["config"], *manifest.json["layers"]):
        assert Digest(part["digest"]).names(server.blob("app", part["digest"]).body)


# -- a blob that is larger than its group may be -------------------------------------------------

BIG = 8 * 2**20


def start_small(start: Start) -> RunningServer:
    return start(group="max_size: 1MiB", more=NEVER)


def test_a_blob_that_is_too_large_is_served_to_all_and_gone_afterwards(
    start: Start, registry: FakeRegistry
) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = Digest.of(data)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    server.manifest("app", "v1")
    known = pointers(server)
    path = f"{PREFIX}/app/blobs/{digest}"
    with server.open(path) as first, server.open(path) as second:
        assert first.read(1000) == second.read(1000) == data[:1000]
        gate.open()
        assert first.read() == data[1000:]
        assert second.read() == data[1000:]
    wait_for(lambda: usage(server)["blobs"] == 0)
    assert len(registry.asked("GET", f".*{digest}")) == 1
    assert pointers(server) == known
    assert set(held(server)) == {manifest}
    check_counted(server)
    assert server.blob("app", digest).body == data
    assert len(registry.asked("GET", f".*{digest}")) == 2


def test_a_blob_that_is_too_large_stays_for_its_last_reader(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    data = layer(1, 4 * BIG)
    digest = registry.add_blob("library/app", data)
    server.blob("app", digest)
    settle(server)
    server.stop()
    again = start_small(start)
    path = f"{PREFIX}/app/blobs/{digest}"
    with again.open(path) as slow:
        assert slow.read(1000) == data[:1000]
        fast = again.blob("app", digest)
        assert (fast.body, fast.cache) == (data, "hit")
        assert set(held(again)) == {digest}
        assert slow.read() == data[1000:]
    wait_for(lambda: not held(again))


def test_a_blob_that_is_too_large_goes_although_its_reader_left_before_the_end(
    start: Start, registry: FakeRegistry
) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = registry.add_blob("library/app", data)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*{digest}", times=1)
    response = server.open(f"{PREFIX}/app/blobs/{digest}")
    response.read(1000)
    response.close()
    wait_for(lambda: not server.running_requests)
    gate.open()
    wait_for(lambda: not held(server))
    assert server.blob("app", digest).body == data


def test_a_range_of_what_is_too_large_is_served(start: Start, registry: FakeRegistry) -> None:
    server = start_small(start)
    data = layer(1, BIG)
    digest = registry.add_blob("library/app", data)
    part = server.blob("app", digest, Range=f"bytes={BIG - 10}-")
    assert (part.status, part.body) == (206, data[-10:])
    wait_for(lambda: not held(server))


def test_what_is_too_large_and_was_there_before_the_limit_goes_by_the_next_pass(
    server: RunningServer, registry: FakeRegistry, start: Start
) -> None:
    data = layer(1, 2 * 2**20)
    manifest = add_manifest(registry, "library/app", data, tag="v1")
    got = pull(server, "app", "v1")
    server.stop()
    again = start(group="max_size: 1MiB\nexpire_after: 90d", more=KINDLY)
    let_a_pass_go_by(again)
    assert set(held(again)) == got - {Digest.of(data)}
    assert manifest in pointers(again).values()
    check_counted(again)


def test_a_blob_of_just_that_size_stays(start: Start, registry: FakeRegistry) -> None:
    server = start_small(start)
    digest = registry.add_blob("library/app", layer(1, 2**20))
    server.blob("app", digest)
    server.blob("app", digest)
    wait_for(lambda: not server.running_requests)
    assert set(held(server)) == {digest}


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
