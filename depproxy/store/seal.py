"""A mark by which a blob that was tampered with is noticed at the cost of one `fstat`.

A verified blob gets a modification time whose nanoseconds repeat its size (modulo 10⁹), so that
whatever writes to, empties or truncates the file behind our back, and thereby changes size or time,
breaks the seal. The seconds stay true, and ``rsync -a`` carries it along. A broken seal accuses
nobody: the blob is hashed again, and sealed again if it is right.
"""

import os

_NANOSECONDS = 10**9


def seal(fd: int) -> None:
    """Mark an open file as verified. Raises OSError."""
    status = os.fstat(fd)
    seconds = status.st_mtime_ns // _NANOSECONDS
    stamp = seconds * _NANOSECONDS + status.st_size % _NANOSECONDS
    os.utime(fd, ns=(stamp, stamp))


def is_sealed(status: os.stat_result) -> bool:
    """Whether a file is as it was when it was verified."""
    return status.st_mtime_ns % _NANOSECONDS == status.st_size % _NANOSECONDS
