"""When a reference was last confirmed and last pulled: kept beside its pointer, written in batches.

``…/-/tags/<tag>.times`` holds ``{"checked": …, "pulled": …}``, and
``…/-/digests/<algorithm>/<hex>.times`` holds ``{"pulled": …}``: seconds since the epoch. A crash
may lose what was not flushed yet; where a tag's file is missing, the modification time of its
pointer stands in for ``checked``.
"""

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter

from depproxy.errors import StoreError, StorePurged
from depproxy.oci.digest import Digest
from depproxy.oci.names import Tag
from depproxy.store.files import Directory, make_directories, read_file, translated, write_file
from depproxy.store.graph import Key
from depproxy.store.inventory import Reference, key_of
from depproxy.store.partial import PARTIALS
from depproxy.store.repository import Repository

_MAX_TIMES = 1024
"""Bytes; the file has some 60."""

Name = tuple[Repository, Tag | Digest]


@dataclass(frozen=True, slots=True)
class _Moments:
    """None where it has not happened, or nobody knows."""

    checked: float | None = None
    pulled: float | None = None


class Times:
    """The times of one tree's references. Safe to use from any thread."""

    def __init__(self, tree: Directory) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._taking = threading.Lock()
        self._known: dict[Name, _Moments] = {}
        self._unwritten: set[Name] = set()
        self._handed_out: dict[Key, float] = {}
        self._pulls: dict[tuple[Repository, Tag | Digest, Digest], float] = {}
        """What was pulled and is not yet among the others."""

    def checked(self, repository: Repository, tag: Tag) -> float | None:
        """When the upstream last answered 200 for this tag."""
        checked = self._find((repository, tag)).checked
        return self._written(repository, tag) if checked is None else checked

    def confirm(self, repository: Repository, tag: Tag, when: float) -> None:
        """The upstream has just answered 200."""
        self._note((repository, tag), checked=when)

    def pull(
        self, repository: Repository, reference: Tag | Digest, digest: Digest, when: float
    ) -> None:
        """A manifest, or its head, was handed out by this reference."""
        # Taken apart when somebody asks, or writes: that would take 8 µs of each pull.
        self._pulls[repository, reference, digest] = when

    def pulled(self, repository: Repository, reference: Tag | Digest) -> float | None:
        """When somebody last pulled by just this reference."""
        self._take_pulls()
        return self._find((repository, reference)).pulled

    def last_pulled(self, reference: Reference, reach: Iterable[Key]) -> float:
        """When somebody last pulled by this reference, or by any of something that it leads to
        (``reach``); when it was cached, where nobody has since anybody remembers."""
        times = [self.pulled(reference.repository, reference.reference)]
        times += [self.handed_out(key) for key in reach]
        return max((when for when in times if when is not None), default=reference.cached)

    def handed_out(self, key: Key) -> float | None:
        """When a manifest was last handed out, by whatever reference of whatever image."""
        self._take_pulls()
        return self._handed_out.get(key)

    def handed_out_since(self, when: float) -> list[Key]:
        """Manifests that were handed out then or later."""
        self._take_pulls()
        with self._lock:
            return [key for key, last in self._handed_out.items() if last >= when]

    def load(self, repository: Repository, reference: Tag | Digest) -> None:
        """Read what is on disk, so that `handed_out` knows it."""
        self._take_pulls()
        pulled = self._find((repository, reference)).pulled
        if isinstance(reference, Digest) and pulled is not None:
            key = key_of(reference)
            with self._lock:
                self._handed_out[key] = max(pulled, self._handed_out.get(key, 0.0))

    def forget(self, repository: Repository, reference: Tag | Digest | None = None) -> None:
        """A reference has gone; None: all of the image."""
        self._take_pulls()
        with self._lock:
            names = [
                name
                for name in (self._known if reference is None else ((repository, reference),))
                if name[0] == repository
            ]
            for name in names:
                self._known.pop(name, None)
                self._unwritten.discard(name)

    def flush(self) -> None:
        """Write what is not written yet; what cannot be written stays for the next time."""
        self._take_pulls()
        with self._lock:
            batch = {name: self._known[name] for name in self._unwritten}
        for name, moments in batch.items():
            try:
                with translated("the times of a reference are written"):
                    make_directories(PARTIALS, self._tree.fd)
                    write_file(_path(name), _encode(moments), self._tree.fd, PARTIALS)
            except StorePurged:
                pass  # its folder has gone, or never was: there is nothing to remember
            except StoreError:
                continue
            with self._lock:
                if self._known.get(name) == moments:
                    self._unwritten.discard(name)

    def _take_pulls(self) -> None:
        with self._taking:  # nobody goes on while another one has them in his hands
            taken = []
            while self._pulls:
                taken.append(self._pulls.popitem())
            for (repository, reference, digest), when in sorted(taken, key=itemgetter(1)):
                for name in {(repository, reference), (repository, digest)}:
                    self._note(name, pulled=when)
                with self._lock:
                    self._handed_out[key_of(digest)] = when

    def _note(self, name: Name, **moment: float) -> None:
        """One of the moments of a reference; the other one stays."""
        self._find(name)
        with self._lock:
            self._known[name] = replace(self._known.get(name, _Moments()), **moment)
            self._unwritten.add(name)

    def _find(self, name: Name) -> _Moments:
        with self._lock:
            known = self._known.get(name)
        if known is None:
            known = _decode(read_file(_path(name), self._tree.fd, _MAX_TIMES))
            with self._lock:
                known = self._known.setdefault(name, known)
        return known

    def _written(self, repository: Repository, tag: Tag) -> float | None:
        try:
            return os.stat(repository.path(tag, ".json"), dir_fd=self._tree.fd).st_mtime
        except OSError:
            return None


def _path(name: Name) -> str:
    repository, reference = name
    return repository.path(reference, ".times")


def _encode(moments: _Moments) -> bytes:
    fields = {"checked": moments.checked, "pulled": moments.pulled}
    return (
        json.dumps({key: round(when, 3) for key, when in fields.items() if when is not None}) + "\n"
    ).encode()


def _decode(data: bytes | None) -> _Moments:
    try:
        document = json.loads(data or b"")
        return _Moments(_time(document.get("checked")), _time(document.get("pulled")))
    except (ValueError, AttributeError, RecursionError, OverflowError):
        return _Moments()


def _time(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]
