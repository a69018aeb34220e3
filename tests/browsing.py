"""A browser without scripts: it keeps cookies, follows where it is sent, and fills in forms."""

import http.client
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin

from tests.running import Reply, RunningServer

SIGN_IN = "/-/sign_in"
PAGE = "/groups/mygroup/-/dependency_proxy"


@dataclass
class Form:
    """Where it goes, and what it holds before anybody has typed."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


_BLOCKS = frozenset({"dd", "div", "dt", "h1", "h2", "label", "li", "option", "p", "td", "th"})
"""What stands apart from what comes before it."""


class _Document(HTMLParser):
    def __init__(self, body: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag in _BLOCKS:
            self.text += " "
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and self.forms and "name" in given:
            self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data


class Tab:
    """One visitor. ``path`` is where he is, ``reply`` what he sees."""

    def __init__(self, server: RunningServer, source: str = "127.0.0.1") -> None:
        self.server = server
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []
        self.path = "/"
        self._source = source

    def ask(
        self, path: str, method: str = "GET", form: dict[str, str] | None = None, **headers: str
    ) -> Reply:
        """One request, with his cookies; redirects are not followed."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, source_address=(self._source, 0)
        )
        sent = {"Connection": "close", **{n.replace("_", "-"): v for n, v in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if form is not None:
            body = urlencode(form)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, sent)
        with connection.getresponse() as response:
            self.reply = Reply(response.status, response.headers, response.read())
        self.path = path
        self.set_cookies = self.reply.headers.get_all("Set-Cookie") or []
        for line in self.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if not morsel.value:
                    del self.cookies[name]
        return self.reply

    def open(self, path: str) -> Reply:
        """A page, wherever that leads to."""
        reply = self.ask(path)
        while reply.status in (301, 302, 303, 307):
            reply = self.ask(urljoin(self.path, reply.headers["Location"]))
        return reply

    def post(self, path: str, **fields: str) -> Reply:
        return self.ask(path, "POST", fields)

    @property
    def document(self) -> _Document:
        return _Document(self.reply.body.decode())

    @property
    def text(self) -> str:
        """What can be read, with single spaces."""
        return re.sub(r"\s+", " ", self.document.text)

    def form(self, action: str) -> Form:
        """The form of the page that goes there."""
        return next(f for f in self.document.forms if f.action.partition("?")[0] == action)

    def send(self, action: str, **fields: str) -> Reply:
        """Fill in a form of this page, and follow where it leads."""
        form = next(
            f
            for f in self.document.forms
            if f.action.partition("?")[0] == action and set(fields) <= set(f.fields)
        )
        reply = self.post(form.action, **{**form.fields, **fields})
        if reply.status == 303:
            return self.open(reply.headers["Location"])
        return reply

    def sign_in(self, user: str, password: str) -> Reply:
        self.open(SIGN_IN)
        return self.send(SIGN_IN, user=user, password=password)

    def sign_in_as_admin(self) -> Reply:
        self.open(SIGN_IN)
        return self.send(SIGN_IN, token=self.server.token)
