"""When a tag was last confirmed: kept beside its pointer, written in batches.

``…/-/tags/<tag>.times`` holds ``{"checked": <seconds since the epoch>}``. A crash may lose what was
not flushed yet; the pointer's own modification time stands in where the file is missing.
"""

import json
import os
import threading

from depproxy.errors import StoreError
from depproxy.oci.names import Tag
from depproxy.store.files import Directory, read_file, translated, write_file
from depproxy.store.partial import PARTIALS
from depproxy.store.pointers import Repository

_MAX_TIMES = 1024
"""Bytes; the file has some 30."""


class Times:
    """The times of one tree's tags. Safe to use from any thread."""

    def __init__(self, tree: Directory) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._unwritten: dict[tuple[Repository, Tag], float] = {}

    def checked(self, repository: Repository, tag: Tag) -> float | None:
        """When the upstream last answered 200 for this tag; seconds since the epoch."""
        with self._lock:
            known = self._unwritten.get((repository, tag))
        if known is not None:
            return known
        data = read_file(_path(repository, tag), self._tree.fd, _MAX_TIMES)
        try:
            return float(json.loads(data or b"")["checked"])
        except (ValueError, KeyError, TypeError):
            return self._written(repository, tag)

    def confirm(self, repository: Repository, tag: Tag, when: float) -> None:
        """The upstream has just answered 200."""
        with self._lock:
            self._unwritten[repository, tag] = when

    def flush(self) -> None:
        """Write what is not written yet; what cannot be written stays for the next time."""
        with self._lock:
            batch = dict(self._unwritten)
        for (repository, tag), when in batch.items():
            try:
                with translated("the times of a tag are written"):
                    body = json.dumps({"checked": round(when, 3)}).encode() + b"\n"
                    write_file(_path(repository, tag), body, self._tree.fd, PARTIALS)
            except StoreError:
                continue
            with self._lock:
                if self._unwritten.get((repository, tag)) == when:
                    del self._unwritten[repository, tag]

    def _written(self, repository: Repository, tag: Tag) -> float | None:
        try:
            return os.stat(f"{repository.folder}/tags/{tag}.json", dir_fd=self._tree.fd).st_mtime
        except OSError:
            return None


def _path(repository: Repository, tag: Tag) -> str:
    return f"{repository.folder}/tags/{tag}.times"
