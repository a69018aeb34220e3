"""The process as such: CPU, memory, descriptors."""

import time

from prometheus_client import ProcessCollector


class Process(ProcessCollector):
    """prometheus_client's own, where ``/proc`` has nothing but processes, too: there it would tell
    nothing at all, since the time of the start is counted from that of the machine in
    ``/proc/stat``. systemd's ``ProcSubset=pid`` hides that, and the clock tells it as well."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
