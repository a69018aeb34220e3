"""What clients ask for when they pull."""

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from depproxy.demo.image import Image
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.images import amd64_of
from tests.on_disk import settle
from tests.running import PREFIX, Reply, RunningServer


def pull_as_docker(server: RunningServer, image: Image, name: str = "hello") -> None:
    """The requests of a `docker pull` of a multi-platform image."""
    assert server.ask("/v2/").status == 200
    assert server.manifest(name, "latest", "HEAD").status == 200
    assert server.manifest(name, image.index).body == image.manifests[image.index][1]
    amd64 = amd64_of(image)
    manifest = server.manifest(name, amd64)
    assert manifest.body == image.manifests[amd64][1]
    for descriptor in (manifest.json["config"], *manifest.json["layers"]):
        blob = server.blob(name, descriptor["digest"])
        assert blob.body == image.blobs[descriptor["digest"]]


def pull(
    server: RunningServer, name: str, reference: str = "latest", variants: int = 1
) -> set[Digest]:
    """What a client asks for, and so many variants of an index; returns all that it got."""
    head = server.manifest(name, reference, "HEAD")
    assert head.status == 200, (name, reference, head.status)
    digest = Digest(head.headers["Docker-Content-Digest"])
    found, ways = {digest}, [digest]
    while ways:
        body = server.manifest(name, ways.pop())
        assert body.status == 200
        contents = contents_of(body.body)
        ways += [variant.digest for variant in contents.variants[:variants]]
        found.update(ways)
        for part in contents.parts:
            blob = server.blob(name, part.digest)
            assert part.digest.names(blob.body), (blob.status, part.digest)
            found.add(part.digest)
    server.settle()
    return found


def is_asked_for(registry: FakeRegistry, digests: Collection[Digest]) -> set[Digest]:
    """Those of these that the registry was asked for by GET."""
    return {Digest(seen.path.rpartition("/")[2]) for seen in registry.asked("GET")} & set(digests)


def blob(server: RunningServer, group: str, digest: Digest, image: str = "app") -> Reply:
    """A blob through a group, when it has its name on disk."""
    path = f"/v2/{group}/dependency_proxy/containers/{image}/blobs/{digest}"
    reply = server.ask(path)
    settle(server)
    return reply


@contextmanager
def amid_a_fill(server: RunningServer, registry: FakeRegistry) -> Iterator[bytes]:
    """While a client has the beginning of a layer of ``hello``, which is given, and the upstream
    holds back the rest. The client gets all of it in the end."""
    layer = random.Random(2).randbytes(4 * 2**20)
    digest = registry.add_blob("library/hello", layer)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), ".*/blobs/.*", times=1)
    with server.open(f"{PREFIX}/hello/blobs/{digest}") as response:
        assert response.read(1000) == layer[:1000]
        yield layer
        gate.open()
        assert response.read() == layer[1000:]
