"""What is said to a registry to get one thing: challenge, token, redirects. Pure: a generator
yields requests and is sent answers, so every rule can be tested without a socket.

Token protocol: https://distribution.github.io/distribution/spec/auth/token/
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamSenseless,
)
from depproxy.upstream.challenge import Challenge, parse_challenges
from depproxy.upstream.messages import Answer, Head, Origin, Request
from depproxy.upstream.tokens import Token, TokenJar, TokenKey

MAX_REDIRECTS = 5
"""Docker Hub needs one, cloud storage two; a loop should end soon."""

_REDIRECTS = (301, 302, 303, 307, 308)


class Purpose(Enum):
    """What the body of an answer would be: the thing itself, or a token for it."""

    RESOURCE = "resource"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Step:
    """A request to be sent now, and what its answer is wanted for."""

    request: Request
    purpose: Purpose = Purpose.RESOURCE


class Login(Protocol):
    """Who we are at an upstream."""

    username: str

    def basic(self) -> str:
        """The value of ``Authorization``. Raises OSError where there is no password."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What an upstream's configuration allows."""

    upstream: str
    origin: Origin
    trusted_realms: tuple[str, ...]
    login: Login | None = None

    @property
    def identity(self) -> str | None:
        """Who tokens are given to; None: anybody."""
        return self.login.username if self.login else None


Conversation = Generator[Step, Answer, Answer]


def converse(request: Request, scope: str, rules: Rules, jar: TokenJar) -> Conversation:
    """Ask for ``request``, with a token if need be, and follow its redirects.

    ``scope`` is what a token would be for. Returns the last answer, whatever its status.

    Raises `UpstreamSenseless` where following would be unsafe, and what `refusal` says of a
    token service.
    """
    answer = yield from _authorized(request, scope, rules, jar)
    for _ in range(MAX_REDIRECTS):
        if answer.status not in _REDIRECTS:
            return answer
        request = _redirected(request, answer.head, rules)
        if request.foreign:
            answer = yield Step(request)
        else:
            answer = yield from _authorized(request, scope, rules, jar)
    if answer.status in _REDIRECTS:
        raise UpstreamSenseless(rules.upstream, f"more than {MAX_REDIRECTS} redirects in a row")
    return answer


def _authorized(request: Request, scope: str, rules: Rules, jar: TokenJar) -> Conversation:
    """One request to the upstream itself: as it wanted it last time, then as it wants it now."""
    key = jar.expected(rules.identity, scope)
    token = jar.get(key) if key else None
    by_password = token is None and jar.wants_basic and rules.login
    authorization = _basic(by_password, rules) if by_password else _bearer(token)
    answer = yield Step(request.with_authorization(authorization))
    challenges = _challenges(answer)
    if "bearer" in challenges:
        key = _token_key(challenges["bearer"], scope, rules)
        jar.expect(rules.identity, scope, key)
        other = jar.get(key)
        if other and other != token:
            token = other
            answer = yield Step(request.with_authorization(_bearer(token)))
    elif "basic" in challenges and rules.login and not by_password:
        answer = yield Step(request.with_authorization(_basic(rules.login, rules)))
        jar.wants_basic = answer.status != 401
        return answer
    if not key or not _wants_fresh_token(answer, token, jar):
        return answer
    jar.drop(key)
    fresh = yield from _fetch_token(key, rules, jar)
    return (yield Step(request.with_authorization(_bearer(fresh))))


def _wants_fresh_token(answer: Answer, token: Token | None, jar: TokenJar) -> bool:
    """401, with a challenge; or, as ECR has it, 400 or 403 to a token that has aged."""
    if answer.status == 401:
        return "bearer" in _challenges(answer)
    return answer.status in (400, 403) and token is not None and jar.is_aged(token)


def _fetch_token(key: TokenKey, rules: Rules, jar: TokenJar) -> Generator[Step, Answer, Token]:
    query = {"service": key.service, "scope": key.scope}
    realm, _, _ = key.realm.partition("#")
    separator = "&" if urlsplit(realm).query else "?"
    url = realm + separator + urlencode({k: v for k, v in query.items() if v})
    request = Request("GET", url, {"Accept": "application/json"})
    if rules.login:
        request = request.with_authorization(_basic(rules.login, rules))
    answer = yield Step(request, Purpose.TOKEN)
    who = f"its token service {Origin.of(url).host}"
    if answer.status != 200:
        error = refusal(rules.upstream, answer.head, who)
        if isinstance(error, UpstreamNotFound):
            # A wrong realm must not make every image look as if it did not exist.
            error = UpstreamSenseless(rules.upstream, f"{who} is not there ({answer.status})")
        raise error
    try:
        token = jar.read(answer.body)
    except ValueError as exc:
        raise UpstreamSenseless(rules.upstream, f"{who} answers without a token") from exc
    jar.put(key, token)
    return token


def _basic(login: Login, rules: Rules) -> str:
    try:
        return login.basic()
    except OSError as exc:
        raise UpstreamRefused(
            rules.upstream,
            f"its password cannot be read ({exc.strerror or exc}): check password_file",
        ) from exc


def _bearer(token: Token | None) -> str | None:
    return f"Bearer {token.value}" if token else None


def _challenges(answer: Answer) -> dict[str, Challenge]:
    """The challenges of a 401 by their schemes; a Bearer one without a realm is none."""
    if answer.status != 401:
        return {}
    found: dict[str, Challenge] = {}
    for challenge in parse_challenges(answer.headers.get_list("WWW-Authenticate")):
        if challenge.scheme != "bearer" or challenge.parameters.get("realm"):
            found.setdefault(challenge.scheme, challenge)
    return found


def _token_key(challenge: Challenge, scope: str, rules: Rules) -> TokenKey:
    realm = challenge.parameters["realm"]
    try:
        origin = Origin.of(realm)
    except ValueError as exc:
        raise UpstreamSenseless(rules.upstream, "its token realm is no http or https URL") from exc
    if origin.scheme == "http" and rules.origin.scheme == "https":
        raise UpstreamSenseless(
            rules.upstream,
            f"its token realm {origin.host} is http, though the upstream is https: it is not asked",
        )
    if origin.host != rules.origin.host and origin.host not in rules.trusted_realms:
        raise UpstreamSenseless(
            rules.upstream,
            f"its token realm is on another host, {origin.host}; if that is right, add it to"
            f" upstreams.{rules.upstream}.trusted_realms",
        )
    return TokenKey(
        rules.identity,
        realm,
        challenge.parameters.get("service", ""),
        challenge.parameters.get("scope", scope),
    )


def _redirected(request: Request, head: Head, rules: Rules) -> Request:
    try:
        target = urljoin(request.url, head.headers["Location"]).partition("#")[0]
        here, there = Origin.of(request.url), Origin.of(target)
    except (KeyError, ValueError) as exc:
        raise UpstreamSenseless(rules.upstream, "it redirects to nowhere") from exc
    if here.scheme == "https" and there.scheme == "http":
        raise UpstreamSenseless(
            rules.upstream, f"it redirects from https to http ({there.host}): that is not followed"
        )
    foreign = there != rules.origin
    redirected = replace(request, url=target, foreign=foreign)
    return redirected.with_authorization(None)


def refusal(upstream: str, head: Head, who: str = "it") -> UpstreamError:
    """What an answer that is no success means."""
    status = head.status
    match status:
        case 404 | 410:
            return UpstreamNotFound(upstream, f"{who} has no such thing ({status})")
        case 401 | 403 | 451:
            return UpstreamRefused(upstream, f"{who} refuses ({status})")
        case 429:
            wait = retry_after(head)
            again = f"; it asks to wait {wait} s" if wait else ""
            return UpstreamLimited(
                upstream, f"{who} limits the rate of requests (429){again}", wait
            )
        case _ if status >= 500:
            return UpstreamFailed(upstream, f"{who} fails with {status}", status)
    return UpstreamSenseless(upstream, f"{who} gives an answer that makes no sense ({status})")


def retry_after(head: Head) -> int | None:
    """``Retry-After`` in seconds (RFC 9110, 10.2.3); a date counts from the answer's own."""
    value = head.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return int(value) if len(value) <= 9 else None
    try:
        until, now = (parsedate_to_datetime(head.headers[name]) for name in ("Retry-After", "Date"))
        return max(0, round((until - now).total_seconds()))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
