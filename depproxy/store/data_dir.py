"""The data folder: its lock, its secrets, its groups' trees, and what was purged."""

import errno
import fcntl
import json
import logging
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from depproxy.errors import StoreError
from depproxy.oci.names import GroupName
from depproxy.store.files import (
    DIRECTORY,
    delete,
    make_directories,
    read_file,
    settle,
    sweep,
    translated,
    walk,
    write_file,
)
from depproxy.store.remembered import Bodies
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree

_log = logging.getLogger(__name__)

_SECRET_BYTES = 32
"""256 bits: beyond guessing, and the key size of HMAC-SHA-256."""

_MAX_SECRET = 4096
"""Bytes of a file that holds one."""

_MAX_USAGE = 1024 * 1024
"""Bytes; 30 days of hours have some 70,000."""


class DataDirBusy(StoreError):
    """Another server works on this folder."""


class DataDir:
    """One server's folder. Made by `open_data_dir`."""

    def __init__(self, path: Path, fd: int, lock_fd: int) -> None:
        self._path = path
        self._fd = fd
        self._lock_fd = lock_fd
        self._trees: dict[GroupName, Tree] = {}
        self._shared = SharedFiles()
        self._bodies = Bodies()
        self._guard = threading.Lock()

    def secret(self, name: str) -> str:
        """The content of ``admin_token`` or ``token_key``, made at the first start, mode 0600.

        One that is there is never replaced: raises `StoreError` where it cannot be read.
        """
        with translated(f"{self._path / name} is read"):
            try:
                with (self._path / name).open("rb") as file:
                    found = file.read(_MAX_SECRET).decode("utf-8", "replace").strip()
            except FileNotFoundError:
                found = ""
        if found:
            return found
        value = secrets.token_urlsafe(_SECRET_BYTES)
        with translated(f"{self._path / name} is written"):
            write_file(name, value.encode() + b"\n", self._fd, "trash", mode=0o600)
        return value

    def tree(self, group: GroupName) -> Tree:
        """The group's current generation, made if it is missing.

        Another process may have purged it: one `stat` tells. Where it cannot be made, as on a full
        disk, the tree is an empty one into which nothing can be written. Does not sync: see
        `sync_tree`.
        """
        with self._guard:
            return self._current(group)

    def _current(self, group: GroupName) -> Tree:
        path = f"groups/{group}/-"
        known = self._trees.get(group)
        is_new = False
        for _ in range(3):
            try:
                if known and known.is_at(os.stat(path, dir_fd=self._fd)):
                    return known
                fd = os.open(path, DIRECTORY, dir_fd=self._fd)
                if known:
                    known.release()  # another process has purged it
                known = Tree(group, fd, self._shared, self._bodies, is_new=is_new)
                self._trees[group] = known
                return known
            except FileNotFoundError:
                try:
                    make_directories(path, self._fd, sync=False)
                    is_new = True
                except OSError:
                    break
            except OSError:
                break
        return Tree(group, -1, self._shared, self._bodies)

    def known_tree(self, group: GroupName) -> Tree | None:
        """The group's tree if it was asked for before; not made, and not looked at."""
        with self._guard:
            return self._trees.get(group)

    def sync_tree(self, group: GroupName) -> None:
        """Make a new tree's name durable. Blocks; failures show when something is stored."""
        parts = ["groups", *group.split("/"), "-"]
        for depth in range(2, len(parts) + 1):
            settle("/".join(parts[:depth]), self._fd)

    def trees(self) -> list[Tree]:
        """Those that were asked for and not purged by this server."""
        with self._guard:
            return list(self._trees.values())

    def purge(self, group: GroupName) -> Tree | None:
        """Take the group's tree away by one rename; None where there was none. Call `Tree.release`
        when it was looked at.

        What it held is deleted by `empty_trash`. Raises `StoreError`.
        """
        name = f"trash/{secrets.token_hex(8)}"
        with translated("the cache is cleared"):
            make_directories("trash", self._fd)
        with self._guard:
            tree = self._current(group)
            if not tree.is_there:
                return None
            with translated("the cache is cleared"):
                os.rename(f"groups/{group}/-", name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            self._trees.pop(group, None)
        for path in (f"groups/{group}/-", name):
            settle(path, self._fd)
        return tree

    def empty_trash(self, stop: threading.Event) -> None:
        """Delete what was purged, now or before a crash. Blocks for as long as that takes, or until
        ``stop`` is set. Raises `StoreError`.

        A fill that ends meanwhile may still publish into it, hence the repeated tries.
        """
        sweep("trash", self._fd)  # not what is being written there now
        with translated("what was cleared is deleted"):
            paths = [path for path in (self._path / "trash").iterdir() if path.is_dir()]
        for path in paths:
            for _ in range(5):
                delete(str(path), None, stop)
                if stop.is_set():
                    return
                if not os.path.lexists(path):
                    break
            else:
                _log.warning("%s cannot be deleted yet", path)

    def read_usage(self, group: GroupName) -> object:
        """What `write_usage` has written; None where there is nothing that can be read."""
        try:
            return json.loads(read_file(_usage_path(group), self._fd, _MAX_USAGE) or b"null")
        except (ValueError, RecursionError):
            return None

    def write_usage(self, group: GroupName, document: object) -> None:
        """Keep a group's counters, beside its tree: they outlive a purge. Raises `StoreError`."""
        with translated("counters are written"):
            make_directories(f"groups/{group}", self._fd)
            make_directories("trash", self._fd)
            body = json.dumps(document).encode() + b"\n"
            write_file(_usage_path(group), body, self._fd, "trash")

    def groups(self) -> list[GroupName]:
        """The groups that have a tree on disk, whether the configuration names them or not."""
        found = []
        for folder, names, _, _ in walk("groups", self._fd):
            if "-" in names:
                found.append(GroupName(folder.partition("/")[2]))
                names.remove("-")
        return sorted(found)

    def free(self) -> tuple[int, int]:
        """Bytes that are free on the disk, and all that it has. Raises `StoreError`."""
        with translated("the disk is examined"):
            status = os.statvfs(self._fd)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def is_readable(self) -> bool:
        """Whether hits can be served."""
        try:
            os.stat("groups", dir_fd=self._fd)
        except OSError:
            return False
        return True

    def why_degraded(self, least_free: int) -> str | None:
        """Why nothing can be stored now, or None. ``least_free`` is in bytes."""
        try:
            status = os.statvfs(self._fd)
        except OSError as exc:
            return f"the data folder cannot be examined: {exc.strerror}"
        if status.f_flag & os.ST_RDONLY:
            return "the disk is read-only"
        if status.f_bavail * status.f_frsize < least_free:
            return "the disk is full"
        return None

    def close(self) -> None:
        """Let another server have the folder."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        os.close(self._fd)


def _usage_path(group: GroupName) -> str:
    """``-`` begins no segment of a group's name."""
    return f"groups/{group}/-usage.json"


def open_data_dir(path: Path) -> DataDir:
    """Make or open the folder, and lock it for one server.

    Raises `DataDirBusy`, and `StoreError` where it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"the data folder {path} cannot be made: {exc.strerror}") from exc
    with translated(f"the data folder {path} is opened"):
        fd = os.open(path, DIRECTORY)
        lock_fd = -1
        try:
            lock_fd = _open_lock(fd)
            _lock(lock_fd, path)
            for name in ("groups", "trash"):
                make_directories(name, fd)
        except BaseException:
            os.close(fd)
            if lock_fd >= 0:
                os.close(lock_fd)
            raise
    return DataDir(path, fd, lock_fd)


def look_into_data_dir(path: Path) -> DataDir:
    """Open the folder beside the server that may work on it: for commands.

    Raises `StorePurged` where there is none, and `StoreError` where this user may not look into it:
    to him, a full cache would look like an empty one.
    """
    with translated(f"the data folder {path} is opened"):
        data = DataDir(path, os.open(path, DIRECTORY), -1)
        with suppress(FileNotFoundError):  # no server has worked on it yet
            os.close(os.open(path / "groups", DIRECTORY))
        return data


def _lock(lock_fd: int, path: Path) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise DataDirBusy(
                f"another server works on {path}: stop it, or give this one another data_dir"
            ) from exc
        raise


def _open_lock(fd: int) -> int:
    try:
        return os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=fd)
    except OSError as exc:
        if exc.errno != errno.EROFS:
            raise
        return os.open("lock", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)  # hits go on
