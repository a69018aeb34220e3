"""Sessions of the pages: a cookie that says who has signed in, and a word that each form carries.

Both are signed with keys of their own, derived from ``token_key``: no token of a client is a
session, nor the other way round.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import jwt

SESSION_LIFETIME = 12 * 3600
"""Seconds after which one has to sign in again: a working day, and not the next one."""

_ALGORITHM = "HS256"
_AUDIENCE = "pages"

_SESSIONS = b"depproxy: sessions of the pages"
_FORMS = b"depproxy: forms of the pages"


@dataclass(frozen=True, slots=True)
class Session:
    """``user`` is empty for the holder of the admin token; ``mark`` tells one password from the
    next without telling either; ``ends`` is in seconds since 1970."""

    user: str
    mark: str
    name: str
    ends: float


class Sessions:
    """Begins, reads and ends sessions. ``clock`` is the time of day, in seconds."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._key = hmac.digest(secret.encode(), _SESSIONS, "sha256")
        self._forms_key = hmac.digest(secret.encode(), _FORMS, "sha256")
        self._clock = clock
        self._ended: dict[str, float] = {}

    def rest_on(self, secret: str) -> bool:
        """Whether this is the secret that they are signed with."""
        key = hmac.digest(secret.encode(), _SESSIONS, "sha256")
        return hmac.compare_digest(key, self._key)

    def begin(self, user: str, credential: str) -> str:
        """The cookie of a session that rests on ``credential``: a password's hash, or what stands
        for the admin token."""
        now = int(self._clock())
        claims = {
            "aud": _AUDIENCE,
            "sub": user,
            "jti": secrets.token_urlsafe(12),
            "exp": now + SESSION_LIFETIME,
            "mark": self.mark(user, credential),
        }
        return jwt.encode(claims, self._key, _ALGORITHM)

    def read(self, text: str) -> Session | None:
        """What a cookie says; None where it is not ours, altered, expired or ended."""
        session = self._verified(text)
        if session is None or session.ends <= self._clock() or session.name in self._ended:
            return None
        return session

    def end(self, text: str) -> None:
        """Let a session count no more, also for who has kept the cookie."""
        session = self.read(text)
        now = self._clock()
        self._ended = {name: ends for name, ends in self._ended.items() if ends > now}
        if session:
            self._ended[session.name] = session.ends

    def mark(self, user: str, credential: str) -> str:
        """Differs when the credential does."""
        return hmac.digest(self._key, f"{user}\0{credential}".encode(), "sha256")[:12].hex()

    def form_word(self, seed: str) -> str:
        """What a form has to bring back; ``seed`` is a secret of its visitor's browser."""
        return hmac.digest(self._forms_key, seed.encode(), "sha256").hex()

    def is_form_word(self, seed: str, presented: str) -> bool:
        """Whether a form is one that we gave to this browser."""
        expected = self.form_word(seed)
        return hmac.compare_digest(expected.encode(), presented.encode("utf-8", "replace"))

    def _verified(self, text: str) -> Session | None:
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={
                    "require": ["aud", "sub", "jti", "exp", "mark"],
                    "verify_exp": False,  # by our own clock, above
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        match claims:
            case {"sub": str(user), "jti": str(name), "exp": int() as ends, "mark": str(mark)}:
                return Session(user, mark, name, ends)
        return None
