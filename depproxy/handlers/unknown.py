"""Paths that are none of this server's."""

from typing import NoReturn

from depproxy.errors import NothingHere
from depproxy.handlers.base import BaseHandler


class UnknownHandler(BaseHandler):
    """Every path that no route knows."""

    def get(self, *_: str) -> NoReturn:
        raise NothingHere

    head = get
