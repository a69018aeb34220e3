"""What a tag's pointer becomes when something was learned: pure."""

from dataclasses import replace

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.store.pointer_format import TagPointer


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
