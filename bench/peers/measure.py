"""What is measured, in which unit, and what a server spends meanwhile."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

MIB = 2**20
GIB = 2**30

LIMIT = 10.0
"""Seconds that an answer is waited for where it may never come."""

_TICKS = os.sysconf("SC_CLK_TCK")
_RESET_PEAK = "5"
"""For ``/proc/<pid>/clear_refs``, see proc(5): the peak becomes what is resident now."""


@dataclass(frozen=True)
class Quantity:
    """A column of numbers, with its unit. Values at ``limit`` mean: not within that."""

    name: str
    unit: str
    more_is_better: bool = False
    limit: float | None = None
    has_ratio: bool = True

    def __str__(self) -> str:
        return f"{self.name}, {self.unit}" if self.unit else self.name


Values = dict[Quantity, float]

REQUESTS = Quantity("requests", "1/s", more_is_better=True)
CPU_PER_REQUEST = Quantity("CPU per request", "µs")
THROUGHPUT = Quantity("throughput", "GiB/s", more_is_better=True)
CPU_PER_GIB = Quantity("CPU per GiB", "s")
CPU = Quantity("CPU", "s")
PEAK = Quantity("peak memory", "MiB")
MEDIAN = Quantity("half answered within", "ms")
P99 = Quantity("99 % answered within", "ms")
WORST = Quantity("slowest answer", "ms")
BESIDE = Quantity("the large ones meanwhile", "GiB/s", more_is_better=True)
WALL = Quantity("until the client has all", "s")
FIRST_BYTE = Quantity("until the first byte", "ms")
KEPT_AFTER = Quantity("from the last byte until kept", "s", has_ratio=False)
DOWNLOADS = Quantity("downloads at the upstream", "", has_ratio=False)
CONNECTED = Quantity("until all are connected", "s")
FIRST_ANSWER = Quantity("first answer", "s", limit=LIMIT)
SECOND_ANSWER = Quantity("second answer", "s", limit=LIMIT)
START = Quantity("until the first answer", "s", limit=LIMIT)
START_EMPTY = Quantity("the same with an empty folder", "s", limit=LIMIT)

QUANTITIES = (
    *(REQUESTS, CPU_PER_REQUEST, THROUGHPUT, CPU_PER_GIB, MEDIAN, P99, WORST, BESIDE, WALL),
    *(
        CONNECTED,
        FIRST_BYTE,
        KEPT_AFTER,
        DOWNLOADS,
        CPU,
        FIRST_ANSWER,
        SECOND_ANSWER,
        START,
        START_EMPTY,
    ),
    PEAK,
)
"""In the order of the report."""


class WrongAnswer(Exception):
    """A server did not send what it should: nothing that it was measured at counts."""


class Usage:
    """CPU time and peak memory of a program and its children, while this context lasts.

    The memory of several processes is added up, so pages that they share count more than once.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.cpu = 0.0
        """Seconds, user and system."""
        self.peak = 0.0
        """MiB."""

    def __enter__(self) -> Self:
        for pid in _family(self._pid):
            with contextlib.suppress(OSError):  # not every kernel can
                Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
        self._before = _cpu(self._pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.cpu = _cpu(self._pid) - self._before
            self.peak = peak_memory(self._pid)


def peak_memory(pid: int) -> float:
    """MiB since the start, or since `Usage` began, of a process and all that descend from it."""
    return sum(_peak(member) for member in _family(pid))


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found


def _cpu(pid: int) -> float:
    """Fields 14 to 17 of ``/proc/<pid>/stat``: the process, and its children that have ended."""
    ticks = 0
    for member in _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
