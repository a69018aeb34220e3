"""Errors as answers: the one table from an error's class to its status and OCI error code.

Codes: OCI distribution specification 1.1, "Error Codes", and Distribution's for what that lacks.
"""

import json
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import NamedTuple

from depproxy import errors


class Verdict(NamedTuple):
    """A status of HTTP, and a code for the OCI envelope."""

    status: int
    code: str


VERDICTS: dict[type[errors.DepproxyError], Verdict] = {
    errors.NameInvalid: Verdict(400, "NAME_INVALID"),
    errors.TagInvalid: Verdict(400, "TAG_INVALID"),
    errors.DigestInvalid: Verdict(400, "DIGEST_INVALID"),
    errors.NameUnknown: Verdict(404, "NAME_UNKNOWN"),
    errors.GroupUnknown: Verdict(404, "NAME_UNKNOWN"),
    errors.NothingHere: Verdict(404, "NAME_UNKNOWN"),
    errors.NoMirror: Verdict(404, "NAME_UNKNOWN"),
    errors.ManifestUnknown: Verdict(404, "MANIFEST_UNKNOWN"),
    errors.BlobUnknown: Verdict(404, "BLOB_UNKNOWN"),
    errors.RangeUnsatisfiable: Verdict(416, "RANGE_INVALID"),
    errors.ShuttingDown: Verdict(503, "UNAVAILABLE"),
    errors.Denied: Verdict(403, "DENIED"),
    errors.Unauthenticated: Verdict(401, "UNAUTHORIZED"),
    errors.NotPermitted: Verdict(403, "DENIED"),
    errors.TooManyAttempts: Verdict(429, "TOOMANYREQUESTS"),
    errors.UpstreamNotFound: Verdict(404, "NAME_UNKNOWN"),
    errors.UpstreamRefused: Verdict(404, "NAME_UNKNOWN"),
    errors.UpstreamLimited: Verdict(429, "TOOMANYREQUESTS"),
    errors.UpstreamFailed: Verdict(502, "UNAVAILABLE"),
    errors.UpstreamUnreachable: Verdict(502, "UNAVAILABLE"),
    errors.UpstreamTimeout: Verdict(504, "UNAVAILABLE"),
    errors.UpstreamCannotResume: Verdict(502, "UNAVAILABLE"),
    errors.UpstreamSenseless: Verdict(502, "UNAVAILABLE"),
    errors.ManifestRefused: Verdict(502, "MANIFEST_INVALID"),
    errors.ContentMismatch: Verdict(502, "UNAVAILABLE"),
    errors.StoreError: Verdict(503, "UNAVAILABLE"),
    errors.StoreFull: Verdict(503, "UNAVAILABLE"),
    errors.StorePurged: Verdict(503, "UNAVAILABLE"),
}
"""Complete: a test holds it against the tree in `depproxy.errors`."""

_BY_STATUS = {404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 501: "UNSUPPORTED"}
"""Codes for what Tornado itself refuses."""


def verdict(error: BaseException | None, status: int) -> Verdict:
    """The verdict on an error; ``status`` stands for what is not in the table."""
    for kind in type(error).__mro__:
        if kind in VERDICTS:
            return VERDICTS[kind]
    return Verdict(status, _BY_STATUS.get(status, "UNKNOWN"))


def error_headers(
    error: BaseException | None, challenge: Callable[[str | None], str]
) -> dict[str, str]:
    """What an answer to this error carries beside its message. ``challenge`` makes a
    ``WWW-Authenticate`` of what is wrong with the token that came."""
    headers = {}
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = challenge(error.reason)
    if isinstance(error, errors.UpstreamLimited | errors.TooManyAttempts) and error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.RangeUnsatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return headers


def explained(error: BaseException | None, status: int, method: str, verbs: Collection[str]) -> str:
    """What a person is told; ``verbs`` are those that are answered here."""
    if isinstance(error, errors.DepproxyError):
        return str(error)
    if status == 405:
        return f"{method} is not supported here: use {' or '.join(verbs)}"
    if status >= 500:
        return "the server failed; its log says why"
    return reason_of(status).lower()


def reason_of(status: int) -> str:
    """The words behind a status: RFC 9110, section 15."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def oci_envelope(code: str, message: str) -> bytes:
    """The error body of the distribution specification. There is no ``detail``: the message says
    everything to the person who reads it."""
    return json.dumps(
        {"errors": [{"code": code, "message": message, "detail": None}]}, ensure_ascii=False
    ).encode()
