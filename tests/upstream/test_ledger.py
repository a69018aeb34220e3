"""What upstreams answer, and why they do not."""

import pytest

from depproxy.errors import (
    ContentMismatch,
    UpstreamError,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.upstream.ledger import REASONS, Ledger

HUB = "docker.io"


def test_answers_are_counted_by_class_and_timed() -> None:
    ledger = Ledger()
    for status, seconds in ((200, 0.02), (206, 0.3), (404, 0.02)):
        ledger.answered(HUB, status, seconds)
    assert ledger.answers == {(HUB, "2xx"): 2, (HUB, "4xx"): 1}
    assert ledger.latencies()[HUB, "0.025"] == 2
    assert ledger.latencies()[HUB, "+Inf"] == 3


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "refused"),
        (403, "refused"),
        (429, "limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_an_answer_that_is_an_error_has_a_reason(status: int, reason: str) -> None:
    ledger = Ledger()
    ledger.concluded(HUB, status)
    assert ledger.errors == {(HUB, reason): 1}


@pytest.mark.parametrize("status", [200, 206, 404, 416])
def test_what_is_not_there_is_no_error(status: int) -> None:
    ledger = Ledger()
    ledger.concluded(HUB, status)
    assert not ledger.errors


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UpstreamUnreachable(HUB, ""), "unreachable"),
        (UpstreamTimeout(HUB, ""), "timeout"),
        (UpstreamLimited(HUB, ""), "limited"),
        (ContentMismatch(HUB, ""), "senseless"),
        (UpstreamNotFound(HUB, ""), "senseless"),
    ],
)
def test_reasons_are_few(error: UpstreamError, reason: str) -> None:
    ledger = Ledger()
    ledger.failed(HUB, error)
    assert ledger.errors == {(HUB, reason): 1}
    assert reason in REASONS
