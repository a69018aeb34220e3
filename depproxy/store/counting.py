"""The picture that a walk fills, while the tree goes on changing. Safe to use from any thread."""

import threading
from collections.abc import Collection

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.names import Tag
from depproxy.store.graph import Key
from depproxy.store.inventory import Inventory, Reference, Selection, key_of
from depproxy.store.repository import Repository


class Counting:
    """A picture that a walk fills. What the walk has found may be old when it says so: whatever was
    told meanwhile counts instead."""

    def __init__(self, lock: threading.RLock) -> None:
        """``lock`` is that of the picture in whose place this one will be."""
        self.inventory = Inventory()
        self.inodes: dict[Key, int] = {}
        """Of files with several links."""
        self.complete = False
        self._removed: set[Key] = set()
        self._told: set[tuple[Repository, Tag | Digest | None]] = set()
        self._variants: set[Key] = set()
        self._lock = lock

    # -- what is told meanwhile, with the lock held, beside what the inventory is told ---------

    def blob_came(self, key: Key) -> None:
        self._removed.discard(key)

    def blob_went(self, key: Key) -> None:
        self._removed.add(key)
        self.inodes.pop(key, None)

    def pointer_came(self, reference: Reference) -> None:
        self._told.add((reference.repository, reference.reference))

    def drop(self, selection: Selection) -> None:
        """References have gone, whether the walk has found them already or not."""
        self.inventory.drop(selection)
        names: list[Tag | Digest | None] = [*selection.tags, *selection.digests]
        if selection.is_whole:
            names = [None]
        self._told |= {(selection.repository, name) for name in names}

    # -- what the walk finds -----------------------------------------------------------------

    def found_blob(self, key: Key, size: int, inode: int | None) -> None:
        """``inode`` of files with several links."""
        with self._lock:
            if key in self._removed:
                return
            self.inventory.add_blob(key, size)
            if inode is not None:
                self.inodes[key] = inode

    def found_tag(self, reference: Reference) -> None:
        with self._lock:
            if not self._is_old(reference):
                self.inventory.set_tag(reference)

    def found_digest(self, reference: Reference) -> None:
        with self._lock:
            if not self._is_old(reference):
                self.inventory.set_digest(reference)

    def unread(self, more: Collection[Key] = ()) -> list[Key]:
        """Manifests, and those of ``more``, of which it is not known what they lead to."""
        with self._lock:
            known = self.inventory
            return [
                key
                for key in known.documents().union(self._variants, more)
                if key in known.blobs and not known.graph.is_document(key)
            ]

    def found_body(self, key: Key, body: bytes) -> None:
        contents = contents_of(body)
        links = [key_of(link) for link in contents.digests]
        with self._lock:
            if key in self.inventory.blobs:
                self.inventory.graph.learn(key, links)
                self._variants.update(key_of(variant.digest) for variant in contents.variants)

    def _is_old(self, reference: Reference) -> bool:
        repository = reference.repository
        return (repository, reference.reference) in self._told or (repository, None) in self._told
