"""The picture of one tree in memory: kept up to date by whoever changes files, and made exact by a
walk in the background. Safe to use from any thread."""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.store.counting import Counting
from depproxy.store.graph import Key
from depproxy.store.inventory import Inventory, Reference, Selection, key_of
from depproxy.store.shared import SharedFiles

T = TypeVar("T")

_BATCH = 500
"""Questions asked at once: whoever changes something waits that long."""


@dataclass(frozen=True, slots=True)
class Totals:
    """``manifests`` counts distinct manifest documents, ``blobs`` the other blobs, ``size`` the
    bytes of both, but of those that another group holds as well. Not ``exact`` until the walk has
    ended: then they are at least so many."""

    manifests: int
    blobs: int
    size: int
    exact: bool


NOTHING = Totals(0, 0, 0, exact=True)


class Holdings:
    """What a tree holds. Every change is told to it; a walk (`counting`) makes it anew."""

    def __init__(self, shared: SharedFiles, *, exact: bool) -> None:
        """``exact``: the tree is new, so nothing has to be counted."""
        self._shared = shared
        self._lock = threading.RLock()
        self._inventory = Inventory()
        self._next: Counting | None = None
        self._inodes: dict[Key, int] = {}
        self._leaving: set[Key] = set()
        """What nothing led to when it was dropped, and nobody has taken yet."""
        self._exact = exact
        self._claimed = exact
        self._released = False

    # -- changes -----------------------------------------------------------------------------

    def add_blob(self, digest: Digest, size: int) -> None:
        """A blob, of a layer or of a manifest, has appeared."""
        with self._lock:
            for inventory in self._inventories():
                inventory.add_blob(key_of(digest), size)
            if self._next:
                self._next.blob_came(key_of(digest))

    def share(self, digest: Digest, inode: int) -> None:
        """Another tree holds the same file from now on."""
        key = key_of(digest)
        with self._lock:
            has_gone = self._exact and key not in self._inventory.blobs
            if self._released or has_gone:
                return
            old = self._inodes.get(key, inode)
            if old != inode:
                self._shared.release(old, self)
            self._inodes[key] = inode
            if self._next:
                self._next.inodes[key] = inode
            self._shared.hold(inode, self)

    def look_again(self, digest: Digest, look: Callable[[], os.stat_result | None]) -> None:
        """Whether a blob is there, and as which file, is as ``look`` says: asked and noted in one
        step, so that nobody comes between."""
        key = key_of(digest)
        with self._lock:
            status = look()
            if status is None:
                self._remove(key)
                return
            self.add_blob(digest, status.st_size)
            if self._inodes.get(key, status.st_ino) != status.st_ino:
                # A file of its own has taken the name of one that was shared.
                self._shared.release(self._inodes.pop(key), self)
            if self._next and self._next.inodes.get(key) != status.st_ino:
                self._next.inodes.pop(key, None)

    def remove_blob(self, digest: Digest) -> None:
        """A blob has lost its name."""
        with self._lock:
            self._remove(key_of(digest))

    def learn(self, digest: Digest, body: bytes) -> None:
        """A manifest's body is on disk."""
        links = [key_of(link) for link in contents_of(body).digests]
        with self._lock:
            for inventory in self._inventories():
                inventory.graph.learn(key_of(digest), links)

    def set_tag(self, reference: Reference) -> None:
        """A tag's pointer was written."""
        with self._lock:
            for inventory in self._inventories():
                inventory.set_tag(reference)
            if self._next:
                self._next.pointer_came(reference)

    def set_digest(self, reference: Reference) -> None:
        """A digest's pointer was written."""
        with self._lock:
            for inventory in self._inventories():
                inventory.set_digest(reference)
            if self._next:
                self._next.pointer_came(reference)

    def unused_without(self, selection: Selection) -> list[Key]:
        """What nothing would lead to without these pointers; changes nothing."""
        return self.ask(lambda inventory: inventory.unused_without(selection))

    def drop(self, selection: Selection, alone: Iterable[Key] = ()) -> tuple[list[Key], Totals]:
        """Pointers have gone; returns what nothing leads to any more, and what that amounts to.

        ``alone`` is what `unused_without` told before they went: a walk that came after them, and
        has ended since, knows nothing of them."""
        with self._lock:
            if self._next:
                self._next.drop(selection)
            held = self._inventory
            alone = [key for key in alone if key not in self._leaving]  # another one told of these
            keys = dict.fromkeys((*held.drop(selection), *alone))
            unused = [key for key in keys if key in held.blobs and not held.graph.is_used(key)]
            self._leaving.update(unused)
            return unused, self._sum(unused)

    def expect_to_leave(self, keys: Iterable[Key]) -> None:
        """What was cleared, and is on disk still, counts no more."""
        with self._lock:
            self._leaving.update(keys)

    def take(self, key: Key, is_protected: Callable[[Key], bool], move: Callable[[], bool]) -> bool:
        """Take a blob away by ``move``, unless something leads to it or it is protected: asked and
        done in one step, so that nobody comes between."""
        with self._lock:
            self._leaving.discard(key)
            if self._inventory.graph.is_used(key) or is_protected(key) or not move():
                return False
            self._remove(key)
            return True

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Nobody else changes the picture meanwhile, so that it and the disk can be looked at
        together. For a moment only: requests wait."""
        with self._lock:
            yield

    def release(self) -> None:
        """The tree was purged: its files are no longer held by it."""
        with self._lock:
            self._released = True
            for inode in self._inodes.values():
                self._shared.release(inode, self)
            self._inodes = {}

    # -- questions ---------------------------------------------------------------------------

    def totals(self) -> Totals:
        """Everything that is here and stays, counted without looking at the disk."""
        with self._lock:
            held = self._inventory
            manifests, blobs = held.counts()
            size = held.total - self.shared_size()
            leaving = self._sum(
                [k for k in self._leaving if k in held.blobs and not held.graph.is_used(k)]
            )
            return Totals(
                manifests - leaving.manifests,
                blobs - leaving.blobs,
                size - leaving.size,
                self._exact,
            )

    def amount(self, selection: Selection) -> Totals:
        """What `drop` would leave to nothing; changes nothing."""
        with self._lock:
            unused = self.unused_without(selection)
            return self._sum([key for key in unused if key in self._inventory.blobs])

    def shared_size(self) -> int:
        """Bytes of files that another tree holds as well."""
        with self._lock:
            return sum(
                self._inventory.blobs.get(key, 0)
                for key, inode in self._inodes.items()
                if self._shared.is_shared(inode)
            )

    def size(self, key: Key) -> int:
        """Bytes of a blob; 0 where it is not here."""
        return self._inventory.blobs.get(key, 0)

    @property
    def is_exact(self) -> bool:
        """Whether a walk has ended, and nobody had reason to `doubt` since."""
        return self._exact

    def ask(self, question: Callable[[Inventory], T]) -> T:
        """The answer to something that only the whole picture tells; nothing changes meanwhile."""
        with self._lock:
            return question(self._inventory)

    def doubt(self) -> bool:
        """Another process has changed files: counts are no longer exact, until somebody walks.
        Whether the caller is to."""
        with self._lock:
            self._exact = self._claimed = False
            return self.claim()

    def roots(self, *, only_cached: bool = True) -> Iterator[Reference]:
        """The references that stand for themselves, image by image: nobody waits for all of it."""
        for repository in self.ask(lambda inventory: inventory.repositories()):
            with self._lock:
                roots = self._inventory.roots(repository, only_cached=only_cached)
            yield from roots

    def reach(self, digest: Digest) -> set[Key]:
        """What a manifest leads to and is on disk, the manifest itself included."""
        return self.ask(lambda inventory: inventory.reach(digest))

    def size_of(self, digest: Digest) -> int:
        """Bytes of all that `reach` tells."""
        with self._lock:
            reach = self._inventory.reach(digest)
            return sum(self._inventory.blobs[key] for key in reach)

    def links(self, key: Key) -> tuple[Key, ...]:
        """What a manifest names."""
        return self.ask(lambda inventory: inventory.graph.links(key))

    def sizes(self) -> dict[Key, int]:
        """Bytes of every blob."""
        return self.ask(lambda inventory: dict(inventory.blobs))

    def orphans(self, keys: Collection[Key]) -> Iterator[Key]:
        """Those of the blobs that no reference leads to, asked a few at a time."""
        everything = list(keys)
        for start in range(0, len(everything), _BATCH):
            batch = everything[start : start + _BATCH]
            yield from self.ask(
                lambda inventory, some=batch: [  # type: ignore[misc]
                    key for key in some if not inventory.graph.is_used(key)
                ]
            )

    # -- the walk ----------------------------------------------------------------------------

    def claim(self) -> bool:
        """Whether the caller is to count: True for the first one, if there is need to."""
        if self._claimed:
            return False  # nearly always, and without waiting for somebody's disk
        with self._lock:
            claimed, self._claimed = self._claimed, True
            return not claimed

    @contextmanager
    def counting(self) -> Iterator[Counting]:
        """A new picture, to be filled by a walk; what happens meanwhile is told to both. It takes
        the old one's place at the end, if it was `Counting.complete`."""
        with self._lock:
            fresh = self._next = Counting(self._lock)
        try:
            yield fresh
        finally:
            with self._lock:
                if self._next is fresh:
                    self._next = None
                    if fresh.complete:
                        self._adopt(fresh)

    def _adopt(self, fresh: Counting) -> None:
        if self._released:
            fresh.inodes = {}
        for inode in fresh.inodes.values():
            self._shared.hold(inode, self)
        for inode in set(self._inodes.values()) - set(fresh.inodes.values()):
            self._shared.release(inode, self)
        self._inventory, self._inodes = fresh.inventory, fresh.inodes
        self._exact = True

    def _inventories(self) -> Iterator[Inventory]:
        yield self._inventory
        if self._next:
            yield self._next.inventory

    def _remove(self, key: Key) -> None:
        for inventory in self._inventories():
            inventory.remove_blob(key)
        if self._next:
            self._next.blob_went(key)
        self._leaving.discard(key)
        inode = self._inodes.pop(key, None)
        if inode is not None:
            self._shared.release(inode, self)

    def _sum(self, keys: list[Key]) -> Totals:
        held = self._inventory
        manifests = sum(1 for key in keys if held.graph.is_document(key))
        size = sum(
            held.blobs[key]
            for key in keys
            if key not in self._inodes or not self._shared.is_shared(self._inodes[key])
        )
        return Totals(manifests, len(keys) - manifests, size, self._exact)
