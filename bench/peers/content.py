"""What all servers serve: one image, and blobs of three sizes, as files in a registry's paths."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from bench.peers.measure import MIB
from depproxy.demo.image import make_image

NAME = "bench/image"
TAG = "latest"
PREFIX = f"/v2/{NAME}"


@dataclass(frozen=True)
class Item:
    """Something that can be asked for; ``path`` comes after the image's name."""

    path: str
    digest: str
    size: int
    media_type: str = "application/octet-stream"


class Content:
    """Files below ``root``, which is what a plain web server serves."""

    def __init__(self, root: Path, *, medium: int, large: int) -> None:
        """Sizes are in bytes. Blobs are random, so that nothing can compress them."""
        self.root = root
        self._folder = root / PREFIX[1:]
        (self._folder / "blobs").mkdir(parents=True)
        (self._folder / "manifests").mkdir()
        image = make_image("A benchmark speaks.")
        manifests = {}
        for digest, (media_type, body) in image.manifests.items():
            manifests[digest] = Item(f"manifests/{digest}", digest, len(body), media_type)
            self.file(manifests[digest]).write_bytes(body)
        for digest, body in image.blobs.items():
            (self._folder / "blobs" / digest).write_bytes(body)
        self.index = manifests.pop(image.index)
        self.tag = Item(f"manifests/{TAG}", image.index, self.index.size, self.index.media_type)
        self.others = [
            *(Item(f"blobs/{digest}", digest, len(body)) for digest, body in image.blobs.items()),
            *manifests.values(),
        ]
        """The rest of the image, in the order in which a registry wants it pushed."""
        self.small = self._blob(4096)
        self.medium = self._blob(medium)
        self.large = self._blob(large)

    def file(self, item: Item) -> Path:
        """Where its bytes are. A tag has none: a plain web server cannot ask what it means."""
        return self._folder / item.path

    def _blob(self, size: int) -> Item:
        written = self._folder / "blobs" / "new"
        hasher = hashlib.sha256()
        with written.open("wb") as file:
            left = size
            while left:
                piece = os.urandom(min(left, MIB))
                hasher.update(piece)
                file.write(piece)
                left -= len(piece)
        digest = f"sha256:{hasher.hexdigest()}"
        written.rename(self._folder / "blobs" / digest)
        return Item(f"blobs/{digest}", digest, size)
