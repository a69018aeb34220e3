"""Taking references away, and the blobs that nothing leads to any more.

Pointers are moved to ``removed/<random>/`` first: from then on nobody finds them. Blobs follow them
one by one, layers before manifests, and the folder is deleted at last. A crash in between leaves a
folder that says what is still to be done: `finish_interrupted`.
"""

import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from depproxy.errors import StoreError
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import MAX_MANIFEST
from depproxy.oci.names import Tag
from depproxy.store.blobs import blob_path
from depproxy.store.files import (
    DIRECTORY,
    Directory,
    delete,
    exists,
    make_directories,
    read_file,
    settle,
    translated,
    unlink_quietly,
    walk,
    write_file,
)
from depproxy.store.graph import Key
from depproxy.store.holdings import NOTHING, Holdings, Totals
from depproxy.store.inventory import Selection, digest_of, key_of
from depproxy.store.partial import PARTIALS
from depproxy.store.pointer_format import MAX_POINTER, decode_tag
from depproxy.store.pointers import Pointers
from depproxy.store.times import Times

REMOVED = "removed"
"""The folder of a tree for what is on its way out."""

CHANGED = "changed"
"""The file of a tree that whoever is not the server replaces when it has removed something."""


@dataclass(slots=True)
class Removal:
    """References that are gone, and blobs that are about to go: ``unused``, which ``totals`` sums
    up, and which are collected in ``folder``."""

    folder: str
    unused: list[Key]
    totals: Totals


class Remover:
    """Removes from one tree. Pointers are moved under the lock that their writers take, and the
    picture changes under it, too."""

    def __init__(
        self, tree: Directory, pointers: Pointers, holdings: Holdings, times: Times
    ) -> None:
        self._tree = tree
        self._pointers = pointers
        self._holdings = holdings
        self._times = times
        self._running: set[str] = set()
        self._left: set[str] = set()
        self._seen: object = self.stamp()

    def begin(self, selections: Iterable[Selection], *, sync: bool = True) -> Removal:
        """Take pointers away, at the cost of a rename each, or one for a whole image. `finish` has
        to follow. Without ``sync``, a power cut may bring some back.

        Raises `StoreError`: what has been moved by then is left to `finish_interrupted`, and the
        picture has to be made anew."""
        folder = f"{REMOVED}/{secrets.token_hex(8)}"
        self._running.add(folder)  # before there is one: a count may look for them at any moment
        try:
            with translated("the cache is cleared"):
                make_directories(folder, self._tree.fd)
            unused, totals = self._take_pointers(selections, folder, sync)
        except BaseException:
            self._running.discard(folder)
            raise
        settle(folder, self._tree.fd)
        return Removal(folder, unused, totals)

    def _take_pointers(
        self, selections: Iterable[Selection], folder: str, sync: bool
    ) -> tuple[list[Key], Totals]:
        """What nothing leads to any more, and its sums."""
        unused: list[Key] = []
        totals = NOTHING if self._holdings.is_exact else Totals(0, 0, 0, exact=False)
        for number, selection in enumerate(selections):
            moved, freed, amount = self._take_image(selection, f"{folder}/{number}")
            for path in moved if sync else ():
                settle(path, self._tree.fd)
            unused += freed
            totals = Totals(
                totals.manifests + amount.manifests,
                totals.blobs + amount.blobs,
                totals.size + amount.size,
                totals.exact,
            )
        return unused, totals

    def _take_image(self, selection: Selection, target: str) -> tuple[list[str], list[Key], Totals]:
        """The paths that are no more; what nothing leads to any more, and its sums."""
        repository = selection.repository
        while True:
            with self._pointers.locked(repository) as is_there:
                alone = self._holdings.unused_without(selection)
                moved = self._move_pointers(selection, target) if is_there else []
                with self._holdings.held_still():
                    if is_there or not exists(repository.folder, self._tree.fd):
                        return moved, *self._holdings.drop(selection, alone)
            # It was not there, so that nothing was locked, and has come just now.

    def finish(
        self, removal: Removal, is_protected: Callable[[Key], bool], stop: threading.Event
    ) -> int:
        """Delete what nothing leads to. Blocks; returns the bytes of what went."""
        if not removal.totals.exact:
            removal.unused = self._led(removal.folder)
        freed = self.take(removal.unused, is_protected, removal.folder, stop)
        if not stop.is_set():
            delete(removal.folder, self._tree.fd, stop)
            self._running.discard(removal.folder)
        return freed

    def look_again(self, removal: Removal) -> None:
        """Add what nothing leads to by a picture that was made since: pointers may have gone along
        that the one before knew nothing of. Blocks."""
        more = self._led(removal.folder)
        removal.unused = list(dict.fromkeys((*removal.unused, *more)))

    def leave(self, removal: Removal) -> None:
        """Let `finish_interrupted` finish it, when it is known what others lead to."""
        self._left.add(removal.folder)
        self._running.discard(removal.folder)

    def take(
        self,
        keys: Sequence[Key],
        is_protected: Callable[[Key], bool],
        folder: str,
        stop: threading.Event,
    ) -> int:
        """Move blobs that nothing leads to, and that nobody protects, into a folder of `REMOVED`;
        returns their bytes. ``keys`` has what leads to others before these; they go last, so that
        a crash leaves what tells of the rest."""
        freed = 0
        for key in reversed(keys):
            if stop.is_set():
                break
            size = self._holdings.size(key)
            if self._holdings.take(key, is_protected, partial(self._move, key, folder)):
                freed += size
                unlink_quietly(f"{folder}/{key.hex()}", self._tree.fd)
        return freed

    def expect(self, folders: Iterable[str]) -> None:
        """Count no more what is on its way out by these. Blocks."""
        for folder in folders:
            self._holdings.expect_to_leave(self._led(folder))

    def finish_interrupted(self, stop: threading.Event, seen: Collection[str] = ()) -> None:
        """Go on with what this process has `leave`d, and a crash of another one has interrupted:
        with what of the latter was ``seen`` before the files were counted. The picture must be
        exact: what has moved since may be in it. Blocks."""
        for folder in self.interrupted():
            if folder not in self._left and folder not in seen:
                continue
            self.take(self._led(folder), lambda _: False, folder, stop)
            if stop.is_set():
                return
            delete(folder, self._tree.fd, stop)
            self._left.discard(folder)

    def announce(self) -> None:
        """Tell the server, as another process, that files have gone: see `has_foreign_changes`."""
        with translated("a change is announced"):
            make_directories(PARTIALS, self._tree.fd)
            write_file(CHANGED, b"", self._tree.fd, PARTIALS)

    def has_foreign_changes(self) -> bool:
        """Whether another process has announced a change since the files were last counted."""
        return self.stamp() != self._seen

    def note_counted(self, stamp: object) -> None:
        """The picture is as new as the files were at that `stamp`."""
        self._seen = stamp

    def stamp(self) -> object:
        """Changes with each `announce`; to be taken before counting."""
        try:
            status = os.stat(CHANGED, dir_fd=self._tree.fd)
        except OSError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns

    def interrupted(self) -> list[str]:
        """The folders of removals that nobody in this process is at."""
        try:
            fd = os.open(REMOVED, DIRECTORY, dir_fd=self._tree.fd)
        except OSError:
            return []
        try:
            folders = [f"{REMOVED}/{name}" for name in os.listdir(fd)]
        finally:
            os.close(fd)
        return [folder for folder in folders if folder not in self._running]

    def _named(self, folder: str) -> list[Digest]:
        """The manifests that pointers in a folder name."""
        found = []
        for _, _, names, fd in walk(folder, self._tree.fd):
            for name in names:
                if name.endswith(".json"):
                    pointer = decode_tag(read_file(name, fd, MAX_POINTER))
                    if pointer and pointer.current:
                        found.append(pointer.current.digest)
        return found

    def _led(self, folder: str) -> list[Key]:
        """What the pointers in a folder lead to, by the bodies that are still there: these come
        first."""
        found: dict[Key, None] = {}
        ways = self._named(folder)
        while ways:
            key = key_of(ways.pop())
            if key in found:
                continue
            found[key] = None
            body = read_file(blob_path(digest_of(key)), self._tree.fd, MAX_MANIFEST)
            ways += contents_of(body or b"").digests
        return list(found)

    def _move_pointers(self, selection: Selection, target: str) -> list[str]:
        """Returns the paths that are no more. Raises `StoreError`."""
        repository = selection.repository
        if selection.is_whole:
            self._rename(repository.folder, target)
            self._times.forget(repository)
            return [repository.folder]
        with translated("the cache is cleared"):
            make_directories(target, self._tree.fd, sync=False)
        moved = []
        names: list[Tag | Digest] = [*selection.tags, *selection.digests]
        for number, name in enumerate(names):
            path = repository.path(name, ".json")
            self._rename(path, f"{target}/{number}.json")
            unlink_quietly(repository.path(name, ".times"), self._tree.fd)
            self._times.forget(repository, name)
            moved.append(path)
        return moved

    def _rename(self, path: str, target: str) -> None:
        """What is not there needs no renaming. Raises `StoreError`."""
        fd = self._tree.fd
        with translated("the cache is cleared"):
            for is_last in (False, False, True):
                try:
                    os.rename(path, target, src_dir_fd=fd, dst_dir_fd=fd)
                    return
                except FileNotFoundError:
                    if not exists(path, fd):
                        return
                    if is_last:
                        raise
                    # Another process has tidied up what looked to it like a crash's.
                    make_directories(os.path.dirname(target), fd, sync=False)

    def _move(self, key: Key, folder: str) -> bool:
        """Whether the blob is at its place no more, by whomever."""
        try:
            self._rename(blob_path(digest_of(key)), f"{folder}/{key.hex()}")
        except StoreError:
            return False
        return True
