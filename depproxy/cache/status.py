"""How a request was answered: the ``Cache-Status`` of RFC 9211."""

from enum import Enum


class CacheStatus(Enum):
    """The parameters behind our name in the header."""

    HIT = "hit"
    STORED = "fwd=miss; stored"
    COLLAPSED = "fwd=miss; collapsed"
    MISS = "fwd=miss"

    def header(self) -> str:
        """The header's value, our name first."""
        return f"depproxy; {self.value}"
