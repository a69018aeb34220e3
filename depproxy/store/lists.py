"""The last good answers to ``tags/list`` and ``referrers``: one file for each question.

``manifests/<upstream>/<image>/-/lists/<hash of the question>.json``
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from depproxy.store.files import (
    DIRECTORY,
    Directory,
    make_directories,
    read_file,
    translated,
    unlink_quietly,
    write_file,
)
from depproxy.store.partial import PARTIALS
from depproxy.store.repository import Repository

MAX_LIST = 8 * 1024 * 1024
"""Bytes of one answer: the longest lists of tags have some 10,000."""

_MAX_KEPT = 20
"""Answers of one image: a client chooses its questions freely, and must not fill the disk."""


@dataclass(frozen=True, slots=True)
class KeptList:
    """An answer as the upstream gave it; ``checked`` in seconds since the epoch.

    ``following`` is the query of the next page, without a ``?``; empty where this was the last.
    ``missing``: the answer was 404, which says of referrers that clients have to look for tags.
    """

    question: str
    checked: float
    body: str
    following: str = ""
    filters_applied: str = ""
    missing: bool = False


class Lists:
    """The kept answers below one tree's directory."""

    def __init__(self, tree: Directory) -> None:
        self._tree = tree

    def read(self, repository: Repository, question: str) -> KeptList | None:
        """None where nothing is kept that can be read."""
        data = read_file(_path(repository, question), self._tree.fd, 2 * MAX_LIST)
        try:
            kept = KeptList(**json.loads(data or b""))
        except (ValueError, TypeError, RecursionError):
            return None
        return kept if kept.question == question else None

    def write(self, repository: Repository, kept: KeptList) -> None:
        """Keep an answer in place of the one before. Raises `StoreError`."""
        path = _path(repository, kept.question)
        document: dict[str, Any] = asdict(kept)
        with translated("a list is kept"):
            make_directories(PARTIALS, self._tree.fd)
            make_directories(os.path.dirname(path), self._tree.fd)
            write_file(path, json.dumps(document).encode(), self._tree.fd, PARTIALS)
            self._prune(os.path.dirname(path))

    def remove(self, repository: Repository, question: str) -> None:
        """The upstream says that there is no such list."""
        unlink_quietly(_path(repository, question), self._tree.fd)

    def _prune(self, folder: str) -> None:
        fd = os.open(folder, DIRECTORY, dir_fd=self._tree.fd)
        try:
            names = os.listdir(fd)
            if len(names) > _MAX_KEPT:
                names.sort(key=lambda name: os.stat(name, dir_fd=fd).st_mtime)
                for name in names[: len(names) - _MAX_KEPT]:
                    unlink_quietly(name, fd)
        finally:
            os.close(fd)


def _path(repository: Repository, question: str) -> str:
    return f"{repository.folder}/lists/{hashlib.sha256(question.encode()).hexdigest()}.json"
