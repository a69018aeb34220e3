"""A file without a name: bytes on their way through, gone when it is closed."""

import os
import secrets

from depproxy.store.files import (
    FILE_MODE,
    Directory,
    OpenFile,
    allocate,
    make_directories,
    translated,
    unlink_quietly,
)
from depproxy.store.partial import PARTIALS


class Spool:
    """One thread appends, another reads what is there."""

    def __init__(self, tree: Directory) -> None:
        """Raises `StoreError`."""
        self.size = 0
        path = f"{PARTIALS}/{secrets.token_hex(8)}.spool"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with translated("a range is passed through"):
            make_directories(PARTIALS, tree.fd)
            self._file = OpenFile(os.open(path, flags, FILE_MODE, dir_fd=tree.fd))
        unlink_quietly(path, tree.fd)

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes from the disk now, where the file system can. Raises `StoreFull`."""
        with translated(f"no room for {size} bytes"), self._file.in_call() as fd:
            allocate(fd, size)

    def append(self, data: memoryview) -> None:
        """Raises `StoreError`."""
        with translated("a range is passed through"), self._file.in_call() as fd:
            while data:
                count = os.pwrite(fd, data, self.size)
                self.size += count
                data = data[count:]

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes. Raises `StoreError`."""
        with translated("a range is passed through"):
            return os.pread(self._file.fd, length, offset)

    def close(self) -> None:
        """Safe to call twice."""
        self._file.close()
