"""What all handlers share: how a request is read and how an error leaves."""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from depproxy import errors
from depproxy.access.visitor import Visitor
from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.access_log import ADMIN_IN_LOG, Access
from depproxy.handlers.answers import error_headers, explained, reason_of, verdict
from depproxy.handlers.identity import BASIC_CHALLENGE
from depproxy.handlers.surroundings import SERVER, Surroundings

_log = logging.getLogger(__name__)


def raised(told: Mapping[str, Any]) -> BaseException | None:
    """What was raised, of what Tornado tells ``send_error`` and ``write_error`` by keywords."""
    error: BaseException | None = told.get("exc_info", (None, None, None))[1]
    return error


@stream_request_body
class BaseHandler(RequestHandler):
    """Answers are made whole and sent at once. Errors leave as plain text; each surface has a
    renderer of its own."""

    VERBS: tuple[str, ...] = ("GET", "HEAD")
    """What is answered here; everything else is 405 with these in ``Allow``."""

    kind = "unknown"
    """What the access log and the metrics call this kind of resource."""

    @cached_property
    def access(self) -> Access:
        """For the log: whoever learns what was asked for notes it here."""
        return self.surroundings.begin(self.request, self.kind)

    def note_visitor(self, visitor: Visitor) -> None:
        """Tell the log who asks."""
        self.access.user = ADMIN_IN_LOG if visitor.is_admin else visitor.user

    @property
    def surroundings(self) -> Surroundings:
        found: Surroundings = self.settings["surroundings"]
        return found

    def prepare(self) -> None:
        activity = self.surroundings.activity
        activity.enter()
        self.on_finish = activity.leave  # type: ignore[method-assign]
        if self.request.method not in self.VERBS:
            raise HTTPError(405)  # before the body, which may be a whole layer, has been read

    def on_connection_close(self) -> None:
        """Who leaves before his body has come: Tornado calls nothing else then."""
        is_unread = not self._has_read_body()
        super().on_connection_close()
        if is_unread and not self._finished:
            self.on_finish()

    def _has_read_body(self) -> bool:
        return bool(self.request._body_future.done())

    def data_received(self, chunk: bytes) -> None:
        """Bodies are dropped as they come: nothing is uploaded here."""

    def set_default_headers(self) -> None:
        self.set_header("Server", SERVER)
        self.set_header("X-Request-Id", self.access.id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Content-Type")

    def compute_etag(self) -> str | None:
        """Tornado would hash every body; ours have digests."""
        return None

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What the domain raises is an answer, not a fault of the program. Tornado would log the
        query, too, in which clients send what is nobody's business."""
        request = self.request
        if isinstance(value, HTTPError | errors.UpstreamError | errors.StoreError):
            said = value.get_message() if isinstance(value, HTTPError) else value
            if said:
                _log.warning("%s %s: %s", request.method, request.path, said)
        elif not isinstance(value, StreamClosedError | errors.DepproxyError):
            _log.error("%s %s failed", request.method, request.path, exc_info=(typ, value, tb))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """A domain's error has a status of its own."""
        super().send_error(verdict(raised(kwargs), status_code).status, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = raised(kwargs)
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.VERBS))
        for name, value in error_headers(error, self.challenge).items():
            self.set_header(name, value)
        message = self._explained(status_code, error)
        self.render_error(status_code, verdict(error, status_code).code, message)

    def challenge(self, reason: str | None) -> str:
        """How to say who one is; ``reason`` is what is wrong with the token that came."""
        return BASIC_CHALLENGE

    def render_error(self, status: int, code: str, message: str) -> None:
        """Write the body of an error."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status} {reason_of(status)}: {message}\n")

    def _explained(self, status: int, error: BaseException | None) -> str:
        said = error.get_message() if isinstance(error, HTTPError) else None
        if said:
            return said
        return explained(error, status, self.request.method or "", self.VERBS)

    def log_access(self) -> None:
        """Called once, when the answer has ended."""
        access = self.access
        access.status = self.get_status()
        if access.method != "HEAD":
            access.size = int(self._headers.get("Content-Length", 0))
        access.duration = self.request.request_time()
        self.surroundings.note(access)


class ProxyHandler(BaseHandler):
    """A handler that asks the dependency proxy."""

    def initialize(self, proxy: DependencyProxy) -> None:
        self.proxy = proxy
