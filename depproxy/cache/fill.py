"""A fill: the one download that brings a blob of a group to disk, whoever waits for it.

States and what each may become::

    ASKING     the upstream was asked; size unknown     → FLOWING, PAUSED, FAILED
    FLOWING    bytes arrive                             → PAUSED, VERIFYING, FAILED
    PAUSED     the transfer broke; a new try is due     → FLOWING, PAUSED, FAILED
    VERIFYING  all bytes are here, the digest is not    → VERIFIED, FAILED
    VERIFIED   the digest is right; sync and rename     → STORED, UNSTORED
    STORED     the blob has its name
    UNSTORED   it is right, but could not be stored
    FAILED     `Fill.error` says why

Followers read the growing file from offsets of their own. What they may see ends `LAST_PIECE`
before the blob's end until the digest is right, so nobody ever holds a whole wrong blob.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from enum import Enum

from depproxy.cache.change import Change
from depproxy.cache.transfer import Transfer
from depproxy.errors import (
    ContentMismatch,
    DepproxyError,
    ShuttingDown,
    StoreError,
    StorePurged,
    UpstreamSenseless,
)

_log = logging.getLogger(__name__)

LAST_PIECE = 64 * 1024
"""Bytes that are held back until the digest is known: docker and containerd read that much at
once, and less would come in packets that are mostly headers."""


class State(Enum):
    """Where a fill is; this file's docstring has the table."""

    ASKING = "asking"
    FLOWING = "flowing"
    PAUSED = "paused"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    STORED = "stored"
    UNSTORED = "unstored"
    FAILED = "failed"


NEXT: dict[State, frozenset[State]] = {
    State.ASKING: frozenset({State.FLOWING, State.PAUSED, State.FAILED}),
    State.FLOWING: frozenset({State.PAUSED, State.VERIFYING, State.FAILED}),
    State.PAUSED: frozenset({State.FLOWING, State.PAUSED, State.FAILED}),
    State.VERIFYING: frozenset({State.VERIFIED, State.FAILED}),
    State.VERIFIED: frozenset({State.STORED, State.UNSTORED}),
    State.STORED: frozenset(),
    State.UNSTORED: frozenset(),
    State.FAILED: frozenset(),
}

_RIGHT = frozenset({State.VERIFIED, State.STORED, State.UNSTORED})
ENDED = frozenset({State.STORED, State.UNSTORED, State.FAILED})

Measure = Callable[[], Awaitable[int | None]]
"""Ask for the blob's size in bytes, where what came did not tell it."""


class Fill:
    """One blob on its way from the upstream to disk. Lives on the event loop."""

    def __init__(
        self,
        transfer: Transfer,
        *,
        measure: Measure,
        disk: Executor,
        hashing: Executor,
        verified: Callable[[int], None],
        resumed: Callable[[], None],
    ) -> None:
        """``verified`` is told the size in bytes when the digest turns out to be right, ``resumed``
        that bytes come again after the transfer had broken."""
        self.state = State.ASKING
        self.error: DepproxyError | None = None
        self._transfer = transfer
        self._partial = transfer.partial
        self._upstream = transfer.upstream
        self._measure = measure
        self._disk = disk
        self._hashing = hashing
        self._verified = verified
        self._resumed = resumed
        self._loop = asyncio.get_running_loop()
        self._change = Change()
        self._size_known = False
        self._size: int | None = None
        self._hash_task: asyncio.Future[int] | None = None
        self._measure_task: asyncio.Task[None] | None = None
        self._readers = 0

    # -- for followers -----------------------------------------------------------------------

    def hold(self) -> None:
        """Keep the file readable until `release`."""
        self._readers += 1

    def release(self) -> None:
        """Undo one `hold`. The file is closed with the last one, when the fill has ended."""
        self._readers -= 1
        self._close_if_done()

    async def size(self) -> int | None:
        """Bytes, None where nobody knows: as soon as headers may be sent.

        A blob that is held back whole is verified first: its reader gets an error, not a cut.
        Raises why the fill failed.
        """
        while True:
            self._raise_if_failed()
            if self.state in _RIGHT:
                return self._partial.written
            held_back = self._size is not None and self._size <= LAST_PIECE
            if self._size_known and not held_back:
                return self._size
            await self._change.wait()

    async def readable_to(self, offset: int) -> int:
        """Wait until bytes from ``offset`` on may be sent; returns where they end.

        Returns ``offset`` at the end of a verified blob. Raises why the fill failed.
        """
        while True:
            self._raise_if_failed()
            if self.state in _RIGHT:
                return max(offset, self._partial.written)
            end = self._partial.written if self._size is None else self._size
            visible = min(self._partial.written, end - LAST_PIECE)
            if visible > offset:
                return visible
            await self._change.wait()

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes; ask `readable_to` first. Raises `StoreError`."""
        return self._partial.read(offset, length)

    @property
    def fd(self) -> int:
        """The open file, for those who `hold` it."""
        return self._partial.fd

    @property
    def written(self) -> int:
        """Bytes on disk so far, right or wrong."""
        return self._partial.written

    @property
    def known_size(self) -> int | None:
        """Bytes of the blob, if they are known yet."""
        return self._size

    @property
    def told_size(self) -> int | None:
        """Bytes that the upstream says it has, also where there was no room for them."""
        return self._partial.size

    def _raise_if_failed(self) -> None:
        if self.error is not None:
            raise self.error

    # -- the download ------------------------------------------------------------------------

    async def run(self) -> None:
        """Download, verify, store. Raises nothing: the state and `error` tell."""
        try:
            await self._transfer.run(self)
            self._become(State.VERIFYING)
            await self._verify()
            self._settle_size(self._partial.written)
            self._become(State.VERIFIED)
            self._verified(self._partial.written)
            await self._store()
        except DepproxyError as exc:
            self._fail(exc)
        except asyncio.CancelledError:
            self._fail(ShuttingDown())
            raise
        except Exception as exc:  # noqa: BLE001 - followers must not wait for ever
            _log.exception("a fill of %s ended unexpectedly", self._partial.digest)
            self._fail(StoreError(f"the download ended unexpectedly: {exc}"))
        finally:
            if self._measure_task:
                self._measure_task.cancel()
            self._partial.discard()
            self._close_if_done()

    def give_up(self) -> None:
        """In the place of `run`, where that never began."""
        self._fail(ShuttingDown())
        self._partial.discard()
        self._close_if_done()

    async def _verify(self) -> None:
        if self._hash_task:
            await asyncio.wait({self._hash_task})
        await self._start_hashing()
        if not self._partial.is_right():
            raise ContentMismatch(
                self._upstream,
                f"it sends other bytes than {self._partial.digest} names; nothing was kept",
            )
        if self._size_known and self._size not in (None, self._partial.written):
            # The blob is right and will be kept, but its followers were promised another length.
            self.error = UpstreamSenseless(
                self._upstream, f"it has {self._partial.written} bytes where {self._size} were told"
            )

    def _start_hashing(self) -> asyncio.Future[int]:
        """Hash on a thread what is on disk by now; `_hashed` goes on with what came meanwhile."""
        task = self._loop.run_in_executor(self._hashing, self._partial.hash_written)
        self._hash_task = task
        task.add_done_callback(self._hashed)
        return task

    def _hashed(self, task: asyncio.Future[int]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if task is not self._hash_task:
            return
        self._hash_task = None
        if not failed and self.state is State.FLOWING and task.result() < self._partial.written:
            self._start_hashing()
        self._close_if_done()

    async def _store(self) -> None:
        try:
            await self._loop.run_in_executor(self._disk, self._partial.publish)
        except StorePurged:
            self._become(State.UNSTORED)
        except StoreError as exc:
            _log.warning("%s was not kept: %s", self._partial.digest, exc)
            self._become(State.UNSTORED)
        else:
            self._become(State.STORED)

    # -- what the transfer reports -----------------------------------------------------------

    def began(self, size: int | None) -> None:
        """See `Listener`."""
        if self.state is State.PAUSED:
            self._resumed()
        if self.state in (State.ASKING, State.PAUSED):
            self._become(State.FLOWING)
        if size is not None:
            self._settle_size(size)
        elif self._measure_task is None:
            self._measure_task = self._loop.create_task(self._measure_size())

    async def _measure_size(self) -> None:
        try:
            size = await self._measure()
        except DepproxyError:
            size = None
        self._settle_size(size)

    def _settle_size(self, size: int | None) -> None:
        if not self._size_known:
            self._size, self._size_known = size, True
            self._change.notify()

    def grew(self) -> None:
        """See `Listener`."""
        if self._hash_task is None and self.state is State.FLOWING:
            self._start_hashing()
        self._change.notify()

    def broke(self) -> None:
        """See `Listener`."""
        self._become(State.PAUSED)

    def _become(self, state: State) -> None:
        if state not in NEXT[self.state]:
            raise AssertionError(f"a fill cannot go from {self.state} to {state}")
        self.state = state
        self._change.notify()

    def _fail(self, error: DepproxyError) -> None:
        """Whatever happens to a blob that is right no longer concerns its followers."""
        if self.state is State.VERIFIED:
            self._become(State.UNSTORED)
        elif self.state not in ENDED:
            self.error = error
            self._become(State.FAILED)

    def _close_if_done(self) -> None:
        if self.state in ENDED and self._readers == 0 and self._hash_task is None:
            self._partial.close()
