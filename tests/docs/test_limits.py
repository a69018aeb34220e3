"""The limits in ``docs/reference.md`` are those of the code: the table is made from them."""

import pytest

from depproxy.access.htpasswd import MAX_COST, MAX_PASSWORD
from depproxy.access.sessions import SESSION_LIFETIME
from depproxy.access.users_file import _MAX_SIZE
from depproxy.cache.meter import HOURS_KEPT
from depproxy.cache.paging import MAX_PAGE
from depproxy.errors import TagInvalid
from depproxy.handlers.api import _MOST_PER_PAGE
from depproxy.handlers.forms import _MAX_FORM
from depproxy.handlers.pages.group import _PER_PAGE
from depproxy.handlers.token import _MAX_SCOPES
from depproxy.oci.manifest import MAX_MANIFEST
from depproxy.oci.names import MAX_COMPONENT, MAX_NAME, Tag
from depproxy.serving.bodies import MAX_DROPPED
from depproxy.serving.entrance import IDLE_TIMEOUT
from depproxy.serving.http_server import BODY_TIMEOUT, MAX_HEADER
from depproxy.serving.streams import SLOWEST_CLIENT
from depproxy.store.lists import _MAX_KEPT, MAX_LIST
from depproxy.upstream.conversation import MAX_REDIRECTS
from depproxy.upstream.credentials import _MAX_PASSWORD
from depproxy.upstream.exchange import MAX_HEADER_BYTES
from tests.tables import assert_documented

LONGEST_TAG = 128


def size(amount: int) -> str:
    """Bytes in whole units."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if amount % factor == 0:
            return f"{amount // factor} {unit}"
    return f"{amount} bytes"


LIMITS = [
    ("name of a group or an image", f"{MAX_NAME} characters, {MAX_COMPONENT} a segment"),
    ("tag", f"{LONGEST_TAG} characters"),
    ("manifest", size(MAX_MANIFEST)),
    (
        "list of tags or referrers",
        f"{size(MAX_LIST)} an answer; tags {MAX_PAGE} a page, where `n` is given",
    ),
    ("lists kept", f"{_MAX_KEPT} an image"),
    ("entries of a page of what is cached", str(_MOST_PER_PAGE)),
    ("hours of which counters are kept", str(HOURS_KEPT)),
    ("password of an upstream", size(_MAX_PASSWORD)),
    ("password of a user", size(MAX_PASSWORD)),
    ("users' file", f"{size(_MAX_SIZE)}, bcrypt cost {MAX_COST}"),
    ("form for a token, or of a page", size(_MAX_FORM)),
    (
        "what is read of another body",
        f"{size(MAX_DROPPED)}, {BODY_TIMEOUT:.0f} seconds; none is kept",
    ),
    ("session on the pages", f"{SESSION_LIFETIME / 3600:.0f} hours"),
    ("images of a page", str(_PER_PAGE)),
    ("scopes of a token", f"{_MAX_SCOPES}; others are left out"),
    ("redirects in a row", str(MAX_REDIRECTS)),
    ("head of a request", size(MAX_HEADER)),
    ("head of an upstream's answer", size(MAX_HEADER_BYTES)),
    ("idle connection of a client", f"{IDLE_TIMEOUT:.0f} seconds, then it is closed"),
    (
        "client that takes no byte of what is sent",
        f"{SLOWEST_CLIENT:.0f} seconds, then it is cut",
    ),
]


def test_the_table_of_limits_has_the_values_of_the_code() -> None:
    assert_documented("reference.md", "limits", ("what", "at most"), LIMITS)


def test_a_tag_may_be_as_long_as_the_table_says_and_no_longer() -> None:
    Tag.parse("a" * LONGEST_TAG)
    with pytest.raises(TagInvalid):
        Tag.parse("a" * (LONGEST_TAG + 1))
