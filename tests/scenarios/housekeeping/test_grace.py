"""What was handed out a moment ago, or is read, is not taken away."""

from typing import Any

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, amd64_of, layer
from tests.on_disk import held, pointers
from tests.pulling import pull
from tests.running import PREFIX, RunningServer, Start
from tests.scenarios.housekeeping.ageing import (
    KINDLY,
    OFTEN,
    add_images,
    age,
    age_blob,
    images,
    let_a_pass_go_by,
)


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
