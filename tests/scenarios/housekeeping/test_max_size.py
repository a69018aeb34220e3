"""What is more than ``max_size`` goes by itself, the least recently pulled first."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import check_counted, held, pointers, settle
from tests.pulling import pull
from tests.running import RunningServer, Start
from tests.scenarios.housekeeping.ageing import (
    OFTEN,
    add_images,
    age,
    age_blob,
    images,
    let_a_pass_go_by,
    size_of,
)


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
    told, files = server.ask("/api/v4/groups/mygroup/dependency_proxy").json, held(server)
    # A manifest that was read while its reference went may have stayed without one.
    assert told["manifests"] + told["blobs"] == len(files)
    assert told["bytes"] == sum(files.values())
    assert set(pointers(server).values()) <= set(held(server))


def pull_once(server: RunningServer, tag: str) -> None:
    """As `pull`, without waiting for anything."""
    manifest = server.manifest("app", tag)
    assert manifest.status == 200
    for part in (manifest.json["config"], *manifest.json["layers"]):
        assert Digest(part["digest"]).names(server.blob("app", part["digest"]).body)
