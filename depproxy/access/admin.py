"""The admin token: one secret that may purge every group."""

import hashlib
import hmac


class AdminToken:
    """Compares in a time that does not tell how much was right."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def is_right(self, presented: str | None) -> bool:
        """Whether ``presented`` is the token; None and the empty text never are."""
        given = (presented or "").strip().encode("utf-8", "surrogateescape")
        return bool(given) and hmac.compare_digest(given, self._secret)

    def fingerprint(self) -> str:
        """Tells this token from another one, and nothing else: it has too many bits to be
        guessed."""
        return hashlib.sha256(self._secret).hexdigest()

    def __repr__(self) -> str:
        return "AdminToken(…)"
