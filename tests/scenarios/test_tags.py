"""A tag: what the upstream says now, or said last."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import wait_for

TAG = r"/v2/library/hello/manifests/latest"
MANIFESTS = r"/v2/library/hello/manifests/.*"


@pytest.fixture
def newer(registry: FakeRegistry, hello: Image) -> Image:
    """Another image, known to the registry, that the tag does not name yet."""
    image = make_image("A newer test speaks.")
    registry.add_image("library/hello", "newer", image)
    return image


def pointer(server: RunningServer, tag: str = "latest") -> Any:
    folder = server.tree / "manifests/docker.io/library/hello/-/tags"
    return json.loads((folder / f"{tag}.json").read_text())


def test_every_request_of_a_tag_asks_the_upstream_by_head(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    for _ in range(3):
        server.manifest("hello", "latest")
    assert len(registry.asked("HEAD", TAG)) == 3
    assert len(registry.asked("GET", MANIFESTS)) == 1


def test_many_who_ask_for_a_tag_at_once_ask_the_upstream_once(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), TAG)
    with ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(server.manifest, "hello", "latest") for _ in range(20)]
        gate.reached.wait()
        while server.running_requests < 20:
            pass
        gate.open()
        replies = [future.result() for future in asked]
    assert {reply.body for reply in replies} == {hello.manifests[hello.index][1]}
    assert len(registry.asked("HEAD", TAG)) == 1
    assert len(registry.asked("GET", MANIFESTS)) == 1
    assert sorted(r.cache for r in replies)[-1] == "fwd=miss; stored"


def test_within_revalidate_after_the_upstream_is_spared(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start(group="revalidate_after: 1h")
    for _ in range(3):
        assert server.manifest("hello", "latest").body == hello.manifests[hello.index][1]
    assert len(registry.asked("HEAD", TAG)) == 1


def test_revalidate_after_spares_no_question_while_the_newest_body_is_missing(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start(group="revalidate_after: 1h")
    for _ in range(2):
        assert server.manifest("hello", "latest", "HEAD").cache == "fwd=miss"
    assert len(registry.asked("HEAD", TAG)) == 2


def test_revalidate_after_spares_no_question_while_only_an_older_body_is_on_disk(
    start: Start, registry: FakeRegistry, hello: Image, newer: Image
) -> None:
    server = start()
    server.manifest("hello", "latest")
    registry.tag("library/hello", "latest", newer.index)
    server.manifest("hello", "latest", "HEAD")
    server.stop()
    server = start(group="revalidate_after: 1h")
    assert server.manifest("hello", "latest").body == newer.manifests[newer.index][1]


def test_the_upstream_is_always_asked_with_the_same_accept(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    server.manifest("hello", "latest", Accept="text/html")
    server.manifest("hello", "latest")
    accepted = {seen.headers["accept"] for seen in registry.requests}
    assert len(accepted) == 1
    assert "oci.image.index" in accepted.pop()
    assert {seen.headers["accept-encoding"] for seen in registry.requests} == {"identity"}


def test_a_new_digest_is_announced_and_current_once_its_body_is_on_disk(
    server: RunningServer, registry: FakeRegistry, hello: Image, newer: Image
) -> None:
    server.manifest("hello", "latest")
    registry.tag("library/hello", "latest", newer.index)
    head = server.manifest("hello", "latest", "HEAD")
    assert head.headers["Docker-Content-Digest"] == newer.index
    assert (pointer(server)["digest"], pointer(server)["announced"]) == (hello.index, newer.index)
    server.manifest("hello", newer.index)
    assert (pointer(server)["digest"], pointer(server)["announced"]) == (newer.index, None)
    registry.go_down()
    assert server.manifest("hello", "latest").body == newer.manifests[newer.index][1]


def test_a_body_that_another_image_brought_makes_an_announced_tag_current(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    registry.add_image("library/twin", "latest", hello)
    server.manifest("hello", "latest", "HEAD")
    server.manifest("twin", "latest")
    registry.go_down()
    assert server.manifest("hello", "latest").body == hello.manifests[hello.index][1]
    assert pointer(server)["announced"] is None


def test_while_the_announced_body_is_missing_the_old_one_is_served_when_the_upstream_fails(
    server: RunningServer, registry: FakeRegistry, hello: Image, newer: Image
) -> None:
    server.manifest("hello", "latest")
    registry.tag("library/hello", "latest", newer.index)
    server.manifest("hello", "latest", "HEAD")
    registry.go_down()
    for method in ("HEAD", "GET"):
        reply = server.manifest("hello", "latest", method)
        assert reply.headers["Docker-Content-Digest"] == hello.index
        assert "Warning" in reply.headers


def test_a_tag_that_was_only_announced_fails_with_the_upstream(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    server.manifest("hello", "latest", "HEAD")
    registry.go_down()
    assert server.manifest("hello", "latest", "HEAD").status == 502


@pytest.mark.parametrize(
    "behaviour",
    [
        behaviours.status(500),
        behaviours.status(503),
        behaviours.status(429, {"Retry-After": "1"}),
        behaviours.status(401),
        behaviours.status(403),
        behaviours.reset(),
        behaviours.hang(),
        behaviours.status(200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
    ],
    ids=["500", "503", "429", "401", "403", "reset", "hang", "portal"],
)
def test_a_cached_tag_is_served_and_marked_when_the_upstream_fails(
    start: Start, registry: FakeRegistry, hello: Image, behaviour: behaviours.Behaviour
) -> None:
    server = start(extra="revalidate_timeout: 300ms\nstall_timeout: 1s")
    server.manifest("hello", "latest")
    registry.misbehave(behaviour)
    for method in ("HEAD", "GET"):
        reply = server.manifest("hello", "latest", method)
        assert (reply.status, reply.cache) == (200, "hit")
        assert reply.headers["Warning"].startswith('299 - "')
    registry.behave()
    while "Warning" in server.manifest("hello", "latest").headers:
        pass  # the question that hangs is still under way, and there is only one at once


def test_stale_for_ends_what_is_served_stale(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start(group="stale_for: 0s")
    server.manifest("hello", "latest")
    registry.go_down()
    assert server.manifest("hello", "latest").status == 502
    assert server.manifest("hello", hello.index).status == 200


@pytest.mark.parametrize(("limit", "status"), [("0s", 404), ("24h", 200)])
def test_refused_stale_for_ends_what_is_served_after_a_refusal_and_not_after_a_failure(
    start: Start, registry: FakeRegistry, hello: Image, limit: str, status: int
) -> None:
    server = start(group=f"refused_stale_for: {limit}")
    server.manifest("hello", "latest")
    registry.misbehave(behaviours.status(401), ".*/manifests/latest", times=2)
    assert server.manifest("hello", "latest").status == status
    registry.go_down()
    assert server.manifest("hello", "latest").status == 200


def test_a_slow_answer_counts_although_nobody_waits_for_it(
    start: Start, registry: FakeRegistry, hello: Image, newer: Image
) -> None:
    server = start(extra="revalidate_timeout: 100ms")
    server.manifest("hello", "latest")
    registry.tag("library/hello", "latest", newer.index)
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), TAG, times=1)
    assert server.manifest("hello", "latest").headers["Docker-Content-Digest"] == hello.index
    gate.open()
    wait_for(lambda: pointer(server)["announced"] is not None)
    assert pointer(server)["announced"] == newer.index


def test_a_200_counts_more_than_a_404_that_came_while_it_was_under_way(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest_gone, tag_there = Gate(), Gate()
    gone = behaviours.hold(digest_gone, 404)
    registry.misbehave(gone, f".*/{hello.index}", method="GET", times=1)
    registry.misbehave(behaviours.status(404), TAG, method="GET", times=1)
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.manifest, "hello", "latest")
        digest_gone.reached.wait()
        registry.misbehave(behaviours.hold(tag_there), TAG, method="HEAD", times=1)
        second = clients.submit(server.manifest, "hello", "latest", "HEAD")
        tag_there.reached.wait()
        digest_gone.open()
        assert first.result().status == 404
        tag_there.open()
        assert second.result().status == 200
    assert server.manifest("hello", "latest").body == hello.manifests[hello.index][1]


def test_404_marks_a_tag_gone_on_disk_and_only_200_revives_it(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start(group="not_found_ttl: 0s")
    server.manifest("hello", "latest")
    registry.untag("library/hello", "latest")
    gone = server.manifest("hello", "latest")
    assert (gone.status, gone.error) == (404, "MANIFEST_UNKNOWN")
    assert pointer(server)["gone"] is True
    registry.go_down()
    assert server.manifest("hello", "latest").status == 502
    assert server.manifest("hello", hello.index).status == 200
    server.stop()
    again = start(group="not_found_ttl: 0s")
    assert again.manifest("hello", "latest").status == 502
    registry.come_back()
    registry.tag("library/hello", "latest", hello.index)
    assert again.manifest("hello", "latest").status == 200
    assert pointer(again)["gone"] is False


def test_404_is_remembered_for_not_found_ttl(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start(group="not_found_ttl: 1h")
    for _ in range(3):
        assert server.manifest("hello", "nope").status == 404
        assert server.manifest("hello", Digest.of(b"nope")).status == 404
    assert len(registry.requests) == 2
    server.purge()
    server.manifest("hello", "nope")
    assert len(registry.requests) == 3


@pytest.mark.parametrize("code", [401, 403, 405, 501])
def test_where_head_is_refused_the_tag_is_asked_by_get(
    server: RunningServer, registry: FakeRegistry, hello: Image, code: int
) -> None:
    registry.misbehave(behaviours.status(code), MANIFESTS, method="HEAD")
    assert server.manifest("hello", "latest", "HEAD").status == 200
    reply = server.manifest("hello", "latest")
    assert reply.body == hello.manifests[hello.index][1]
    assert pointer(server)["digest"] == hello.index


def test_where_head_tells_no_digest_the_tag_is_asked_by_get(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    media_type, body = hello.manifests[hello.index]
    registry.misbehave(behaviours.status(200, {"Content-Type": media_type}, body), TAG)
    assert server.manifest("hello", "latest").headers["Docker-Content-Digest"] == hello.index


def test_an_announced_digest_that_is_404_makes_the_tag_be_asked_once_more(
    server: RunningServer, registry: FakeRegistry, hello: Image, newer: Image
) -> None:
    registry.misbehave(
        behaviours.status(404), f"/v2/library/hello/manifests/{hello.index}", times=1
    )
    reply = server.manifest("hello", "latest")
    assert (reply.status, reply.body) == (200, hello.manifests[hello.index][1])
    assert pointer(server)["gone"] is False


def test_a_digest_is_never_asked_for_twice_though_the_tag_has_gone(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    server.manifest("hello", "latest")
    registry.untag("library/hello", "latest")
    server.manifest("hello", "latest")
    registry.requests.clear()
    assert server.manifest("hello", hello.index).cache == "hit"
    assert server.manifest("hello", hello.index, "HEAD").cache == "hit"
    assert not registry.requests


def test_a_pull_that_asks_with_a_query_is_the_same(server: RunningServer, hello: Image) -> None:
    path = f"{PREFIX}/hello/manifests/latest?ns=registry-1.docker.io"
    assert server.ask(path).headers["OCI-Namespace"] == "docker.io"


def test_a_digest_that_was_missing_is_asked_for_again_once_the_tag_names_it(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    """Pushed a moment after somebody looked: the next pull must not meet the old 404."""
    server = start(group="not_found_ttl: 1h")
    late = make_image("Pushed late.")
    assert server.manifest("hello", late.index).status == 404
    registry.add_image("library/hello", "latest", late)
    assert server.manifest("hello", "latest", "HEAD").status == 200
    assert server.manifest("hello", late.index).status == 200


def test_a_document_is_fetched_once_where_head_is_refused(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), MANIFESTS, method="GET")
    registry.misbehave(behaviours.status(405), MANIFESTS, method="HEAD")
    with ThreadPoolExecutor(12) as clients:
        asked = [
            clients.submit(server.manifest, "hello", hello.index, method)
            for method in ("GET", "HEAD") * 6
        ]
        gate.reached.wait()
        wait_for(lambda: server.running_requests >= 12)
        gate.open()
        replies = [future.result() for future in asked]
    assert {reply.status for reply in replies} == {200}
    assert [reply.cache for reply in replies].count("fwd=miss; stored") == 1
    assert len(registry.asked("GET")) == 1


def test_a_request_that_waits_at_a_shutdown_is_told_so(
    start: Start, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(shutdown="300ms")
    registry.misbehave(behaviours.hang())
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(server.manifest, "hello", "latest")
        wait_for(lambda: registry.requests)
        server.stop()
        reply = asked.result()
    assert (reply.status, reply.error) == (503, "UNAVAILABLE")
    assert "shutting down" in reply.message


def test_nothing_that_an_upstream_says_breaks_the_warning(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    """It is a quoted string in a header: RFC 7234, 5.5."""
    server.manifest("hello", "latest")
    realm = r"http://one\"two\\three.test/"
    registry.misbehave(behaviours.status(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}))
    reply = server.manifest("hello", "latest")
    assert "one'two/three.test" in reply.headers["Warning"]
    assert re.fullmatch(r'299 - "[^"\\]*"', reply.headers["Warning"])
