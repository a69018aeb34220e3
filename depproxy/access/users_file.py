"""The users' file on disk: read whole, replaced whole."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from depproxy.errors import UsersFileError

_MAX_SIZE = 16 * 1024 * 1024
"""Bytes; far more than users there are."""

_NEW_MODE = 0o640
"""Of a new file: its group is the folder's, so that a server of that group can read it."""

Stamp = tuple[int, int, int]
"""Changes when the file does: inode, time in nanoseconds, bytes."""


def stamp(file: Path) -> Stamp | None:
    """None where there is no such file."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_users_file(file: Path) -> str:
    """Raises `UsersFileError`."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_SIZE).decode("utf-8-sig", "replace")
    except OSError as exc:
        raise UsersFileError(f"{file} cannot be read: {exc.strerror}") from exc


def change_users_file(file: Path, change: Callable[[str], str]) -> None:
    """Replace the content by what ``change`` makes of it (empty where there is no file yet).

    One process at a time, readers see the old or the new file, and owner and mode stay. Raises
    `UsersFileError`.
    """
    target = Path(os.path.realpath(file))  # a link stays a link
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            is_new = not target.exists()
            before = "" if is_new else target.read_bytes().decode("utf-8", "surrogateescape")
            _replace(target, change(before).encode("utf-8", "surrogateescape"), is_new=is_new)
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise UsersFileError(f"{file} cannot be changed: {exc.strerror}") from exc


def _replace(target: Path, content: bytes, *, is_new: bool) -> None:
    like = os.stat(target.parent if is_new else target)
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            with contextlib.suppress(PermissionError):
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, _NEW_MODE if is_new else like.st_mode & 0o7777)
            os.fsync(fd)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
