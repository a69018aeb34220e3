"""A blob that another group has already: one file for both, if the upstream says yes to both."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.store.tree import Tree
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.group_api import usage
from tests.images import add_manifest, layer
from tests.on_disk import file_of, held
from tests.pulling import blob
from tests.running import Reply, RunningServer, Start, StartGroups
from tests.waiting import PATIENCE, wait_for

SIZE = 300_000
BLOBS = ".*/blobs/.*"


def is_one_file(server: RunningServer, digest: Digest) -> bool:
    return file_of(server, "mygroup", digest).samefile(file_of(server, "other", digest))


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the upstream refuses is told at once."""
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", ())


@pytest.fixture
def data() -> bytes:
    return layer(1, SIZE)


@pytest.fixture
def digest(registry: FakeRegistry, data: bytes) -> Digest:
    return registry.add_blob("library/app", data)


def test_a_blob_of_another_group_becomes_its_own_after_one_head(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    registry.requests.clear()
    reply = blob(server, "other", digest)
    assert (reply.status, reply.body, reply.cache) == (200, data, "hit")
    assert [seen.method for seen in registry.requests] == ["HEAD"]
    assert is_one_file(server, digest)
    registry.requests.clear()
    assert blob(server, "other", digest).cache == "hit"
    assert not registry.requests


def test_a_loan_counts_as_nothing_fetched(
    server: RunningServer, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    blob(server, "other", digest)
    told = usage(server, "other")
    assert (told["bytes_fetched"], told["bytes_served"], told["hits"]) == (0, SIZE, 1)


def test_another_image_of_the_same_upstream_may_borrow(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    registry.add_blob("library/copy", data)
    blob(server, "mygroup", digest)
    assert blob(server, "other", digest, "copy").body == data
    assert is_one_file(server, digest)
    assert [seen.path for seen in registry.asked("HEAD")] == [f"/v2/library/copy/blobs/{digest}"]


def test_a_range_of_a_borrowed_blob_is_a_hit(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    path = f"/v2/other/dependency_proxy/containers/app/blobs/{digest}"
    reply = server.ask(path, headers={"Range": "bytes=100-199"})
    assert (reply.status, reply.body, reply.cache) == (206, data[100:200], "hit")
    assert not registry.asked("GET", BLOBS)[1:]


def test_50_clients_at_once_cost_one_head(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    registry.requests.clear()
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), BLOBS, "HEAD")
    with ThreadPoolExecutor(50) as pool:
        replies = [pool.submit(blob, server, "other", digest) for _ in range(50)]
        assert gate.reached.wait(PATIENCE)
        wait_for(lambda: server.running_requests == 50)
        gate.open()
        assert all(reply.result().body == data for reply in replies)
    assert [seen.method for seen in registry.requests] == ["HEAD"]
    assert is_one_file(server, digest)


# -- who may not borrow --------------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
def test_what_the_upstream_does_not_say_yes_to_is_not_borrowed(
    server: RunningServer, registry: FakeRegistry, digest: Digest, code: int
) -> None:
    blob(server, "mygroup", digest)
    registry.misbehave(behaviours.status(code), BLOBS)
    reply = blob(server, "other", digest)
    assert reply.status == {401: 404, 403: 404, 404: 404, 429: 429}.get(code, 502)
    assert not held(server, "other")


@pytest.mark.parametrize("code", [401, 403, 404, 405, 429, 500])
def test_a_head_that_fails_costs_a_loan_and_no_pull(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes, code: int
) -> None:
    blob(server, "mygroup", digest)
    registry.misbehave(behaviours.status(code), BLOBS, "HEAD")
    registry.requests.clear()
    reply = blob(server, "other", digest)
    assert (reply.status, reply.body) == (200, data)
    assert registry.asked("GET", BLOBS)


def test_another_length_is_not_borrowed(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    for length in (SIZE - 1, SIZE + 1, 0):
        wrong = behaviours.status(200, {"Content-Length": str(length)})
        registry.misbehave(wrong, BLOBS, "HEAD")
        reply = blob(server, "other", digest)
        assert (reply.body, reply.cache) == (data, "fwd=miss; stored")
        assert not is_one_file(server, digest)
        server.purge(group="other")


def test_an_unknown_length_is_not_borrowed(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    registry.misbehave(behaviours.chunked(data), BLOBS, "HEAD")
    assert blob(server, "other", digest).body == data
    assert not is_one_file(server, digest)


def test_a_loan_that_is_refused_late_costs_no_second_download(
    start: Start, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    """Another image of the group has brought the blob meanwhile."""
    server = start(extra="revalidate_timeout: 60s")
    registry.add_blob("library/copy", data)
    blob(server, "mygroup", digest)
    registry.requests.clear()
    gate = Gate()
    registry.misbehave(behaviours.status(500), ".*/app/blobs/.*", "HEAD")
    registry.misbehave(behaviours.hold(gate, 500), ".*/copy/blobs/.*", "HEAD")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(blob, server, "other", digest, "copy")
        assert gate.reached.wait(PATIENCE)
        assert blob(server, "other", digest).body == data
        wait_for(lambda: file_of(server, "other", digest).exists())
        gate.open()
        assert late.result().body == data
    assert len(registry.asked("GET")) == 1


def test_while_the_upstream_is_down_nothing_is_borrowed(
    server: RunningServer, registry: FakeRegistry, digest: Digest
) -> None:
    blob(server, "mygroup", digest)
    registry.go_down()
    assert blob(server, "other", digest).status == 502
    assert not held(server, "other")


def test_an_upstream_that_does_not_answer_the_head_delays_and_does_no_harm(
    start: Start, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    server = start(extra="revalidate_timeout: 100ms\nconnect_timeout: 1s")
    blob(server, "mygroup", digest)
    registry.misbehave(behaviours.hang(), BLOBS, "HEAD")
    reply = blob(server, "other", digest)
    assert (reply.body, reply.cache) == (data, "fwd=miss; stored")
    assert not is_one_file(server, digest)


def test_a_blob_of_another_image_that_this_one_does_not_have_is_not_borrowed(
    server: RunningServer, registry: FakeRegistry, digest: Digest
) -> None:
    """What is in a group's cache is no right to it."""
    blob(server, "mygroup", digest)
    add_manifest(registry, "library/two", layer(2), tag="latest")
    reply = blob(server, "other", digest, "two")
    assert (reply.status, reply.error) == (404, "BLOB_UNKNOWN")
    assert not held(server, "other")


def test_within_a_group_nothing_is_asked(
    server: RunningServer, registry: FakeRegistry, digest: Digest
) -> None:
    blob(server, "mygroup", digest)
    blob(server, "mygroup", digest)
    assert not registry.asked("HEAD")


def test_a_first_pull_asks_for_no_loan(
    server: RunningServer, registry: FakeRegistry, digest: Digest
) -> None:
    blob(server, "mygroup", digest)
    assert [seen.method for seen in registry.requests] == ["GET"]


def test_another_upstream_is_no_lender(
    start_groups: StartGroups, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    with FakeRegistry() as quay:
        quay.add_blob("library/app", data)
        server = start_groups(
            "  mygroup: {upstreams: [docker.io]}\n  other: {upstreams: [quay.io]}\n",
            f"  quay.io: {{url: {quay.url}}}\n",
        )
        blob(server, "mygroup", digest)
        reply = blob(server, "other", digest, "library/app")
        assert (reply.body, reply.cache) == (data, "fwd=miss; stored")
        assert [seen.method for seen in quay.requests] == ["GET"]
        assert not is_one_file(server, digest)


def test_each_group_asks_with_its_own_credentials(
    start_groups: StartGroups, registry: FakeRegistry, digest: Digest, tmp_path: Path
) -> None:
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(name)
    registry.basic = "robot:right"
    server = start_groups(
        "".join(
            f"  {group}: {{credentials: {{docker.io: {{username: robot,"
            f" password_file: {tmp_path / password}}}}}}}\n"
            for group, password in (("mygroup", "right"), ("other", "wrong"), ("third", "right"))
        ),
        "",
    )
    assert blob(server, "mygroup", digest).status == 200
    refused = blob(server, "other", digest)
    assert (refused.status, refused.error) == (403, "DENIED")
    assert not held(server, "other")
    assert blob(server, "third", digest).cache == "hit"
    assert file_of(server, "third", digest).samefile(file_of(server, "mygroup", digest))


def test_a_group_without_credentials_borrows_nothing_from_one_that_has_some(
    start_groups: StartGroups, registry: FakeRegistry, digest: Digest, tmp_path: Path
) -> None:
    (tmp_path / "right").write_text("right")
    registry.needs_token = True
    registry.token_basic = "robot:right"
    credentials = f"{{docker.io: {{username: robot, password_file: {tmp_path / 'right'}}}}}"
    server = start_groups(f"  mygroup: {{credentials: {credentials}}}\n  other:\n", "")
    assert blob(server, "mygroup", digest).status == 200
    assert blob(server, "other", digest).status == 404
    assert not held(server, "other")


# -- what one file is worth ----------------------------------------------------------------------


def share(server: RunningServer, digest: Digest) -> None:
    for group in ("mygroup", "other"):
        assert blob(server, group, digest).status == 200
    assert is_one_file(server, digest)


@pytest.mark.parametrize(("first", "second"), [("mygroup", "other"), ("other", "mygroup")])
def test_bytes_count_only_where_the_last_link_goes(
    server: RunningServer, digest: Digest, data: bytes, first: str, second: str
) -> None:
    share(server, digest)
    for group in (first, second):
        told = usage(server, group)
        assert (told["blobs"], told["bytes"]) == (1, 0)
    reply = server.purge(group=first)
    assert (reply.json["blobs"], reply.json["bytes"]) == (1, 0)
    assert usage(server, second)["bytes"] == SIZE
    assert blob(server, second, digest).body == data
    reply = server.purge(group=second)
    assert (reply.json["blobs"], reply.json["bytes"]) == (1, SIZE)


def test_a_borrower_may_lend_when_the_first_group_was_cleared(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    share(server, digest)
    server.purge()
    registry.requests.clear()
    assert blob(server, "mygroup", digest).cache == "hit"
    assert [seen.method for seen in registry.requests] == ["HEAD"]
    assert is_one_file(server, digest)
    assert usage(server)["bytes"] == 0


def image_of(server: RunningServer, group: str) -> Reply:
    path = f"/v2/{group}/dependency_proxy/containers/app/manifests/v1"
    return server.ask(path)


def test_clearing_an_image_of_one_group_leaves_the_others_file(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    add_manifest(registry, "library/app", data, tag="v1")
    for group in ("mygroup", "other"):
        manifest = image_of(server, group)
    share(server, digest)
    reply = server.purge(query="?image=app")
    assert (reply.json["blobs"], reply.json["bytes"]) == (1, len(manifest.body))
    wait_for(lambda: not held(server))
    assert blob(server, "other", digest).cache == "hit"
    assert usage(server, "other")["bytes"] == SIZE + len(manifest.body)
    reply = server.purge(group="other", query="?image=app")
    assert reply.json["bytes"] == SIZE + len(manifest.body)


def test_one_file_is_known_as_such_after_a_restart(
    server: RunningServer, digest: Digest, start: Start
) -> None:
    share(server, digest)
    server.stop()
    again = start()
    again.wait_for_counts()
    assert [usage(again, group)["bytes"] for group in ("mygroup", "other")] == [0, 0]
    assert again.purge().json["bytes"] == 0
    assert again.purge(group="other").json["bytes"] == SIZE


def test_while_one_group_is_not_counted_yet_the_other_claims_no_shared_bytes_as_exact(
    server: RunningServer, digest: Digest, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(server, digest)
    server.stop()
    go_on = threading.Event()
    survey = Tree.survey

    def held_back(tree: Tree, stop: threading.Event) -> None:
        while tree.group == "other" and not go_on.wait(0.001) and not stop.is_set():
            pass
        survey(tree, stop)

    monkeypatch.setattr(Tree, "survey", held_back)
    again = start()
    wait_for(lambda: usage(again)["blobs"] > 0)
    told = usage(again)
    go_on.set()
    again.wait_for_counts()
    assert told["bytes"] == 0 or told.get("exact") is False


def test_a_group_that_was_cleared_while_it_was_counted_holds_nothing(
    server: RunningServer, digest: Digest, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(server, digest)
    server.stop()
    reached, go_on = threading.Event(), threading.Event()
    count = Tree.count

    def slow_count(tree: Tree, stop: threading.Event) -> None:
        counting.group = tree.group
        count(tree, stop)

    def slow_read(*_: object) -> bool:
        if counting.group == "mygroup":
            reached.set()
            go_on.wait(PATIENCE)
        return True

    counting = threading.local()
    monkeypatch.setattr(Tree, "count", slow_count)
    monkeypatch.setattr("depproxy.store.survey._read_manifests", slow_read)
    again = start()
    assert reached.wait(PATIENCE)
    cleared = [tree for tree in again._server.trees() if tree.group == "mygroup"]
    assert again.purge().status == 202
    go_on.set()
    wait_for(lambda: all(tree.holdings.is_exact for tree in cleared))
    again.wait_for_counts()
    assert usage(again, "other")["bytes"] == SIZE


def test_a_borrowed_blob_that_is_altered_is_found_out_in_both_groups(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    share(server, digest)
    file = file_of(server, "mygroup", digest)
    file.chmod(0o640)
    with file.open("r+b") as opened:
        opened.write(b"wrong")
    for group in ("mygroup", "other"):
        assert blob(server, group, digest).body == data
        assert Digest.of(file_of(server, group, digest).read_bytes()) == digest


def test_an_altered_blob_is_not_lent(
    server: RunningServer, registry: FakeRegistry, digest: Digest, data: bytes
) -> None:
    blob(server, "mygroup", digest)
    with file_of(server, "mygroup", digest).open("r+b") as opened:
        opened.write(b"wrong")
    reply = blob(server, "other", digest)
    assert (reply.body, reply.cache) == (data, "fwd=miss; stored")
    assert Digest.of(file_of(server, "other", digest).read_bytes()) == digest
