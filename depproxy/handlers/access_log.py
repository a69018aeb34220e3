"""The access log: one line for each request, when its answer has ended.

Lines are collected for `FLUSH_AFTER` and written together. Python's `logging` takes 10 µs a line,
and writes each by itself; this takes 2, of the 110 µs of a small hit.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TextIO

FLUSH_AFTER = 0.1
"""Seconds that a line may wait for others: what a crash may lose, and too short to be seen."""

_FLUSH_AT = 512
"""Lines that are written together at most: some 100 KiB."""

ADMIN_IN_LOG = "token:admin"
"""Who came with the admin token; users have no colon in their names."""


@dataclass(slots=True)
class Access:
    """One request and how it was answered. Empty texts are what was not asked for, or is unknown.

    ``size`` is how many bytes of a body were sent, ``duration`` in seconds since the request's head
    was read; ``cache`` is the answer's ``Cache-Status`` without our name.
    """

    id: str
    client: str
    method: str
    path: str
    user: str = ""
    group: str = ""
    image: str = ""
    kind: str = ""
    status: int = 0
    size: int = 0
    duration: float = 0.0
    cut: bool = False
    cache: str = ""


class AccessLog:
    """Writes lines as ``text`` for people, as ``json`` for machines, or none at all: as the last
    `write_as` has said."""

    def __init__(
        self,
        form: str,
        stream: Callable[[], TextIO],
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """``clock`` is the time of day. ``stream`` is asked for at each writing, since standard
        error may be replaced; ``call_later`` is the event loop's."""
        self.write_as(form)
        self._stream = stream
        self._clock = clock
        self._call_later = call_later
        self._lines: list[str] = []
        self._second = 0
        self._time = ""
        self._is_due = False

    def write_as(self, form: str) -> None:
        """What is noted from now on has this form."""
        self._line = {"text": _text_line, "json": _json_line}.get(form)

    def note(self, access: Access) -> None:
        """A request has been answered: keep its line until there are more, or it is time."""
        if self._line is None:
            return
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._time}.{int((now - second) * 1000):03d}Z"
        self._lines.append(self._line(stamp, access))
        if len(self._lines) >= _FLUSH_AT:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._call_later(FLUSH_AFTER, self._flush_in_time)

    def flush(self) -> None:
        """Write what waits. A stream that takes nothing costs the lines, and no request."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            stream = self._stream()
            stream.write("".join(lines))
            stream.flush()
        except (OSError, ValueError):
            return

    def _flush_in_time(self) -> None:
        self._is_due = False
        self.flush()


def _text_line(stamp: str, access: Access) -> str:
    """Fields in a fixed order, ``-`` for what is empty."""
    return (
        f"{stamp} INFO depproxy.access: {access.client or '-'} {access.user or '-'}"
        f" {access.method} {access.path} {access.status}{' cut' if access.cut else ''}"
        f" {access.size}B {access.duration * 1000:.1f}ms {access.cache or '-'} {access.id}\n"
    )


def _json_line(stamp: str, access: Access) -> str:
    fields: dict[str, Any] = asdict(access)
    fields["duration"] = round(access.duration, 6)
    document = {"time": stamp, "level": "info", "logger": "depproxy.access", **fields}
    return json.dumps(document, ensure_ascii=False) + "\n"
