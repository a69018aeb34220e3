"""What all pages share: who looks at them, how they are sent, and their errors."""

from functools import cached_property
from typing import Any

from tornado.web import HTTPError

from depproxy.access.visitor import Visitor
from depproxy.config import GroupConfig
from depproxy.errors import Unauthenticated
from depproxy.handlers.answers import reason_of
from depproxy.handlers.base import BaseHandler, raised
from depproxy.handlers.forms import FormHandler
from depproxy.handlers.pages import places
from depproxy.handlers.pages.site import Site
from depproxy.handlers.unknown import UnknownHandler
from depproxy.oci.names import GroupName

SESSION = "depproxy_session"
"""The cookie of who has signed in."""

_SEED = "depproxy_form"
"""The cookie of a browser that is shown a form before it has a session."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, and in nobody's frame."""


class PageHandler(BaseHandler):
    """HTML, for whoever has the session's cookie. No other surface reads it."""

    kind = "page"

    def initialize(self, site: Site) -> None:
        self.site = site

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """What is no UTF-8 is no name."""
        return value.decode("utf-8", "replace")

    @cached_property
    def visitor(self) -> Visitor:
        visitor = self.site.reception.visitor(self.session)
        self.note_visitor(visitor)
        return visitor

    @property
    def session(self) -> str:
        """The cookie as it came, whatever it is worth."""
        return self.get_cookie(SESSION) or ""

    def readable(self, group: str) -> GroupConfig:
        """The group, if the visitor may see it. Raises `Unauthenticated` and `GroupUnknown`."""
        found = self.site.gate.check_read(GroupName(group), self.visitor)
        self.access.group = found.name
        return found

    def asked(self, name: str) -> str:
        """A value of the query; empty where it has none."""
        return self.get_query_argument(name, "")

    def show(self, template: str, **values: object) -> None:
        """Send a page."""
        self.finish(
            self.site.rendered(
                template,
                visitor=self.visitor,
                here=self.way_back(),
                form_word=self.form_word,
                **values,
            )
        )

    def form_word(self) -> str:
        """What a form on this page has to bring back: it is bound to the session, or to a cookie
        that is set for it."""
        if not self._seed:
            self._new_seed = self.site.reception.new_seed()
            self.keep(_SEED, self._new_seed, same_site="Strict")
        return self.site.reception.form_word(self._seed)

    _new_seed = ""

    @property
    def _seed(self) -> str:
        if self.visitor.is_vouched:
            return self.session
        return self._new_seed or self.get_cookie(_SEED) or ""

    def is_own_form(self, word: str) -> bool:
        """Whether a form with this word was given to this browser."""
        return self.site.reception.is_form_word(self._seed, word)

    def keep(self, cookie: str, value: str, *, same_site: str, lifetime: int | None = None) -> None:
        """Let the browser keep a cookie that no script reads."""
        self.set_cookie(
            cookie,
            value,
            max_age=lifetime,
            httponly=True,
            samesite=same_site,
            secure=self.site.is_secure or self.request.protocol == "https",
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Who has to say who he is is asked for it, by a form; he comes back to a page, and not
        into the middle of what he wanted to do."""
        if isinstance(raised(kwargs), Unauthenticated):
            self.redirect(places.sign_in_page(self.way_back()), status=303)
        else:
            super().write_error(status_code, **kwargs)

    def way_back(self) -> str:
        """Where to go on after signing in."""
        return self.request.uri or places.HOME

    def render_error(self, status: int, code: str, message: str) -> None:
        title = reason_of(status)
        self.show("error.html", status=status, title=title, message=message)


class FormPageHandler(PageHandler, FormHandler):
    """A page with a form that is sent back to it."""

    VERBS: tuple[str, ...] = ("GET", "HEAD", "POST")

    def field(self, name: str) -> str:
        """Its first value; empty where it has none."""
        return self.fields.get(name, [""])[0]

    def check_form(self) -> None:
        """Raises `HTTPError` where the form is not one that this browser was given: another site
        may have made it up."""
        if not self.is_own_form(self.field("word")):
            raise HTTPError(
                403, "the form has expired, or cookies are off: go back, reload, and try again"
            )

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """What was sent; nothing before a form was."""
        return self.form()


class UnknownPageHandler(PageHandler, UnknownHandler):
    """Every path that no route knows: a page for browsers, a line for everybody else."""

    def render_error(self, status: int, code: str, message: str) -> None:
        if "text/html" in self.request.headers.get("Accept", ""):
            super().render_error(status, code, message)
        else:
            UnknownHandler.render_error(self, status, code, message)
