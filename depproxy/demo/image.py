"""An image for two platforms, made of nothing: a static program that says one sentence.

The program is machine code: two system calls, ``write`` and ``exit``.
"""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_BASE = 0x400000
_HEADERS = 64 + 56
_MACHINES = {"amd64": 62, "arm64": 183}


@dataclass(frozen=True, slots=True)
class Image:
    """An index and everything it leads to."""

    index: Digest
    manifests: Mapping[Digest, tuple[str, bytes]]
    """Media type and body of the index and of each platform's manifest."""
    blobs: Mapping[Digest, bytes]
    """Configs and layers."""


def make_image(sentence: str, files: Mapping[str, bytes] | None = None) -> Image:
    """An image that prints ``sentence``; ``files`` become a layer of their own.

    The same arguments give the same bytes.
    """
    manifests: dict[Digest, tuple[str, bytes]] = {}
    blobs: dict[Digest, bytes] = {}
    platforms = []
    for architecture in _MACHINES:
        layers = [_tar({"hello": _program(architecture, sentence.encode() + b"\n")}, 0o755)]
        if files:
            layers.append(_tar(files, 0o644))
        config = _json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {"Cmd": ["/hello"]},
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]},
            }
        )
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, layer) for layer in packed],
            }
        )
        blobs.update({Digest.of(blob): blob for blob in (config, *packed)})
        manifests[Digest.of(manifest)] = OCI_MANIFEST, manifest
        platform = {"architecture": architecture, "os": "linux"}
        platforms.append({**_descriptor(OCI_MANIFEST, manifest), "platform": platform})
    index = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": platforms})
    manifests[Digest.of(index)] = OCI_INDEX, index
    return Image(Digest.of(index), manifests, blobs)


def _program(architecture: str, message: bytes) -> bytes:
    """A static ELF executable for Linux."""
    if architecture == "amd64":
        code = (
            b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
            b"\xbf\x01\x00\x00\x00"  # mov edi, 1
            b"\x48\x8d\x35\x10\x00\x00\x00"  # lea rsi, [rip + 16]: the message
            b"\xba" + struct.pack("<I", len(message)) + b"\x0f\x05"  # mov edx, length; syscall
            b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
            b"\x31\xff\x0f\x05"  # xor edi, edi; syscall
        )
    else:
        code = struct.pack(
            "<8I",
            0xD2800808,  # mov x8, #64 (write)
            0xD2800020,  # mov x0, #1
            0x100000C1,  # adr x1, +24: the message
            0xD2800002 | len(message) << 5,  # mov x2, #length
            0xD4000001,  # svc #0
            0xD2800BA8,  # mov x8, #93 (exit)
            0xD2800000,  # mov x0, #0
            0xD4000001,  # svc #0
        )
    size = _HEADERS + len(code) + len(message)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH",
        *(2, _MACHINES[architecture], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + code + message


def _tar(files: Mapping[str, bytes], mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(content), "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode()
