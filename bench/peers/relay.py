"""A line of so many bytes a second between a registry and all who ask it.

``python -m bench.peers.relay PORT REGISTRY_PORT BYTES_PER_SECOND``. The kernel moves the bytes from
socket to socket, so the line itself takes hardly any CPU time.
"""

import contextlib
import fcntl
import os
import socket
import sys
import threading
import time

_STEP = 256 * 1024
"""Bytes that pass at once: 2 ms at 150 MB/s."""


_LATE = 0.02
"""Seconds of lost time that may be made up for: sleeping always takes a little too long."""


class Line:
    """What all connections share, in the direction from the registry."""

    def __init__(self, rate: int) -> None:
        """``rate`` is in bytes per second."""
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pass_through(self, count: int) -> None:
        """Take the time that so many bytes take."""
        with self._lock:
            begun = max(time.monotonic() - _LATE, self._free_at)
            self._free_at = begun + count / self._rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


def move(source: socket.socket, target: socket.socket, line: Line | None) -> None:
    """All bytes until the end of one direction."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _STEP)
    try:
        while count := os.splice(source.fileno(), write_end, _STEP):
            if line:
                line.pass_through(count)
            while count:
                count -= os.splice(read_end, target.fileno(), count)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(read_end)
        os.close(write_end)


def serve(client: socket.socket, registry_port: int, line: Line) -> None:
    with client, socket.create_connection(("127.0.0.1", registry_port)) as registry:
        requests = threading.Thread(target=move, args=(client, registry, None), daemon=True)
        requests.start()
        move(registry, client, line)
        requests.join()


def main() -> None:
    port, registry_port, rate = (int(argument) for argument in sys.argv[1:])
    line = Line(rate)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, registry_port, line), daemon=True).start()


if __name__ == "__main__":
    main()
