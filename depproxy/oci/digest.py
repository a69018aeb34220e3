"""Digests: OCI image specification 1.1, "Digests",
https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#digests
"""

import hashlib
import re
from typing import Protocol, Self

from depproxy.errors import DigestInvalid
from depproxy.oci.names import Tag

ALGORITHMS = {"sha256": 64, "sha512": 128}
"""The registered algorithms and the number of hexadecimal digits of each."""

_SYNTAX = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)


class Hasher(Protocol):
    """What `hashlib` gives."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Digest(str):
    """``sha256:…`` or ``sha512:…``, in lower-case hexadecimal digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `DigestInvalid`."""
        match = _SYNTAX.fullmatch(text)
        if not match:
            raise DigestInvalid(
                f"{text[:160]!r} is no digest: it reads like sha256:<64 hex digits>"
            )
        algorithm, encoded = match.groups()
        if algorithm not in ALGORITHMS:
            raise DigestInvalid(
                f"digests of {algorithm[:40]!r} are not supported: use {' or '.join(ALGORITHMS)}"
            )
        if len(encoded) != ALGORITHMS[algorithm] or not _HEX.fullmatch(encoded):
            raise DigestInvalid(
                f"a {algorithm} digest has {ALGORITHMS[algorithm]} lower-case hexadecimal digits"
            )
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of ``data``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    def hasher(self) -> Hasher:
        """A new hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def names(self, data: bytes) -> bool:
        """Whether this is the digest of ``data``."""
        return self == Digest.of(data, self.algorithm)


def parse_reference(text: str) -> Tag | Digest:
    """A manifest's reference; one with a colon can only be meant as a digest.

    Raises `TagInvalid` or `DigestInvalid`.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
