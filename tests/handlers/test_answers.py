"""Errors as answers: every error has a verdict, and every body is the specification's envelope."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy import errors
from depproxy.handlers.answers import VERDICTS, Verdict, explained, oci_envelope, verdict

NEVER_ANSWERED = {
    errors.DepproxyError,
    errors.ConfigError,
    errors.InvalidRequest,
    errors.Unknown,
    errors.UpstreamError,
    errors.AccessError,
    errors.UsersFileError,
}
"""Names of branches, what stops the start before anybody can ask, and what only commands meet."""


def family(kind: type[errors.DepproxyError]) -> Iterator[type[errors.DepproxyError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


VOCABULARY = {kind for kind in family(errors.DepproxyError) if kind.__module__ == errors.__name__}


def test_every_error_that_can_be_answered_has_a_verdict() -> None:
    assert set(VERDICTS) == VOCABULARY - NEVER_ANSWERED


@pytest.mark.parametrize("kind", sorted(VOCABULARY, key=str))
def test_every_error_stands_in_the_tree_that_is_drawn(kind: type[errors.DepproxyError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "").split()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NameInvalid("x"), (400, "NAME_INVALID")),
        (errors.TagInvalid("x"), (400, "TAG_INVALID")),
        (errors.DigestInvalid("x"), (400, "DIGEST_INVALID")),
        (errors.NameUnknown("x"), (404, "NAME_UNKNOWN")),
        (errors.ManifestUnknown("x"), (404, "MANIFEST_UNKNOWN")),
        (errors.BlobUnknown("x"), (404, "BLOB_UNKNOWN")),
        (errors.RangeUnsatisfiable(5), (416, "RANGE_INVALID")),
        (errors.Denied("x"), (403, "DENIED")),
        (errors.UpstreamRefused("u", "x"), (404, "NAME_UNKNOWN")),
        (errors.UpstreamLimited("u", "x", 5), (429, "TOOMANYREQUESTS")),
        (errors.StoreFull("x"), (503, "UNAVAILABLE")),
    ],
)
def test_an_error_has_its_status_and_code(
    error: errors.DepproxyError, expected: tuple[int, str]
) -> None:
    assert verdict(error, 500) == expected


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UpstreamNotFound("u", "x"), 404),
        (errors.UpstreamFailed("u", "x", 500), 502),
        (errors.UpstreamUnreachable("u", "x"), 502),
        (errors.UpstreamCannotResume("u", "x"), 502),
        (errors.UpstreamSenseless("u", "x"), 502),
        (errors.ManifestRefused("u", "x"), 502),
        (errors.ContentMismatch("u", "x"), 502),
        (errors.UpstreamTimeout("u", "x"), 504),
        (errors.StoreError("x"), 503),
        (errors.StorePurged("x"), 503),
    ],
)
def test_a_failure_behind_us_has_a_status_of_its_own(
    error: errors.DepproxyError, status: int
) -> None:
    assert verdict(error, 500).status == status


def test_a_more_special_error_has_its_nearest_ancestors_verdict() -> None:
    class LayerUnknown(errors.BlobUnknown):
        pass

    assert verdict(LayerUnknown("x"), 500) == Verdict(404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("verbs", "advice"), [(["GET"], "use GET"), (["GET", "HEAD"], "use GET or HEAD")]
)
def test_who_uses_another_verb_is_told_which_to_use(verbs: list[str], advice: str) -> None:
    assert explained(None, 405, "PUT", verbs) == f"PUT is not supported here: {advice}"


@pytest.mark.parametrize(
    ("status", "code"), [(404, "NAME_UNKNOWN"), (405, "UNSUPPORTED"), (500, "UNKNOWN")]
)
@pytest.mark.parametrize("error", [None, RuntimeError("x")])
def test_what_is_no_error_of_ours_keeps_its_status(
    error: Exception | None, status: int, code: str
) -> None:
    assert verdict(error, status) == Verdict(status, code)


@given(st.text(), st.text())
def test_an_error_body_is_a_list_of_one_code_message_and_empty_detail(
    code: str, message: str
) -> None:
    assert json.loads(oci_envelope(code, message)) == {
        "errors": [{"code": code, "message": message, "detail": None}]
    }


def test_an_error_body_is_read_by_people() -> None:
    assert "schöne Grüße".encode() in oci_envelope("DENIED", "schöne Grüße")
