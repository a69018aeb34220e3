"""Files that several trees hold, by hard links: space comes back when the last one lets go."""

import threading


class SharedFiles:
    """Which trees hold a file, by its inode; of those only that have, or had, several links."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[int, set[int]] = {}

    def hold(self, inode: int, holder: object) -> None:
        """``holder`` has a name for the file; telling it twice is telling it once."""
        with self._lock:
            self._holders.setdefault(inode, set()).add(id(holder))

    def release(self, inode: int, holder: object) -> None:
        """``holder`` has none any more."""
        with self._lock:
            holders = self._holders.get(inode, set())
            holders.discard(id(holder))
            if not holders:
                self._holders.pop(inode, None)

    def is_shared(self, inode: int) -> bool:
        """Whether more than one tree holds it."""
        return len(self._holders.get(inode, ())) > 1
