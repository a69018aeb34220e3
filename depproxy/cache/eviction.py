"""What has to go, and what not: decided from entries, limits and the time alone. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
"""A blob's key."""

R = TypeVar("R")
"""What stands for a reference; None for a blob that no reference leads to."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[R, K]):
    """A reference, or a blob without one: what it leads to, and when it was last pulled, in seconds
    since the epoch."""

    name: R
    pulled: float
    blobs: frozenset[K]


@dataclass(frozen=True, slots=True)
class Limits:
    """``expire_after`` in seconds, ``max_size`` in bytes; None: no limit."""

    expire_after: float | None = None
    max_size: int | None = None

    def __bool__(self) -> bool:
        return self.expire_after is not None or self.max_size is not None


def choose(
    entries: Iterable[Entry[R, K]],
    sizes: Mapping[K, int],
    protected: Collection[K],
    limits: Limits,
    now: float,
) -> list[Entry[R, K]]:
    """The entries that go, least recently pulled first.

    First what nobody has pulled for ``expire_after``; then as much as brings the rest to
    ``max_size``, passing over entries of which every blob is protected, since that frees nothing.
    What stays is therefore at most ``max_size``, plus what is protected. ``sizes`` are in bytes, of
    everything that is on disk.
    """
    by_age = sorted(entries, key=lambda entry: entry.pulled)
    uses = Counter(blob for entry in by_age for blob in entry.blobs)
    total = sum(sizes.values())
    chosen: list[Entry[R, K]] = []
    for entry in by_age:
        is_old = limits.expire_after is not None and now - entry.pulled > limits.expire_after
        is_over = limits.max_size is not None and total > limits.max_size
        if not is_old and not (is_over and any(blob not in protected for blob in entry.blobs)):
            continue
        chosen.append(entry)
        for blob in entry.blobs:
            uses[blob] -= 1
            if not uses[blob] and blob not in protected:
                total -= sizes.get(blob, 0)
    return chosen


def oversized(sizes: Mapping[K, int], busy: Collection[K], limits: Limits) -> list[K]:
    """Blobs that are larger than a group may be: they go whatever leads to them, unless somebody
    reads them."""
    if limits.max_size is None:
        return []
    return [blob for blob, size in sizes.items() if size > limits.max_size and blob not in busy]


@dataclass(frozen=True, slots=True)
class IdleBlob(Generic[K]):
    """A file that some groups hold, none of which uses it now: ``used`` is when it last was, in
    seconds since the epoch, ``size`` in bytes."""

    used: float
    size: int
    names: Sequence[K]


def make_room(blobs: Iterable[IdleBlob[K]], wanted: int) -> list[IdleBlob[K]]:
    """The least recently pulled blobs that free ``wanted`` bytes together, if there are as many."""
    chosen = []
    for blob in sorted(blobs, key=lambda blob: blob.used):
        if wanted <= 0:
            break
        chosen.append(blob)
        wanted -= blob.size
    return chosen
