"""Numbers and times as people read them. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

_STEPS = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
    (1, "second"),
)

_EXACT_STEPS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

_JUST_NOW = 5.0
"""Seconds that are not worth a number."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in three forms: for machines (RFC 3339), exact, and as seen from now."""

    iso: str
    exact: str
    relative: str


def size(count: float) -> str:
    """Bytes: ``1.2 GB``, a thousand of one unit being one of the next."""
    for unit in _UNITS[:-1]:
        # What would be rounded to 1000.0 belongs to the next unit.
        if count < (1000 if unit == "B" else 999.95):
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def limit(count: int) -> str:
    """Bytes of a configuration, as they stand there: ``50 GiB``, ``500.0 MB``."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power} {unit}"
    return size(count)


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def counted(value: int, what: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number(value)} {what}{'' if value == 1 else 's'}"


def share(part: int, rest: int) -> str | None:
    """The percentage that ``part`` is of both; None where there is nothing. Only what is all is
    100 %."""
    if part + rest == 0:
        return None
    percent = 100 * part / (part + rest)
    if 0 < percent < 1:
        return "<1 %"
    return f"{int(percent)} %" if percent > 99 else f"{percent:.0f} %"


def span(seconds: float) -> str:
    """About how long: ``3 hours``."""
    for length, unit in _STEPS:
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return "0 seconds"


def duration(seconds: float) -> str:
    """Exactly how long, as a configuration has it: ``90 days``, ``90 minutes``."""
    for length, unit in _EXACT_STEPS:
        if seconds >= length and seconds % length == 0:
            return counted(int(seconds // length), unit)
    return f"{seconds:g} seconds"


def moment(seconds: float, now: float) -> Moment:
    """``seconds`` and ``now`` are since 1970. What lies ahead, by a clock that was set back, is
    just now."""
    when = datetime.fromtimestamp(int(seconds), UTC)
    ago = now - seconds
    return Moment(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        when.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "just now" if ago < _JUST_NOW else f"{span(ago)} ago",
    )
