"""Forms that are sent to this server: short ones, kept in memory until they are read."""

from urllib.parse import parse_qs

from tornado.web import HTTPError

from depproxy.handlers.base import BaseHandler

_MAX_FORM = 64 * 1024
"""Bytes of a form: a user, a password and some scopes."""

_MAX_FIELDS = 1000


class FormHandler(BaseHandler):
    """Keeps the body of a request; what is longer than a form is dropped as it comes."""

    _received = b""
    _size = 0

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= _MAX_FORM:
            self._received += chunk

    def form(self) -> dict[str, list[str]]:
        """The fields, each with all of its values. Raises `HTTPError`."""
        if self._size > _MAX_FORM:
            raise HTTPError(413, f"a form has at most {_MAX_FORM} bytes")
        try:
            text = self._received.decode()
            return parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise HTTPError(400, "the body is no form") from None
