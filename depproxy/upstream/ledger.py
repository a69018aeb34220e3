"""What is asked of upstreams and how they answer, counted for who watches over the server."""

from depproxy.errors import (
    DepproxyError,
    UpstreamCannotResume,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamSenseless,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.tallies import Distribution, Samples, Tally

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: from a registry in the same rack to the default of ``stall_timeout``."""

REASONS = tuple(
    error.word
    for error in (
        UpstreamRefused,
        UpstreamLimited,
        UpstreamFailed,
        UpstreamUnreachable,
        UpstreamTimeout,
        UpstreamCannotResume,
        UpstreamSenseless,
    )
)
"""Why a question brings nothing, but for what is not there: that is an answer."""

_STATUS_REASONS = {
    **dict.fromkeys((401, 403, 451), UpstreamRefused.word),
    429: UpstreamLimited.word,
}


class Ledger:
    """Counts since the start, of all upstreams, whoever they were asked as. Lives on the event
    loop."""

    def __init__(self) -> None:
        self.answers = Tally()
        """By upstream and class of status, as ``2xx``."""
        self.errors = Tally()
        """By upstream and reason."""
        self._latencies: dict[str, Distribution] = {}

    def answered(self, upstream: str, status: int, seconds: float) -> None:
        """The head of an answer has come, so long after the request."""
        self.answers[upstream, f"{status // 100}xx"] += 1
        latencies = self._latencies.get(upstream)
        if latencies is None:
            latencies = self._latencies[upstream] = Distribution(BOUNDS)
        latencies.add(seconds)

    def concluded(self, upstream: str, status: int) -> None:
        """This is the last answer to a question, with whatever tokens and redirects it took."""
        reason = UpstreamFailed.word if status >= 500 else _STATUS_REASONS.get(status)
        if reason:
            self.errors[upstream, reason] += 1

    def failed(self, upstream: str, error: DepproxyError) -> None:
        """A question has brought no answer."""
        word = error.word if error.word in REASONS else UpstreamSenseless.word
        self.errors[upstream, word] += 1

    def latencies(self) -> Samples:
        """By upstream."""
        told: dict[tuple[str, ...], float] = {}
        for upstream, distribution in dict(self._latencies).items():
            told |= distribution.samples((upstream,))
        return told
