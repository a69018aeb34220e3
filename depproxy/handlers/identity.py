"""Credentials as HTTP has them: RFC 7617 (Basic), RFC 6750 (Bearer). Pure."""

import base64
import binascii
from collections.abc import Mapping

from depproxy.access.visitor import Bearer, Password


def presented(headers: Mapping[str, str]) -> Password | Bearer | None:
    """What a request presents; None where it is nothing that can be read."""
    scheme, _, value = headers.get("Authorization", "").strip().partition(" ")
    match scheme.lower():
        case "basic":
            return _basic(value.strip())
        case "bearer":
            return Bearer(value.strip())
    return None


def presented_password(headers: Mapping[str, str]) -> Password | None:
    """As `presented`, where tokens are not taken."""
    found = presented(headers)
    return found if isinstance(found, Password) else None


def _basic(value: str) -> Password:
    """What cannot be decoded is a wrong password, not a missing one."""
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return Password("", "")
    user, _, password = decoded.partition(":")
    return Password(user, password)


def bearer_challenge(realm: str, service: str, scope: str, reason: str | None) -> str:
    """``WWW-Authenticate`` below ``/v2/``: Distribution's token specification, "How to
    authenticate". ``scope`` and ``reason`` are left out where they are empty."""
    fields = {"realm": realm, "service": service, "scope": scope, "error": reason}
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items() if value)


BASIC_CHALLENGE = 'Basic realm="depproxy"'
"""``WWW-Authenticate`` everywhere else."""
