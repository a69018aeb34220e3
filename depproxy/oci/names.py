"""Names of groups and images, tags.

Grammar: OCI distribution specification 1.1, "Pulling manifests",
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
"""

import re
from typing import Self

from depproxy.errors import NameInvalid, TagInvalid

MAX_NAME = 255
"""Characters of a whole name: what Docker and Distribution accept."""

MAX_COMPONENT = 200
"""Characters of one component: file systems end at 255 bytes, and suffixes need room."""

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)

RESERVED = "dependency_proxy"
"""No segment of a group: it ends the group in a URL."""


def _components(kind: str, text: str) -> list[str]:
    if len(text) > MAX_NAME:
        raise NameInvalid(
            f"the name of {kind} has {len(text)} characters, at most {MAX_NAME} may be"
        )
    components = text.split("/")
    for component in components:
        if len(component) > MAX_COMPONENT:
            raise NameInvalid(
                f"the name of {kind} has a part of {len(component)} characters,"
                f" at most {MAX_COMPONENT} may be"
            )
        if not _COMPONENT.fullmatch(component):
            raise NameInvalid(
                f"{component[:80]!r} is no part of the name of {kind}: use lower-case letters and"
                " digits, and between them '.', '_', '__' or '-'"
            )
    return components


class GroupName(str):
    """One or more segments, ``acme`` or ``acme/platform``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `NameInvalid`."""
        if RESERVED in _components("a group", text):
            raise NameInvalid(f"'{RESERVED}' cannot be a segment of a group")
        return cls(text)


class ImageName(str):
    """A repository's name, ``library/alpine`` or ``prometheus/node-exporter``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `NameInvalid`."""
        _components("an image", text)
        return cls(text)


class Tag(str):
    """A tag, ``latest`` or ``3.20``: at most 128 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `TagInvalid`."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(
                f"{text[:140]!r} is no tag: letters, digits, '_', '.' and '-', at most 128 of them,"
                " not beginning with '.' or '-'"
            )
        return cls(text)
