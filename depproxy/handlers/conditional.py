"""Conditional requests on content that is named by its digest: RFC 9110, section 13."""

import re

from depproxy.oci.digest import Digest

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


def etag(digest: Digest) -> str:
    """A strong validator: the digest itself."""
    return f'"{digest}"'


def is_known(if_none_match: str | None, digest: Digest) -> bool:
    """Whether the client has this content already (weak comparison, 13.1.2)."""
    if not if_none_match:
        return False
    return if_none_match.strip() == "*" or str(digest) in _ETAG.findall(if_none_match)


def range_applies(if_range: str | None, digest: Digest) -> bool:
    """Whether a ``Range`` is to be honoured (strong comparison, 13.1.5)."""
    return if_range is None or if_range.strip() == etag(digest)
