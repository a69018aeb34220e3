"""A server that does nothing but write files in pieces of 1 MiB, each when the one before has been
taken: what Tornado gives by itself. A client that takes as fast as it is given has the server to
itself, since nothing ever has to be waited for.

``python -m bench.peers.pieces PORT FOLDER``
"""

import asyncio
import sys
from pathlib import Path

from tornado.web import Application, RequestHandler

PIECE = 2**20
"""Bytes that are written at once."""


class PiecesHandler(RequestHandler):
    """Any file of the folder."""

    def initialize(self, root: Path) -> None:
        self._root = root

    async def get(self, path: str) -> None:
        with (self._root / path).open("rb", buffering=0) as file:
            self.set_header("Content-Type", "application/octet-stream")
            self.set_header("Content-Length", str((self._root / path).stat().st_size))
            while piece := file.read(PIECE):
                self.write(piece)
                await self.flush()


async def main() -> None:
    application = Application([(r"/(.*)", PiecesHandler, {"root": Path(sys.argv[2])})])
    application.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
