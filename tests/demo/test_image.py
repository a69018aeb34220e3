"""The demo's image: a real one, the same on every machine, and its program runs."""

import gzip
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, judge_manifest

SENTENCE = "Hello! Grüße aus dem Speicher."
IMAGE = make_image(SENTENCE, {"README": b"read me\n"})


def document(image: Image, digest: str) -> Any:
    return json.loads(image.manifests[Digest.parse(digest)][1])


def manifest_of(image: Image, architecture: str) -> Any:
    [digest] = [
        entry["digest"]
        for entry in document(image, image.index)["manifests"]
        if entry["platform"] == {"architecture": architecture, "os": "linux"}
    ]
    return document(image, digest)


def layers_of(image: Image, architecture: str) -> list[bytes]:
    """The layers as tar archives."""
    return [
        gzip.decompress(image.blobs[Digest.parse(layer["digest"])])
        for layer in manifest_of(image, architecture)["layers"]
    ]


def program_of(image: Image, architecture: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(layers_of(image, architecture)[0])) as archive:
        [entry] = archive.getmembers()
        assert (entry.name, entry.mode) == ("hello", 0o755)
        content = archive.extractfile(entry)
        assert content
        return content.read()


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert make_image(SENTENCE, {"README": b"read me\n"}) == IMAGE


def test_another_sentence_is_another_image() -> None:
    assert make_image("Something else.").index != IMAGE.index


def test_everything_is_filed_under_its_own_digest() -> None:
    for digest, (_, body) in IMAGE.manifests.items():
        assert digest.names(body)
    for digest, blob in IMAGE.blobs.items():
        assert digest.names(blob)


def test_the_documents_pass_as_what_they_are_called() -> None:
    for media_type, body in IMAGE.manifests.values():
        assert judge_manifest(body, media_type) == media_type
    assert IMAGE.manifests[IMAGE.index][0] == OCI_INDEX


def test_the_index_leads_to_everything_and_nothing_else() -> None:
    manifests, blobs = {IMAGE.index}, set()
    for entry in document(IMAGE, IMAGE.index)["manifests"]:
        media_type, body = IMAGE.manifests[entry["digest"]]
        assert (entry["mediaType"], entry["size"]) == (media_type, len(body))
        assert media_type == OCI_MANIFEST
        manifests.add(entry["digest"])
        found = json.loads(body)
        for descriptor in (found["config"], *found["layers"]):
            assert descriptor["size"] == len(IMAGE.blobs[descriptor["digest"]])
            blobs.add(descriptor["digest"])
    assert manifests == set(IMAGE.manifests)
    assert blobs == set(IMAGE.blobs)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_config_names_its_platform_and_its_unpacked_layers(architecture: str) -> None:
    manifest = manifest_of(IMAGE, architecture)
    config = json.loads(IMAGE.blobs[manifest["config"]["digest"]])
    assert (config["architecture"], config["os"]) == (architecture, "linux")
    assert config["config"]["Cmd"] == ["/hello"]
    assert config["rootfs"]["diff_ids"] == [
        Digest.of(layer) for layer in layers_of(IMAGE, architecture)
    ]


def test_files_become_a_layer_of_their_own() -> None:
    with tarfile.open(fileobj=io.BytesIO(layers_of(IMAGE, "amd64")[1])) as archive:
        assert archive.getnames() == ["README"]
    assert len(layers_of(make_image(SENTENCE), "amd64")) == 1


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_a_program_is_an_executable_for_its_machine(architecture: str, machine: int) -> None:
    program = program_of(IMAGE, architecture)
    assert program.startswith(b"\x7fELF")
    assert int.from_bytes(program[18:20], "little") == machine
    assert program.endswith(SENTENCE.encode() + b"\n")


def test_the_program_says_its_sentence(tmp_path: Path) -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if platform.system() != "Linux" or architecture is None:
        pytest.skip("this machine runs programs of neither architecture")
    program = tmp_path / "hello"
    program.write_bytes(program_of(IMAGE, architecture))
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout.decode() == f"{SENTENCE}\n"
    assert done.stderr == b""
