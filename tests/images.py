"""Images as a registry is given them, made of what a test is about."""

import json
import random

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.fakes.registry import FakeRegistry


def amd64_of(image: Image) -> Digest:
    """The manifest that docker picks on a PC."""
    index = json.loads(image.manifests[image.index][1])
    return Digest(
        next(m["digest"] for m in index["manifests"] if m["platform"]["architecture"] == "amd64")
    )


def add_manifest(
    registry: FakeRegistry,
    name: str,
    *layers: bytes,
    tag: str = "",
    algorithm: str = "sha256",
) -> Digest:
    """An image for one platform, of a config of its own and these layers."""
    config = json.dumps({"os": "linux", "architecture": "amd64", "of": name, "tag": tag}).encode()
    for data in (config, *layers):
        registry.add_blob(name, data)
    described = [{"digest": Digest.of(data), "size": len(data)} for data in (config, *layers)]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    body = json.dumps({**document, "config": described[0], "layers": described[1:]}).encode()
    digest = Digest.of(body, algorithm)
    return registry.add_manifest(name, body, OCI_MANIFEST, tag=tag, digest=digest)


def add_index(registry: FakeRegistry, name: str, *manifests: Digest, tag: str = "") -> Digest:
    """An index of manifests that the registry has."""
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(registry.content(f"/manifests/{digest}").body),
            "platform": {"os": "linux", "architecture": "amd64", "variant": f"v{number}"},
        }
        for number, digest in enumerate(manifests)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "for": tag}
    return registry.add_manifest(name, json.dumps(document).encode(), OCI_INDEX, tag=tag)


def layer(number: int, size: int = 3000) -> bytes:
    return random.Random(number).randbytes(size)
