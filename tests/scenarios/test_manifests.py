"""A manifest by its digest, and what an upstream's head says of one."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.running import RunningServer
from tests.waiting import wait_for

TAG = r"/v2/library/hello/manifests/latest"
MANIFESTS = r"/v2/library/hello/manifests/.*"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_waits_for_a_manifest_does_not_inherit_what_another_image_was_told(
    server: RunningServer, registry: FakeRegistry, hello: Image, status: int
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, status), "/v2/library/other/manifests/.*")
    with ThreadPoolExecutor(2) as clients:
        other = clients.submit(server.manifest, "other", hello.index)
        gate.reached.wait()
        mine = clients.submit(server.manifest, "hello", hello.index)
        wait_for(lambda: server.running_requests == 2)
        gate.open()
        assert other.result().status == 404
        assert mine.result().body == hello.manifests[hello.index][1]


def test_a_head_names_the_digest_that_was_asked_for_whatever_the_upstream_says(
    server: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    media_type, body = hello.manifests[hello.index]
    lie = {"Docker-Content-Digest": Digest.of(b"another"), "Content-Type": media_type}
    registry.misbehave(behaviours.status(200, lie, body), MANIFESTS, method="HEAD")
    head = server.manifest("hello", hello.index, "HEAD")
    assert head.headers["Docker-Content-Digest"] == hello.index


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 502)])
def test_a_manifest_of_more_than_4_mib_is_refused_before_it_is_fetched(
    server: RunningServer, registry: FakeRegistry, hello: Image, more: int, status: int
) -> None:
    headers = {
        "Docker-Content-Digest": hello.index,
        "Content-Type": hello.manifests[hello.index][0],
        "Content-Length": str(4 * 2**20 + more),
    }
    registry.misbehave(behaviours.status(200, headers), TAG, method="HEAD")
    assert server.manifest("hello", "latest", "HEAD").status == status
    assert registry.asked("GET") == []
