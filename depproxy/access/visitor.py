"""Who makes a request, by what he presented."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Password:
    """A user's name with a password, as Basic credentials or in a form."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Password({self.user!r}, …)"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token of ours, or what claims to be one."""

    token: str

    def __repr__(self) -> str:
        return "Bearer(…)"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Nobody in particular, a user, or whoever holds the admin token.

    ``repositories`` are those that a token is good for; None where nothing limits the visitor.
    ``is_vouched``: what he presented is right, if only an anonymous token. ``is_doubtful``: he
    presented a token that is not.
    """

    user: str = ""
    is_admin: bool = False
    repositories: frozenset[str] | None = None
    is_vouched: bool = False
    is_doubtful: bool = False


ANONYMOUS = Visitor()
ADMIN = Visitor(is_admin=True, is_vouched=True)
