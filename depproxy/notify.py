"""What systemd is told of the server's state: sd_notify(3)."""

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)

_MARGIN = 15.0
"""Seconds beyond ``shutdown_timeout`` that systemd is asked for: threads end what they are writing,
and a large blob that is being synced may take that long."""


class Supervisor:
    """Who started the server, and wants to know how it does. Nobody, mostly: then nothing is said.

    Telling never blocks and never fails.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """``NOTIFY_SOCKET``: a path, or after ``@`` a name in the abstract namespace."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        if not self._address.startswith(("/", "\0")):
            self._address = ""

    def ready(self, status: str) -> None:
        """Clients are served; a reload has ended, well or not."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """``Type=notify-reload`` wants the time, to tell one reload from the next."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Reading the configuration")

    def stopping(self, patience: float) -> None:
        """The server drains, for at most ``patience`` seconds: systemd is not to kill it before,
        whatever its own limit says."""
        self._tell(
            "STOPPING=1",
            f"EXTEND_TIMEOUT_USEC={round((patience + _MARGIN) * 1_000_000)}",
            "STATUS=Letting running requests end",
        )

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._address)
        except OSError as exc:
            _log.warning("%s was not told %s: %s", os.fsdecode(self._address), lines[0], exc)
