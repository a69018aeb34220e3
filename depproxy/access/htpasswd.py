"""The grammar of an htpasswd file: ``user:hash`` a line, bcrypt hashes only. Pure.

Apache's documentation calls the format "bcrypt": https://httpd.apache.org/docs/2.4/misc/password_encryptions.html
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from depproxy.config.values import is_user

MAX_COST = 16
"""The highest work factor (a power of two) that is taken: 17 takes a core for many seconds."""

MAX_PASSWORD = 72
"""Bytes of a password that bcrypt looks at."""

_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class UserList:
    """What a file says. ``problems`` are its wrong lines, which count for nobody."""

    hashes: Mapping[str, str]
    problems: tuple[str, ...] = ()


def parse_users(text: str) -> UserList:
    """Empty lines and comments are skipped. Of two lines for one user the first counts, as for
    Apache."""
    hashes: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        user, _, stored = content.partition(":")
        if not is_user(user):
            problems.append(f"line {number}: expected user:hash")
        elif user in hashes:
            problems.append(f"line {number}: {user} stands here twice")
        elif not _is_usable(stored):
            problems.append(
                f"line {number}: expected a bcrypt hash of {user} with a cost of at most"
                f" {MAX_COST}; 'depproxy passwd {user}' writes one"
            )
        else:
            hashes[user] = stored
    return UserList(hashes, tuple(problems))


def has_user(text: str, user: str) -> bool:
    """Whether a line is about the user, right or wrong."""
    return any(line.strip().partition(":")[0] == user for line in text.split("\n"))


def is_of_another_kind(text: str) -> bool:
    """Whether a line has more fields than a user and a hash, of whatever kind: ``/etc/passwd`` and
    files of htdigest have."""
    return any(line.count(":") > 1 for line in text.split("\n") if not line.startswith("#"))


def cost(stored: str) -> int:
    """The work factor of a bcrypt hash."""
    return int(stored[4:6])


def with_user(text: str, user: str, stored: str | None) -> str:
    """The file with the user's line changed or added; with None, without it."""
    lines = list(_without(text, user))
    if stored is not None:
        lines.append(f"{user}:{stored}")
    return "".join(f"{line}\n" for line in lines)


def _without(text: str, user: str) -> Iterator[str]:
    lines = text.split("\n") if text else []
    if lines and not lines[-1]:
        lines.pop()
    return (line for line in lines if line.strip().partition(":")[0] != user)


def _is_usable(stored: str) -> bool:
    return bool(_BCRYPT.fullmatch(stored)) and 4 <= cost(stored) <= MAX_COST
