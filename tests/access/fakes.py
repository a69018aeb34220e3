"""What tests of access share: a clock that is told, executors that are watched, and hashes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ALICES = "alice's secret"
ALICES_HASH = "$2b$04$UM.rt19iLGMYcNae8z3AtuKkcQMrkwgKlKx3nzXjJVIFzjD9e03FS"
ALICES_NEXT = "alice's next secret"
ALICES_NEXT_HASH = "$2b$04$AYUhhnlEAJH7mrgnQch.leZy1pvPZ0j.Jh0AFwAaHTK.FZj32U1uq"
BOBS = "bob's secret"
BOBS_HASH = "$2b$04$3mKACKAD5s1DXAWWXPVwwuWLCrYE2Q9Q40MJZEKoZGImU9yu4Z3Ka"

CAROLS = "pässwörd"
DAVES = "apache's default cost"
BY_APACHE = """\
carol:$2y$04$h7M2bFMTsAmXAhPWs98Xle14eKnYz5SVsLQc2VaaE4PdV2J6RCgfu
dave:$2y$05$J2f9CDoiesjUXE8oJ9R/KejrEGXO9jN/TUuaFSqoYpH4TEMOJMf2O
"""
"""What ``htpasswd -B`` of Apache 2.4 wrote."""


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class InlineExecutor(Executor):
    """Does its work at once, and keeps the hashes that passwords were held against."""

    def __init__(self, before_each: Callable[[], object] = lambda: None) -> None:
        self.hashes: list[str] = []
        self._before_each = before_each

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self.hashes += [str(value) for value in args if str(value).startswith("$2")]
        self._before_each()
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 - as every executor
            future.set_exception(exc)
        return future


class HeldExecutor(Executor):
    """Leaves the work in ``held``, for the test to take and do."""

    def __init__(self) -> None:
        self.held: asyncio.Queue[Callable[[], None]] = asyncio.Queue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self.held.put_nowait(lambda: future.set_result(fn(*args, **kwargs)))
        return future


def users_file(folder: Path, **hashes: str) -> Path:
    """A file of users, ``htpasswd`` in the folder."""
    file = folder / "htpasswd"
    file.write_text("".join(f"{user}:{stored}\n" for user, stored in hashes.items()))
    return file
