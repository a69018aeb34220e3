"""Bearer tokens of upstreams, kept until they expire."""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEFAULT_LIFETIME = 60
"""Seconds; what a token answer without ``expires_in`` means by the specification."""

_MARGIN = 5.0
"""Seconds before its end at which a token counts as expired: a request takes time to arrive."""

_AGED = 60.0
"""Seconds: a refusal of a younger token is meant for the request."""

_MAX_KEPT = 10_000
"""Tokens of one upstream; Docker Hub wants one for every repository."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What a token was given for; the identity is whoever asked (None: anonymous)."""

    identity: str | None
    realm: str
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class Token:
    """``obtained`` and ``expires`` are times of the monotonic clock in seconds."""

    value: str = field(repr=False)
    obtained: float
    expires: float


class TokenJar:
    """The tokens of one upstream, and which of them its repositories asked for last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.wants_basic = False
        """Whether the upstream was last content with a user name and password."""
        self._clock = clock
        self._tokens: OrderedDict[TokenKey, Token] = OrderedDict()
        self._wanted: OrderedDict[tuple[str | None, str], TokenKey] = OrderedDict()

    def get(self, key: TokenKey) -> Token | None:
        """The token for ``key``, unless it is about to expire."""
        token = self._tokens.get(key)
        if token and token.expires > self._clock():
            return token
        self._tokens.pop(key, None)
        return None

    def is_aged(self, token: Token) -> bool:
        """Whether a token has been kept for so long that the upstream may have forgotten it."""
        return self._clock() - token.obtained >= _AGED

    def put(self, key: TokenKey, token: Token) -> None:
        self._tokens[key] = token
        _bound(self._tokens)

    def drop(self, key: TokenKey) -> None:
        """Forget a token that was refused."""
        self._tokens.pop(key, None)

    def expected(self, identity: str | None, scope: str) -> TokenKey | None:
        """Which token the upstream asked for when it was last asked for ``scope``."""
        return self._wanted.get((identity, scope))

    def expect(self, identity: str | None, scope: str, key: TokenKey) -> None:
        self._wanted[identity, scope] = key
        _bound(self._wanted)

    def read(self, body: bytes) -> Token:
        """A token service's answer. Raises ValueError for one that holds no token."""
        try:
            document: Any = json.loads(body)
        except RecursionError as exc:
            raise ValueError("nested too deeply") from exc
        value = (
            (document.get("token") or document.get("access_token"))
            if isinstance(document, dict)
            else None
        )
        if (
            not isinstance(value, str)
            or not value
            or not value.isascii()
            or not value.isprintable()
        ):
            raise ValueError("no token in it")
        lifetime = document.get("expires_in")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
            lifetime = DEFAULT_LIFETIME
        now = self._clock()
        return Token(value, obtained=now, expires=now + max(1.0, min(lifetime, 86400) - _MARGIN))


def _bound(mapping: OrderedDict[Any, Any]) -> None:
    while len(mapping) > _MAX_KEPT:
        mapping.popitem(last=False)
