"""Both sides of a conversation, by hand: what a registry says, and what was asked of it."""

import json
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from tornado.httputil import HTTPHeaders

from depproxy.upstream.conversation import Conversation, Rules, Step, converse
from depproxy.upstream.messages import Answer, Head, Origin, Request
from depproxy.upstream.tokens import TokenJar

URL = "https://registry.example.org/v2/library/alpine/manifests/latest"
REALM = "https://auth.example.org/token"
SCOPE = "repository:library/alpine:pull"
RULES = Rules("example.org", Origin.of(URL), ("auth.example.org",))
PLAIN = Rules("example.org", Origin.of("http://registry.example.org:5000"), ("auth.example.org",))
REQUEST = Request("GET", URL, {"Accept": "application/json"})


def said(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    return Answer(Head(status, HTTPHeaders(headers or {})), body)


def challenged(realm: str = REALM, scope: str | None = SCOPE) -> Answer:
    wanted = f',scope="{scope}"' if scope else ""
    return said(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"{wanted}'})


def token(value: str = "abc", expires_in: int = 300) -> Answer:
    return said(200, body=json.dumps({"token": value, "expires_in": expires_in}).encode())


def redirect(target: str, status: int = 307) -> Answer:
    return said(status, {"Location": target})


OK = said(200)


def play(conversation: Conversation, answers: Iterable[Answer]) -> tuple[list[Step], Answer]:
    """The steps that were taken, and the answer that ended it. Every given answer is needed."""
    steps = [next(conversation)]
    left = iter(answers)
    for answer in left:
        try:
            steps.append(conversation.send(answer))
        except StopIteration as done:
            assert list(left) == []
            return steps, done.value
    raise AssertionError(f"another answer is needed, to {steps[-1]}")


def talk(
    jar: TokenJar, *answers: Answer, request: Request = REQUEST, rules: Rules = RULES
) -> tuple[list[Step], Answer]:
    return play(converse(request, SCOPE, rules, jar), answers)


def who(step: Step) -> str | None:
    return step.request.headers.get("Authorization")


def query_of(step: Step) -> dict[str, list[str]]:
    return parse_qs(urlsplit(step.request.url).query, strict_parsing=True)
