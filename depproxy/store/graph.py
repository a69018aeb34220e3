"""What leads to what in one tree, and what nothing leads to any more. Pure.

A document is alive while a pointer names it or a living document leads to it; what it leads to is
in use meanwhile. Digests are of their content, so there are no circles.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

Key = bytes
"""A digest's raw bytes: 32 of sha256, 64 of sha512."""


class Graph:
    """Counts for each key the pointers and living documents that lead to it."""

    def __init__(self) -> None:
        self._uses: Counter[Key] = Counter()
        self._links: dict[Key, tuple[Key, ...]] = {}

    def is_used(self, key: Key) -> bool:
        """Whether a pointer or a living document leads to this."""
        return self._uses[key] > 0

    def is_document(self, key: Key) -> bool:
        """Whether it is known what this leads to."""
        return key in self._links

    def links(self, key: Key) -> tuple[Key, ...]:
        """What a document leads to; nothing where that is not known."""
        return self._links.get(key, ())

    def learn(self, key: Key, links: Iterable[Key]) -> None:
        """A document's body is at hand."""
        if key in self._links:
            return
        self._links[key] = tuple(dict.fromkeys(link for link in links if link != key))
        if self.is_used(key):
            self._use(self._links[key])

    def forget(self, key: Key) -> None:
        """A document's body has gone; what it leads to may have lost its last use."""
        links = self._links.pop(key, ())
        if self.is_used(key):
            self._drop(links)

    def point(self, key: Key) -> None:
        """One more pointer names this."""
        self._use((key,))

    def unpoint(self, key: Key) -> list[Key]:
        """One pointer fewer; returns what nothing leads to any more."""
        return self._drop((key,))

    def unused_without(self, keys: Iterable[Key]) -> list[Key]:
        """What `unpoint` of each of these would leave to nothing; changes nothing."""
        lost: Counter[Key] = Counter()
        unused = []
        ways = list(keys)
        while ways:
            key = ways.pop()
            lost[key] += 1
            if lost[key] == max(1, self._uses[key]):
                unused.append(key)
                ways += self._links.get(key, ())
        return unused

    def reach(self, key: Key) -> set[Key]:
        """The key itself, and all that it leads to."""
        found = {key}
        ways = [key]
        while ways:
            for link in self._links.get(ways.pop(), ()):
                if link not in found:
                    found.add(link)
                    ways.append(link)
        return found

    def _use(self, keys: Iterable[Key]) -> None:
        ways = list(keys)
        while ways:
            key = ways.pop()
            self._uses[key] += 1
            if self._uses[key] == 1:
                ways += self._links.get(key, ())

    def _drop(self, keys: Iterable[Key]) -> list[Key]:
        unused = []
        ways = list(keys)
        while ways:
            key = ways.pop()
            if self._uses[key] <= 1:
                del self._uses[key]
                unused.append(key)
                ways += self._links.get(key, ())
            else:
                self._uses[key] -= 1
        return unused

    def __iter__(self) -> Iterator[Key]:
        """Every document."""
        return iter(self._links)
