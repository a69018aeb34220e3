"""Tokens of clients: JWT (RFC 7519), signed with HMAC-SHA-256 and nothing else.

The claim ``access`` is that of Distribution's token specification:
https://distribution.github.io/distribution/spec/auth/jwt/
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import jwt

SERVICE = "dependency_proxy"
"""The audience of every token."""

_ALGORITHM = "HS256"

_MAX_VERIFIED = 4096
"""Tokens whose signature was found right: clients present one many times. What they rest on is
asked each time all the same."""

_PURPOSE = b"depproxy: tokens of clients"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """``issued_at`` is in seconds since 1970, ``expires_in`` in seconds."""

    text: str
    issued_at: int
    expires_in: int


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that is ours and has not expired says. ``user`` is empty for anonymous ones;
    ``password`` tells one password of a user from the next without telling either."""

    user: str
    password: str
    repositories: frozenset[str]


class Tokens:
    """Issues and reads tokens of one server. ``clock`` is the time of day, in seconds."""

    def __init__(
        self, secret: str, issuer: str, lifetime: float, clock: Callable[[], float]
    ) -> None:
        """``lifetime`` is in seconds, ``issuer`` the server's URL."""
        self._key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
        self._issuer = issuer
        self._lifetime = int(lifetime)
        self._clock = clock
        self._verified: OrderedDict[str, tuple[float, Claims]] = OrderedDict()

    def issue(self, user: str, stored_hash: str, repositories: Collection[str]) -> IssuedToken:
        """A token for a user (the empty name: for anybody) that lets him pull ``repositories``."""
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": SERVICE,
            "sub": user,
            "iat": now,
            "exp": now + self._lifetime,
            "password": self.password_mark(user, stored_hash),
            "access": [
                {"type": "repository", "name": name, "actions": ["pull"]} for name in repositories
            ],
        }
        return IssuedToken(jwt.encode(claims, self._key, _ALGORITHM), now, self._lifetime)

    def read(self, text: str) -> Claims | None:
        """What a token says; None where it is not ours, not for us, altered or expired."""
        known = self._verified.get(text)
        if known is None:
            known = self._verify(text)
            if known is None:
                return None
            self._verified[text] = known
            if len(self._verified) > _MAX_VERIFIED:
                self._verified.popitem(last=False)
        end, claims = known
        return claims if end > self._clock() else None

    def _verify(self, text: str) -> tuple[float, Claims] | None:
        """When a token of ours ends, and what it says."""
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=SERVICE,
                issuer=self._issuer,
                options={
                    "require": ["iss", "aud", "sub", "exp", "access", "password"],
                    "verify_exp": False,  # by our own clock, above
                    "verify_iat": False,  # a clock that was set back makes no token bad
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        match claims:
            case {
                "sub": str(user),
                "exp": int() | float() as end,
                "password": str(password),
                "access": list(access),
            }:
                names = [entry.get("name") if isinstance(entry, dict) else None for entry in access]
                if all(isinstance(name, str) for name in names):
                    return end, Claims(user, password, frozenset(map(str, names)))
        return None

    def password_mark(self, user: str, stored_hash: str) -> str:
        """Differs when the password does; empty for anonymous tokens."""
        if not user:
            return ""
        return hmac.digest(self._key, f"{user}\0{stored_hash}".encode(), "sha256")[:12].hex()
