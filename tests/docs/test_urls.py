"""The table of URLs in ``docs/reference.md`` has every route and every method, and no other."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application

from depproxy.app import RESOURCES, make_app, make_metrics_app
from tests.docs.markdown import Page, code
from tests.running import RunningServer

NAMES = {
    "<group>": "mygroup",
    "<image>": "hello",
    "<reference>": "latest",
    "<digest>": "sha256:" + "a" * 64,
    "<file>": "pages.css",
}
ANYTHING_ELSE = ".*$"
"""How the pattern of the routes ends that take what no other one does."""


def documented() -> Iterator[tuple[str, set[str]]]:
    """The paths of the table, with the methods that it names."""
    table = Page("docs/reference.md").table("URLs", "request")
    for request in table.column("request"):
        for alternative in request.split(" · "):
            words = " ".join(code(alternative)).split()
            methods = {word for word in words if word.isupper()}
            [path] = [word for word in words if word not in methods]
            if methods:
                yield path, methods


ROWS = list(documented())


def concrete(path: str) -> str:
    return re.sub("<[a-z]+>", lambda found: NAMES[found[0]], path)


def application() -> Application:
    """Everything but ``/v2/``; no handler is called, so none gets what it needs."""
    nothing: Any = SimpleNamespace(assets=None)
    router = make_app(
        proxy=nothing,
        gate=nothing,
        site=nothing,
        external_url="http://localhost:8080",
        surroundings=nothing,
        is_draining=lambda: False,
        exposition=nothing,
    )
    line = RequestStartLine("GET", "/", "HTTP/1.1")
    headers = HTTPHeaders({"Host": "localhost"})
    request = HTTPServerRequest(start_line=line, headers=headers)
    delegate: Any = router.find_handler(request)
    found: Application = delegate.application
    return found


def patterns(app: Application) -> list[str]:
    rules: list[Any] = list(app.wildcard_router.rules)
    return [rule.matcher.regex.pattern for rule in rules]


def pattern_of(path: str, known: list[str]) -> str:
    """The route that takes a path: the first that fits."""
    return next(pattern for pattern in known if re.match(pattern, path))


@pytest.mark.parametrize(("path", "methods"), ROWS)
def test_a_url_answers_the_methods_that_the_table_names_and_no_other(
    server: RunningServer, path: str, methods: set[str]
) -> None:
    refused = server.ask(concrete(path), "PATCH")
    assert refused.status == 405
    assert set(refused.headers["Allow"].split(", ")) == methods


def test_every_route_is_in_the_table_and_every_url_has_a_route() -> None:
    known = patterns(application())
    paths = [concrete(path) for path, _ in ROWS if not path.startswith("/v2/")]
    taken = {pattern_of(path, known) for path in paths}
    assert taken == {pattern for pattern in known if not pattern.endswith(ANYTHING_ELSE)}


def test_every_kind_of_resource_is_in_the_table() -> None:
    below = [path for path, _ in ROWS if path.startswith("/v2/<")]
    kinds = {path.partition("<image>/")[2].partition("/")[0] for path in below}
    assert kinds == {kind for kind in RESOURCES if kind is not None}


def test_an_address_for_metrics_alone_answers_two_of_the_urls() -> None:
    nothing: Any = None
    app: Any = make_metrics_app(nothing, nothing)
    known = {pattern.removesuffix("$") for pattern in patterns(app)}
    assert known <= {path for path, _ in ROWS}
