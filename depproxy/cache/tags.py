"""What a tag's pointer becomes when something was learned: pure."""

from dataclasses import replace

from depproxy.config import GroupConfig
from depproxy.errors import UpstreamError, UpstreamRefused
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.store.pointers import TagPointer


def announced(pointer: TagPointer | None, newest: Descriptor, on_disk: bool) -> TagPointer:
    """The upstream has just named ``newest``, whose body is on disk or not."""
    if on_disk:
        return TagPointer(current=newest)
    if pointer is None:
        return TagPointer(announced=newest)
    if pointer.current and pointer.current.digest == newest.digest:
        # Its body has gone from disk: it will be fetched again, under the same name.
        return TagPointer(current=pointer.current)
    return TagPointer(current=pointer.current, announced=newest)


def arrived(pointer: TagPointer | None, digest: Digest) -> TagPointer | None:
    """The body of the announced manifest is on disk now."""
    if pointer and pointer.announced and pointer.announced.digest == digest:
        return replace(pointer, current=pointer.announced, announced=None)
    return pointer


def gone(pointer: TagPointer | None) -> TagPointer | None:
    """The upstream has answered 404: what it answered before is kept, and not served."""
    return replace(pointer, gone=True) if pointer else None


def may_serve_stale(
    error: UpstreamError | None, group: GroupConfig, last_checked: float | None, now: float
) -> bool:
    """Whether a cached manifest may be served although the upstream did not confirm it.

    ``error`` is what the upstream did, None where it was too slow; both times are seconds since the
    epoch. Limits count from the last time it answered 200.
    """
    refused = isinstance(error, UpstreamRefused)
    limits = [group.stale_for, group.refused_stale_for if refused else None]
    limit = min((limit for limit in limits if limit is not None), default=None)
    if limit is None:
        return True
    return last_checked is not None and now - last_checked <= limit
