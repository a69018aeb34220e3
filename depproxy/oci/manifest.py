"""Manifests and indexes: which documents may be handed on, and as what.

OCI image specification 1.1 (manifest.md, image-index.md) and Docker's image manifest
version 2, schema 2. A document is never rewritten; it is only judged.
"""

import json
from dataclasses import dataclass
from typing import Any

from depproxy.oci.digest import Digest

MAX_MANIFEST = 4 * 1024 * 1024
"""Bytes. The limit of Distribution and containerd; the specification asks for at least this."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

INDEX_TYPES = frozenset({DOCKER_LIST, OCI_INDEX})
MEDIA_TYPES = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)

ACCEPT = ", ".join(MEDIA_TYPES)
"""What upstreams are always asked with: the answer must not depend on who asks first."""

SCHEMA_1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

_SAYS_NOTHING = frozenset(
    {"", "application/json", "application/octet-stream", "binary/octet-stream"}
)
"""Types that plain file servers give to every document: no statement about a manifest."""


class NotAManifest(ValueError):
    """The document may not be handed on; the text says why."""


class MediaTypeMissing(NotAManifest):
    """The document does not say its type, and nobody else did."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest is called: digest, media type, size in bytes."""

    digest: Digest
    media_type: str
    size: int


def media_type_of(content_type: str | None) -> str:
    """A ``Content-Type`` without its parameters, in lower case; empty if there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_telling(content_type: str) -> bool:
    """Whether an upstream's ``Content-Type`` says which kind of manifest this is, if only one of
    schema 1."""
    return media_type_of(content_type) in SCHEMA_1_TYPES.union(MEDIA_TYPES)


def check_media_type(media_type: str) -> None:
    """Raises `NotAManifest` unless this is one of the four types that are served."""
    if media_type in SCHEMA_1_TYPES:
        raise NotAManifest(
            "the upstream offers this image only in the schema 1 format, which was retired in 2017:"
            " push the image again with a current client"
        )
    if media_type not in MEDIA_TYPES:
        raise NotAManifest(f"the upstream's answer is no image manifest, but {media_type[:100]!r}")


def judge_manifest(body: bytes, content_type: str | None) -> str:
    """The media type to serve ``body`` with: its own ``mediaType``, else the upstream's.

    ``content_type`` is the upstream's header, None where the bytes came without one.

    Raises `MediaTypeMissing` where neither tells the type, and `NotAManifest` for everything
    that must not be handed on: contradictions, unknown types, documents that are both manifest
    and index (CVE-2021-41190), and more than `MAX_MANIFEST` bytes.
    """
    if len(body) > MAX_MANIFEST:
        raise NotAManifest(f"the manifest is larger than {MAX_MANIFEST} bytes")
    said = media_type_of(content_type)
    if said in SCHEMA_1_TYPES:
        check_media_type(said)
    document = _load(body)
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise NotAManifest("the manifest's mediaType is not a string")
    if not own and said in _SAYS_NOTHING:
        raise MediaTypeMissing(
            "the manifest does not say its media type, and neither does the upstream"
        )
    media_type = own or said
    check_media_type(media_type)
    if own and said not in _SAYS_NOTHING and said != own:
        raise NotAManifest(f"the manifest calls itself {own}, the upstream calls it {said[:100]!r}")
    _check_shape(document, media_type)
    return media_type


def _load(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise NotAManifest("the manifest is no JSON document that can be read") from exc
    if not isinstance(document, dict):
        raise NotAManifest("the manifest is not a JSON object")
    return document


def _check_shape(document: dict[str, Any], media_type: str) -> None:
    if document.get("schemaVersion") != 2:
        raise NotAManifest("the manifest's schemaVersion is not 2")
    looks_index = "manifests" in document
    looks_manifest = "layers" in document or "config" in document
    if looks_index and looks_manifest:
        raise NotAManifest("the document is both a manifest and an index (CVE-2021-41190)")
    if "fsLayers" in document:
        raise NotAManifest("the document is a manifest of schema 1 and 2 at once")
    if media_type in INDEX_TYPES:
        if not isinstance(document.get("manifests"), list):
            raise NotAManifest(f"the document has no manifests, though its type is {media_type}")
    elif not isinstance(document.get("layers"), list) or not isinstance(
        document.get("config"), dict
    ):
        raise NotAManifest(
            f"the document has no config and layers, though its type is {media_type}"
        )
