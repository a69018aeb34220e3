"""Which blobs are read, filled or written now, so that nobody takes them away meanwhile."""

from collections import Counter

from depproxy.oci.digest import Digest
from depproxy.store.tree import Tree

_Name = tuple[Tree, Digest]


class InUse:
    """Counts uses. Changed on the event loop, asked from any thread."""

    def __init__(self) -> None:
        self._uses: Counter[_Name] = Counter()
        self._writes: Counter[_Name] = Counter()

    def enter(self, tree: Tree, digest: Digest) -> None:
        """Somebody reads a blob, or is about to."""
        self._uses[tree, digest] += 1

    def leave(self, tree: Tree, digest: Digest) -> None:
        _one_less(self._uses, (tree, digest))

    def begin_write(self, tree: Tree, digest: Digest) -> None:
        """A blob is being filled, or a manifest kept: soon a pointer will name it."""
        self._writes[tree, digest] += 1

    def end_write(self, tree: Tree, digest: Digest) -> None:
        _one_less(self._writes, (tree, digest))

    def is_used(self, tree: Tree, digest: Digest) -> bool:
        return self._uses[tree, digest] > 0 or self.is_written(tree, digest)

    def is_written(self, tree: Tree, digest: Digest) -> bool:
        return self._writes[tree, digest] > 0

    def digests(self, tree: Tree) -> set[Digest]:
        """What is in use of a tree."""
        names = [*list(self._uses), *list(self._writes)]
        return {digest for used, digest in names if used is tree}


def _one_less(counts: Counter[_Name], name: _Name) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
