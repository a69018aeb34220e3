"""What upstreams said 404 to, remembered for a while."""

from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary

from depproxy.cache.source import Source
from depproxy.oci.digest import Digest
from depproxy.oci.names import Tag
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from depproxy.upstream.registry import Registry

_MAX_KEPT = 10_000
"""References of one group: a scanner that tries names must not fill the memory."""


class Missing:
    """References that an upstream does not have. A purge of the group forgets all of its own: the
    memory hangs on the tree."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: WeakKeyDictionary[
            Tree, OrderedDict[tuple[Registry, Repository, Tag | Digest], float]
        ] = WeakKeyDictionary()

    def remember(self, source: Source, reference: Tag | Digest) -> None:
        """The upstream has just answered 404."""
        known = self._until.setdefault(source.tree, OrderedDict())
        key = _key(source, reference)
        known[key] = self._clock() + source.group.not_found_ttl
        known.move_to_end(key)
        if len(known) > _MAX_KEPT:
            known.popitem(last=False)

    def forget(self, source: Source, reference: Tag | Digest) -> None:
        """The upstream has it after all."""
        self._until.get(source.tree, OrderedDict()).pop(_key(source, reference), None)

    def forget_cleared(
        self, tree: Tree, repository: Repository, reference: Tag | Digest | None
    ) -> None:
        """An image was cleared, or one reference of it: what comes after starts anew."""
        known = self._until.get(tree, OrderedDict())
        for key in [key for key in known if key[1] == repository and reference in (None, key[2])]:
            del known[key]

    def clear(self) -> None:
        """Forget everything."""
        self._until.clear()

    def __contains__(self, asked: tuple[Source, Tag | Digest]) -> bool:
        source, reference = asked
        known = self._until.get(source.tree, OrderedDict())
        return known.get(_key(source, reference), 0.0) > self._clock()


def _key(source: Source, reference: Tag | Digest) -> tuple[Registry, Repository, Tag | Digest]:
    """With the way to the upstream: what the one before a reload says, perhaps late, says nothing
    of the new one."""
    return source.registry, source.repository, reference
