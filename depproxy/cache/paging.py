"""Pages of tag lists: pure. OCI distribution specification 1.1, "Listing Tags"."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

MAX_PAGE = 1000
"""Tags of one page, whatever is asked for: what Docker Hub and Distribution give."""

_NEXT = re.compile(r'<([^>]*)>\s*;\s*(?:[^,<]*;\s*)?rel="?next"?', re.IGNORECASE)


class Page(NamedTuple):
    """``following`` is the query of the next page; empty on the last one."""

    tags: list[str]
    following: str


def clamped(query: Mapping[str, str]) -> dict[str, str]:
    """A query whose ``n`` is between 0 and `MAX_PAGE`; one that is no number is left out."""
    asked = dict(query)
    if "n" in asked:
        digits = asked["n"].strip()
        negative = digits.startswith("-")
        digits = digits.lstrip("+-")
        if digits.isascii() and digits.isdigit():
            number = int(digits) if len(digits) < 9 else MAX_PAGE
            asked["n"] = "0" if negative else str(min(number, MAX_PAGE))
        else:
            del asked["n"]
    return asked


def following_query(link: str) -> str:
    """The query of a ``Link`` header's next page (RFC 8288), decoded and encoded anew."""
    match = _NEXT.search(link)
    if not match:
        return ""
    return urlencode(parse_qsl(urlsplit(match[1]).query, keep_blank_values=True))


def paged(tags: list[str], following: str, query: Mapping[str, str]) -> Page:
    """The page that was asked for, of what an upstream answered.

    One that pages has said what follows, or has given the end, and no more than was asked for. One
    that does not gives everything each time: that is sorted, and cut here.
    """
    last, n = query.get("last"), query.get("n")
    limit = int(n) if n is not None else None
    if limit == 0:
        return Page([], "")
    ignores_last = last is not None and _begins_before(tags, last)
    ignores_n = limit is not None and len(tags) > limit
    if following or not (ignores_last or ignores_n or last is None):
        return Page(tags, following)
    ordered = sorted(set(tags))
    if last is not None:
        ordered = [tag for tag in ordered if tag > last]
    if limit is None or len(ordered) <= limit:
        return Page(ordered, "")
    page = ordered[:limit]
    return Page(page, urlencode({"n": limit, "last": page[-1]}))


def _begins_before(tags: list[str], last: str) -> bool:
    """Whether a list has what a page after ``last`` does not have. Of an upstream that sorts in
    another way than we do, only ``last`` itself tells."""
    return last in tags or (tags == sorted(tags) and any(tag < last for tag in tags))
