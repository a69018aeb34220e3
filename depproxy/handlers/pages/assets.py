"""Styles, script and icon: read once, and kept by browsers until they change."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tornado.web import HTTPError

from depproxy.handlers.base import BaseHandler

PLACE = "/-/static/"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_FOR_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """``version`` changes with the content."""

    content: bytes
    media_type: str
    version: str


class Assets:
    """The files of one folder. Nobody can ask for others."""

    def __init__(self, folder: Path) -> None:
        self._files = {file.name: _read(file) for file in folder.iterdir() if file.suffix in _TYPES}

    def find(self, name: str) -> Asset | None:
        return self._files.get(name)

    def url(self, name: str) -> str:
        """Where a file is; another address for another content."""
        return f"{PLACE}{name}?v={self._files[name].version}"


class AssetHandler(BaseHandler):
    """One of the assets. They are the same for everybody, and tell nothing."""

    kind = "page"

    def initialize(self, assets: Assets) -> None:
        self._assets = assets

    def get(self, name: str) -> None:
        asset = self._assets.find(name)
        if asset is None:
            raise HTTPError(404)
        is_current = self.get_query_argument("v", "") == asset.version
        self.set_header("Content-Type", asset.media_type)
        self.set_header("Cache-Control", _FOR_A_YEAR if is_current else "no-cache")
        self.finish(asset.content)

    head = get


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    version = hashlib.sha256(content).hexdigest()[:12]
    return Asset(content, _TYPES[file.suffix], version)
