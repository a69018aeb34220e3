"""Clearing a group: at once, by whoever may, and without harm to those who are reading."""

import json
import random

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.on_disk import wait_until_trash_is_empty
from tests.pulling import amid_a_fill, pull_as_docker
from tests.running import PREFIX, RunningServer, Start


def test_a_purge_tells_what_went_and_leaves_nothing(server: RunningServer, hello: Image) -> None:
    pull_as_docker(server, hello)
    manifest = json.loads(server.manifest("hello", "latest").body)["manifests"][0]["digest"]
    document = json.loads(hello.manifests[Digest(manifest)][1])
    blobs = [document["config"], *document["layers"]]
    reply = server.purge()
    assert reply.status == 202
    assert reply.json == {
        "message": "202 Accepted",
        "manifests": 2,
        "blobs": len(blobs),
        "bytes": sum(blob["size"] for blob in blobs)
        + sum(len(hello.manifests[d][1]) for d in (hello.index, Digest(manifest))),
    }
    assert not server.tree.exists()
    assert server.purge().json == {
        "message": "202 Accepted",
        "manifests": 0,
        "blobs": 0,
        "bytes": 0,
    }


def test_the_count_is_exact_after_a_restart_too(
    server: RunningServer, hello: Image, start: Start
) -> None:
    pull_as_docker(server, hello)
    server.stop()
    again = start()
    again.wait_for_counts()
    reply = again.purge()
    assert (reply.json["manifests"], reply.json["blobs"]) == (2, 3)
    assert "exact" not in reply.json


def test_until_the_count_is_complete_the_answer_says_so(
    server: RunningServer, hello: Image, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_as_docker(server, hello)
    server.stop()
    monkeypatch.setattr("depproxy.store.tree.Tree.survey", lambda _self, _stop: None)
    assert start().purge().json["exact"] is False


def test_after_a_purge_everything_is_fetched_anew(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello)
    server.purge()
    registry.requests.clear()
    pull_as_docker(server, hello)
    assert len(registry.asked("GET")) == 5


def test_a_purge_of_one_group_leaves_the_others(server: RunningServer, hello: Image) -> None:
    pull_as_docker(server, hello)
    assert server.purge(group="other").status == 202
    assert server.manifest("hello", hello.index).cache == "hit"


@pytest.mark.parametrize("group", ["mygroup", "nobody", "no%2Fbody", "NO"])
@pytest.mark.parametrize("token", ["", "wrong", "ümläut"])
def test_without_the_right_token_every_group_is_401(
    server: RunningServer, hello: Image, group: str, token: str
) -> None:
    server.manifest("hello", "latest")
    reply = server.purge(token=token.encode().decode("latin-1"), group=group)
    assert (reply.status, reply.json) == (401, {"message": "401 Unauthorized"})
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="depproxy"'
    assert server.manifest("hello", hello.index).cache == "hit"


@pytest.mark.parametrize("group", ["nobody", "no%2Fbody", "NO", "%ff"])
def test_with_the_admin_token_an_unknown_group_is_404(server: RunningServer, group: str) -> None:
    reply = server.purge(group=group)
    assert reply.status == 404
    assert reply.json["message"].startswith("404 ")


def test_other_verbs_on_the_cache_are_405(server: RunningServer) -> None:
    reply = server.ask("/api/v4/groups/mygroup/dependency_proxy/cache")
    assert (reply.status, reply.headers["Allow"]) == (405, "DELETE")
    assert reply.json == {"message": "405 Method Not Allowed"}


def test_a_purge_in_the_middle_of_a_fill_harms_nobody(
    server: RunningServer, registry: FakeRegistry
) -> None:
    with amid_a_fill(server, registry) as layer:
        assert server.purge().status == 202
    assert server.blob_files() == []
    again = server.blob("hello", Digest.of(layer))
    assert (again.body, again.cache) == (layer, "fwd=miss; stored")
    assert len(registry.asked("GET", ".*/blobs/.*")) == 2


def test_a_hit_that_is_being_read_survives_a_purge(
    server: RunningServer, registry: FakeRegistry
) -> None:
    layer = random.Random(3).randbytes(32 * 2**20)
    digest = registry.add_blob("library/hello", layer)
    server.blob("hello", digest)
    with server.open(f"{PREFIX}/hello/blobs/{digest}") as response:
        assert response.read(1000) == layer[:1000]
        server.purge()
        assert response.read() == layer[1000:]


def test_what_was_purged_is_deleted(server: RunningServer, hello: Image) -> None:
    pull_as_docker(server, hello)
    server.purge()
    wait_until_trash_is_empty(server)
    assert not list((server.data / "groups").rglob("*.json"))


def test_a_tree_that_another_process_took_away_is_noticed(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello)
    server.tree.rename(server.data / "trash" / "by-hand")
    registry.requests.clear()
    pull_as_docker(server, hello)
    assert len(registry.asked("GET")) == 5
    assert server.tree.exists()


def test_a_purge_that_asks_for_something_unknown_clears_nothing(
    server: RunningServer, hello: Image
) -> None:
    server.manifest("hello", "latest")
    assert server.purge(query="?images=hello").status == 400
    assert server.manifest("hello", hello.index).cache == "hit"
