"""A pull through the proxy: what is asked of the upstream, and what comes to disk."""

import json

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.fakes.registry import FakeRegistry
from tests.images import amd64_of
from tests.pulling import pull_as_docker
from tests.running import RunningServer, Start


def test_a_cold_pull_costs_the_upstream_two_manifest_gets_and_no_other_platform(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello)
    assert len(registry.asked("GET", r".*/manifests/.*")) == 2
    assert len(registry.asked("HEAD", r".*/manifests/latest")) == 1
    fetched = {
        Digest(seen.path.rpartition("/")[2]) for seen in registry.asked("GET", ".*/blobs/.*")
    }
    manifest = json.loads(hello.manifests[amd64_of(hello)][1])
    assert fetched == {d["digest"] for d in (manifest["config"], *manifest["layers"])}


def test_a_second_pull_asks_the_upstream_for_the_tag_only(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello)
    registry.requests.clear()
    pull_as_docker(server, hello)
    assert [(seen.method, seen.path) for seen in registry.requests] == [
        ("HEAD", "/v2/library/hello/manifests/latest")
    ]


def test_a_pull_works_without_the_upstream_once_it_is_cached(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello)
    registry.go_down()
    pull_as_docker(server, hello)
    stale = server.manifest("hello", "latest")
    assert stale.cache == "hit"
    assert stale.headers["Warning"].startswith('299 - "')


def test_a_cached_image_outlives_a_restart_of_the_server(
    server: RunningServer, registry: FakeRegistry, hello: Image, start: Start
) -> None:
    pull_as_docker(server, hello)
    registry.go_down()
    server.stop()
    pull_as_docker(start(), hello)


def test_a_blob_on_disk_is_served_without_a_word_to_the_upstream(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest = next(iter(hello.blobs))
    server.blob("hello", digest)
    registry.requests.clear()
    hit = server.blob("hello", digest)
    assert (hit.body, hit.cache) == (hello.blobs[digest], "hit")
    assert not registry.requests


def test_three_names_are_one_image(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    pull_as_docker(server, hello, "hello")
    registry.requests.clear()
    for name in ("library/hello", "docker.io/hello", "index.docker.io/library/hello"):
        pull_as_docker(server, hello, name)
    assert {seen.method for seen in registry.requests} == {"HEAD"}


def test_an_upstream_that_the_group_does_not_have_is_404_without_asking_anyone(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    for path in ("quay.io/hello/manifests/latest", "hello/manifests/latest?ns=quay.io"):
        reply = server.ask(f"/v2/mygroup/dependency_proxy/containers/{path}")
        assert (reply.status, reply.error) == (404, "NAME_UNKNOWN")
        assert "docker.io" in reply.message
    assert not registry.requests


def test_ns_of_the_groups_upstream_is_echoed(server: RunningServer, hello: Image) -> None:
    path = "/v2/mygroup/dependency_proxy/containers/library/hello/manifests/latest?ns=docker.io"
    reply = server.ask(path)
    assert (reply.status, reply.headers["OCI-Namespace"]) == (200, "docker.io")


def test_manifests_and_blobs_carry_the_headers_that_clients_need(
    server: RunningServer, hello: Image
) -> None:
    index = server.manifest("hello", "latest")
    assert index.headers["Content-Type"] == OCI_INDEX
    assert server.manifest("hello", amd64_of(hello)).headers["Content-Type"] == OCI_MANIFEST
    blob = server.blob("hello", next(iter(hello.blobs)))
    for reply, digest in ((index, hello.index), (blob, next(iter(hello.blobs)))):
        assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert reply.headers["Docker-Content-Digest"] == digest
        assert reply.headers["ETag"] == f'"{digest}"'
        assert reply.headers["Content-Length"] == str(len(reply.body))


def test_what_the_client_has_already_is_304(server: RunningServer, hello: Image) -> None:
    blob = next(iter(hello.blobs))
    for _ in ("miss", "hit"):
        assert server.manifest("hello", "latest", If_None_Match=f'"{hello.index}"').status == 304
        assert server.blob("hello", blob, If_None_Match=f'W/"x", "{blob}"').status == 304
        assert server.blob("hello", blob, "HEAD", If_None_Match=f'"{blob}"').status == 304
        past = {"If_None_Match": f'"{blob}"', "Range": "bytes=999999-"}
        assert server.blob("hello", blob, **past).status == 304, "RFC 9110, 13.2.2: asked first"


def test_head_and_get_agree(server: RunningServer, hello: Image) -> None:
    asked = [("manifests", ref) for ref in ("latest", hello.index, "nope")]
    asked += [("blobs", next(iter(hello.blobs))), ("blobs", Digest.of(b"nope"))]
    for _ in ("cold", "warm"):
        for kind, reference in asked:
            path = f"/v2/mygroup/dependency_proxy/containers/hello/{kind}/{reference}"
            head, get = server.ask(path, "HEAD"), server.ask(path)
            assert head.status == get.status
            assert head.body == b""
            for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
                if get.status == 200 or name == "Content-Type":
                    assert head.headers[name] == get.headers[name]


def test_head_of_an_uncached_blob_downloads_nothing(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest = next(iter(hello.blobs))
    reply = server.blob("hello", digest, "HEAD")
    assert reply.headers["Content-Length"] == str(len(hello.blobs[digest]))
    assert reply.cache == "fwd=miss"
    assert [seen.method for seen in registry.requests] == ["HEAD"]
    assert server.blob_files() == []


def test_the_tree_is_laid_out_as_documented(server: RunningServer, hello: Image) -> None:
    pull_as_docker(server, hello)
    server.stop()
    repository = server.tree / "manifests" / "docker.io" / "library" / "hello" / "-"
    pointer = json.loads((repository / "tags" / "latest.json").read_text())
    assert (pointer["digest"], pointer["announced"], pointer["gone"]) == (hello.index, None, False)
    assert (repository / "digests" / "sha256" / f"{hello.index.hex}.json").is_file()
    blob = server.tree / "blobs" / "sha256" / hello.index.hex[:2] / hello.index.hex
    assert blob.read_bytes() == hello.manifests[hello.index][1]
    assert server.partial_files() == []
