"""What every request meets, whichever kind of handler answers it: a name, the log, the counts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from tornado.httputil import HTTPServerRequest

from depproxy import __version__
from depproxy.handlers.access_log import Access, AccessLog
from depproxy.handlers.activity import Activity
from depproxy.metrics.requests import Requests

SERVER = f"depproxy/{__version__}"
"""What ``Server`` says."""


class Dates:
    """The time of day as ``Date`` has it, made once a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """RFC 9110, 5.6.7: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


class RequestIds:
    """Names for requests, by which a client's trouble is found in the log. They tell nobody how
    many there are."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - names, not secrets

    def new(self) -> str:
        """16 hexadecimal digits."""
        return f"{self._random.getrandbits(64):016x}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every request is told to, and marked with."""

    activity: Activity
    access_log: AccessLog
    dates: Dates
    ids: RequestIds
    requests: Requests

    def begin(self, request: HTTPServerRequest, kind: str) -> Access:
        """What is to be noted of a request of this kind when it has been answered."""
        return Access(
            self.ids.new(),
            request.remote_ip or "",
            request.method or "",
            request.path,
            kind=kind,
        )

    def note(self, access: Access) -> None:
        """A request has been answered."""
        self.access_log.note(access)
        self.requests.note(access.group, access.kind, access.cache, access.status, access.duration)
