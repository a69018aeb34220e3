"""Pointers as JSON documents. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from depproxy.errors import DigestInvalid
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MEDIA_TYPES, Descriptor

MAX_POINTER = 4096
"""Bytes; a pointer has some 500."""


@dataclass(frozen=True, slots=True)
class TagPointer:
    """What a tag means.

    ``current`` is the manifest that is on disk, ``announced`` a newer one that the upstream has
    named and nobody has fetched yet, ``gone`` that the upstream answered 404 since.
    """

    current: Descriptor | None = None
    announced: Descriptor | None = None
    gone: bool = False

    @property
    def means(self) -> Descriptor | None:
        """What the tag leads to: the manifest on disk, and before there was one, the announced."""
        return self.current or self.announced


def encode_tag(pointer: TagPointer) -> bytes:
    current, announced = pointer.current, pointer.announced
    return _json(
        {
            "digest": current.digest if current else None,
            **_described("", current),
            "announced": announced.digest if announced else None,
            **_described("announced_", announced),
            "gone": pointer.gone,
        }
    )


def _described(prefix: str, descriptor: Descriptor | None) -> dict[str, Any]:
    return {
        f"{prefix}media_type": descriptor.media_type if descriptor else None,
        f"{prefix}size": descriptor.size if descriptor else None,
    }


def decode_tag(data: bytes | None) -> TagPointer | None:
    """None where it cannot be read."""
    document = _document(data)
    if document is None:
        return None
    current = _descriptor(document, "digest", "")
    announced = _descriptor(document, "announced", "announced_")
    gone = document.get("gone") is True
    pointer = TagPointer(current, announced, gone)
    return pointer if pointer.means else None


def encode_digest(descriptor: Descriptor) -> bytes:
    return _json({"digest": descriptor.digest, **_described("", descriptor)})


def decode_digest(data: bytes | None, digest: Digest) -> Descriptor | None:
    """None where it cannot be read, or is about another digest."""
    document = _document(data)
    found = _descriptor(document, "digest", "") if document else None
    return found if found and found.digest == digest else None


def _descriptor(document: dict[str, Any], key: str, prefix: str) -> Descriptor | None:
    media_type, size = document.get(f"{prefix}media_type"), document.get(f"{prefix}size")
    try:
        digest = Digest.parse(str(document.get(key)))
    except DigestInvalid:
        return None
    if media_type not in MEDIA_TYPES or not isinstance(size, int) or size < 0:
        return None
    return Descriptor(digest, str(media_type), size)


def _document(data: bytes | None) -> dict[str, Any] | None:
    try:
        document = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
