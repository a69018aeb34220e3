"""The pools of threads of one server, each for work that must not wait for the others'."""

import os
from concurrent.futures import ThreadPoolExecutor

DISK_THREADS = 16
"""Threads that store blobs: syncing a large one takes a thread for seconds."""

NOTE_THREADS = 4
"""Threads that write manifests and pointers, which must not wait for blobs."""

CHORE_THREADS = 2
"""Threads that count and delete in the background."""

HASHING_THREADS = 2
"""Threads that hash: more than there are cores would only take turns."""

PASSWORD_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Threads that check passwords, which takes a core: half of them at most."""

METRICS_THREADS = 1
"""Threads that answer scrapes: one after the other, and nobody else waits for a disk that hangs."""


class Threads:
    """They end with the server."""

    def __init__(self) -> None:
        self.disk = ThreadPoolExecutor(DISK_THREADS, "disk")
        self.notes = ThreadPoolExecutor(NOTE_THREADS, "notes")
        self.hashing = ThreadPoolExecutor(HASHING_THREADS, "hashing")
        self.chores = ThreadPoolExecutor(CHORE_THREADS, "chores")
        self.passwords = ThreadPoolExecutor(PASSWORD_THREADS, "passwords")
        self.metrics = ThreadPoolExecutor(METRICS_THREADS, "metrics")

    def stop(self) -> None:
        """What has not begun never will; what has ends."""
        quick = (self.metrics, self.passwords, self.chores)
        for pool in (*quick, self.hashing, self.notes, self.disk):
            pool.shutdown(cancel_futures=True)
