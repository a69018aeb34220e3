"""Files that appear whole or not at all."""

import ctypes
import errno
import fcntl
import logging
import os
import secrets
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from depproxy.errors import StoreError, StoreFull, StorePurged

_log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How directories are opened."""

TREE_MODE = 0o750
FILE_MODE = 0o640
"""Private groups are on this disk too: others of the machine have no business here."""

_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE of fallocate(2): the file's size goes on telling how much was written."""

_NO_RESERVATION = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What fallocate(2) answers where the file system cannot reserve."""


class Directory:
    """An open directory, closed when nobody holds it any more: by whoever works in it, so that a
    number never comes to mean another folder."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        if fd >= 0:
            weakref.finalize(self, os.close, fd)


class OpenFile:
    """A file that one thread may close while another one is in a call on it. The last of them
    closes it: until then its number is no other file's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._calls = 0
        self._is_left = False

    @contextmanager
    def in_call(self) -> Iterator[int]:
        """The descriptor, for as long as this lasts. Raises OSError when it was closed."""
        with self._lock:
            if self._is_left:
                raise OSError(errno.EBADF, "it was given up")
            self._calls += 1
        try:
            yield self.fd
        finally:
            with self._lock:
                self._calls -= 1
                self._close_if_left()

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            self._is_left = True
            self._close_if_left()

    def _close_if_left(self) -> None:
        if self._is_left and not self._calls and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """The only place where `OSError` becomes `StoreError`. ``doing``: "the blob is written"."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreFull(f"the disk is full: {doing}") from exc
        if exc.errno in (errno.ENOENT, errno.ESTALE):
            raise StorePurged(f"the cache was cleared meanwhile: {doing}") from exc
        raise StoreError(f"the disk fails ({exc.strerror}): {doing}") from exc


def make_directories(path: str, dir_fd: int, *, sync: bool = True) -> None:
    """``mkdir -p`` below an open directory, each new name synced into its parent. Raises
    `OSError`."""
    try:
        os.mkdir(path, TREE_MODE, dir_fd=dir_fd)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if not parent:
            raise
        make_directories(parent, dir_fd, sync=sync)
        with suppress(FileExistsError):
            os.mkdir(path, TREE_MODE, dir_fd=dir_fd)
    if sync:
        sync_directory(os.path.dirname(path) or ".", dir_fd)


def sync_directory(path: str, dir_fd: int | None = None) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, DIRECTORY, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def settle(path: str, dir_fd: int) -> None:
    """Make a name durable that is there already, or gone. Where that fails, a crash may undo it;
    until then it is as good as any."""
    try:
        sync_directory(os.path.dirname(path) or ".", dir_fd)
    except OSError as exc:
        _log.warning("the folder of %s cannot be synced: %s", path, exc.strerror)


def read_file(path: str, dir_fd: int, limit: int) -> bytes | None:
    """A small file's content; None where it is missing, unreadable or longer than ``limit``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        data = os.read(fd, limit + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) <= limit else None


def exists(path: str, dir_fd: int) -> bool:
    """Whether something has this name."""
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def create_locked(path: str, dir_fd: int, mode: int = FILE_MODE) -> int:
    """A new file, locked (flock) as long as its descriptor is open: `sweep` spares it.

    Raises OSError.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=dir_fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # swept between its creation and its lock


def sweep(path: str, dir_fd: int) -> None:
    """Remove the files of a folder that nobody has locked: crashed processes left them. What cannot
    be removed stays for the next time."""
    try:
        folder = os.open(path, DIRECTORY, dir_fd=dir_fd)
    except OSError:
        return
    try:
        for name in os.listdir(folder):
            with suppress(OSError):
                _sweep_one(name, folder)
    finally:
        os.close(folder)


def _sweep_one(name: str, folder: int) -> None:
    """Raises OSError, also where it is locked."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


def write_file(path: str, data: bytes, dir_fd: int, scratch: str, mode: int = FILE_MODE) -> None:
    """Write and sync ``scratch``/…, then rename it to ``path`` and sync that folder.

    Both are relative to ``dir_fd`` and on one file system. Raises OSError.
    """
    temporary = f"{scratch}/{secrets.token_hex(8)}.tmp"
    fd = create_locked(temporary, dir_fd, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            os.rename(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        finally:
            os.close(fd)  # and so unlock: `sweep` takes what has its first name still
    except BaseException:
        unlink_quietly(temporary, dir_fd)
        raise
    settle(path, dir_fd)


def unlink_quietly(path: str, dir_fd: int | None = None) -> None:
    """Remove a name if it is there and can be removed."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except OSError:
        pass


def delete(path: str, dir_fd: int | None, stop: threading.Event) -> None:
    """Remove a file, or a folder with all that is in it, until ``stop`` is set; what cannot be
    removed stays. Others may delete the same."""
    try:
        os.unlink(path, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except OSError:
        pass  # a folder
    for _, folders, names, folder_fd in walk(path, dir_fd, topdown=False):
        for name in names:
            if stop.is_set():
                return
            unlink_quietly(name, folder_fd)
        for name in folders:
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder_fd)
    with suppress(OSError):
        os.rmdir(path, dir_fd=dir_fd)


def walk(
    top: str, dir_fd: int | None, *, topdown: bool = True
) -> Iterator[tuple[str, list[str], list[str], int]]:
    """`os.fwalk` below an open directory, passing over whatever is missing or unreadable."""
    try:
        yield from os.fwalk(top, topdown, dir_fd=dir_fd)
    except OSError:
        return


def allocate(fd: int, size: int) -> None:
    """Reserve ``size`` bytes for a file, where the file system can. Raises OSError.

    By fallocate(2), which os.posix_fallocate cannot replace: that one grows the file, and writes
    zeros where the file system can't reserve."""
    if size == 0 or _fallocate is None:
        return
    if _fallocate(fd, _KEEP_SIZE, 0, size) != 0:
        code = ctypes.get_errno()
        if code not in _NO_RESERVATION:
            raise OSError(code, os.strerror(code))


def _load_fallocate() -> "ctypes._NamedFuncPointer | None":
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        function.restype = ctypes.c_int
    return function


_fallocate = _load_fallocate()
