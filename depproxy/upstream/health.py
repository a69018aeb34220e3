"""How an upstream is doing, as one credential sees it: failing, limited, and what it says is left.

To be failing only shortens the way to stale answers. What has none to fall back to asks as ever,
but for the time that a 429 has asked to be spared.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)

_log = logging.getLogger(__name__)

FIRST_PAUSE = 10.0
"""Seconds for which a failing upstream is left alone: less would feel like no pause to a CI's
hundred jobs, more would keep a restarted registry waiting."""

LONGEST_PAUSE = 120.0
"""Seconds to which the pause doubles while probes fail."""

PROBE_LEASE = 60.0
"""Seconds after which a probe that nobody heard of again no longer keeps others from probing."""

_LIMIT = re.compile(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?", re.ASCII)

STATES = ("reachable", "failing", "limited")
"""What `Health.state` may be; ``limited``: it has asked to be spared."""

_ADVICE: dict[type[UpstreamError], str] = {
    UpstreamUnreachable: "check the network, name resolution, and its url, proxy and ca_file",
    UpstreamTimeout: "check the network and the proxy; its timeouts say how long is waited",
    UpstreamFailed: "that is for its operators to mend; a status page of theirs may tell more",
    UpstreamLimited: "give it a user with a higher limit, or its groups a revalidate_after",
}
"""What who runs this server can do."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What an upstream says of its limit, in requests; ``window`` in seconds, None if not told."""

    limit: int
    remaining: int
    window: int | None


class Health:
    """The state of one upstream for one credential. Times are of the monotonic clock."""

    def __init__(self, upstream: str, clock: Callable[[], float]) -> None:
        self.rate_limit: RateLimit | None = None
        self.last_error: UpstreamError | None = None
        self._upstream = upstream
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._until = 0.0
        self._limited_until = 0.0
        self._probing_until = 0.0
        self._failing_since: float | None = None

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.last_error is None:
            return "reachable"
        return "limited" if isinstance(self.last_error, UpstreamLimited) else "failing"

    def failing_for(self) -> float | None:
        """Seconds since the first of the failures that go on; None while all is well."""
        return None if self._failing_since is None else self._clock() - self._failing_since

    def reason_not_to_ask(self) -> UpstreamError | None:
        """Why a request that has a stale answer should not ask; None where it may.

        When the pause is over, the first to come may ask, and is the probe for all others.
        """
        if self.last_error is None:
            return None
        now = self._clock()
        if now < self._until or now < self._probing_until:
            return self.last_error
        self._probing_until = now + PROBE_LEASE
        return None

    def check_limit(self) -> None:
        """Raises `UpstreamLimited` while the upstream has asked to be spared."""
        left = self._limited_until - self._clock()
        if left > 0:
            raise UpstreamLimited(
                self._upstream,
                f"it limits the rate of requests (429), and is asked again in {left:.0f} s",
                max(1, round(left)),
            )

    def succeeded(self) -> None:
        """It has answered, whatever it said. Who is answered while it has asked to be spared had
        asked before, and may have waited long for the end of a blob: that changes nothing."""
        if self._clock() < self._limited_until:
            return
        if self._failing_since is not None:
            _log.info("%s answers again, after %.0f s", self._upstream, self.failing_for())
        self.last_error = None
        self._failing_since = None
        self._pause = FIRST_PAUSE
        self._until = self._limited_until = self._probing_until = 0.0

    def failed(self, error: UpstreamError) -> None:
        """It did not answer, or said that it cannot. Further failures within a pause, of requests
        that began before it, change nothing."""
        if not is_failure(error):
            self._probing_until = 0.0  # a probe that was told no has found out nothing for others
            return
        now = self._clock()
        wait = error.retry_after or 0 if isinstance(error, UpstreamLimited) else 0
        self._limited_until = max(self._limited_until, now + wait)
        if now >= self._until:
            if self.last_error is not None:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._until = now + self._pause
        self._until = max(self._until, now + wait)
        self._probing_until = 0.0
        self.last_error = error
        if self._failing_since is None:
            self._failing_since = now
            _log.warning("%s; what is cached is served meanwhile: %s", error, _advice(error))

    def note_rate_limit(self, limit: str | None, remaining: str | None) -> None:
        """Docker Hub's ``RateLimit-Limit`` and ``RateLimit-Remaining``, as ``100;w=21600``."""
        told, left = _LIMIT.fullmatch(limit or ""), _LIMIT.fullmatch(remaining or "")
        if told and left:
            window = int(told[2]) if told[2] else None
            self.rate_limit = RateLimit(int(told[1]), int(left[1]), window)


def _advice(error: UpstreamError) -> str:
    return next(text for kind, text in _ADVICE.items() if isinstance(error, kind))


def is_failure(error: UpstreamError) -> bool:
    """Whether an error says that the upstream is not well, and not only that it says no."""
    return isinstance(
        error, UpstreamUnreachable | UpstreamTimeout | UpstreamFailed | UpstreamLimited
    )
