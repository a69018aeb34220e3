"""What a manifest leads to: other manifests, a config and layers. Pure.

OCI image specification 1.1, manifest.md and image-index.md; Docker's documents have the same keys.
"""

import json
from dataclasses import dataclass
from typing import Any

from depproxy.errors import DigestInvalid
from depproxy.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Variant:
    """One manifest of an index, and the platform that it is for: ``linux/arm64/v8``; empty where
    the index does not tell."""

    digest: Digest
    platform: str


@dataclass(frozen=True, slots=True)
class Part:
    """A config or a layer; ``size`` in bytes, as the manifest says."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """``variants`` of an index; ``parts`` of a manifest, its ``config`` among them."""

    variants: tuple[Variant, ...] = ()
    parts: tuple[Part, ...] = ()
    config: Digest | None = None

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Everything that it leads to."""
        return (
            *(variant.digest for variant in self.variants),
            *(part.digest for part in self.parts),
        )


def contents_of(body: bytes) -> Contents:
    """Of a document that was judged when it came; what cannot be read leads nowhere."""
    document = _mapping(body)
    variants = [
        Variant(digest, _platform(entry.get("platform")))
        for entry in _entries(document.get("manifests"))
        if (digest := _digest(entry))
    ]
    config = document.get("config")
    described = [config] if isinstance(config, dict) else []
    parts: dict[Digest, Part] = {}
    for entry in (*described, *_entries(document.get("layers"))):
        if digest := _digest(entry):
            parts.setdefault(digest, Part(digest, _size(entry)))
    return Contents(
        tuple(variants), tuple(parts.values()), _digest(described[0]) if described else None
    )


def platform_of_config(body: bytes) -> str:
    """What an image's config says that it is for; empty where it says nothing."""
    return _platform(_mapping(body))


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _entries(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _digest(entry: dict[str, Any]) -> Digest | None:
    try:
        return Digest.parse(str(entry.get("digest")))
    except DigestInvalid:
        return None


def _size(entry: dict[str, Any]) -> int:
    size = entry.get("size")
    return size if isinstance(size, int) and size >= 0 else 0


def _platform(value: object) -> str:
    """``os/architecture[/variant]``; what is "unknown" is no platform (attestations)."""
    if not isinstance(value, dict):
        return ""
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    words = [part if isinstance(part, str) else "" for part in parts]
    is_whole = words[0] and words[1] and "unknown" not in words
    return "/".join(filter(None, words)) if is_whole else ""
