"""Byte ranges: RFC 9110, section 14."""

import re
from typing import NamedTuple

from depproxy.errors import RangeUnsatisfiable

_SINGLE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)", re.ASCII | re.IGNORECASE)

_MAX_DIGITS = 18
"""Longer numbers are behind the end of every blob; Python refuses to convert very long ones."""


class ByteRange(NamedTuple):
    """``start`` inclusive, ``end`` exclusive, both offsets in bytes; never empty."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        """The value of ``Content-Range`` for a blob of ``size`` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The one range that is asked for, or None where the whole is to be sent.

    A header that is not understood, another unit, or several ranges: the whole (RFC 9110,
    14.2: a server may ignore the header). Of an empty blob a suffix gets the whole.

    Raises `RangeUnsatisfiable`.
    """
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if size == 0:
            return None
        length = _number(last)
        if length == 0:
            raise RangeUnsatisfiable(size)
        return ByteRange(max(0, size - length), size)
    start = _number(first)
    if last and _number(last) < start:
        return None
    if start >= size:
        raise RangeUnsatisfiable(size)
    return ByteRange(start, min(size, _number(last) + 1) if last else size)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
