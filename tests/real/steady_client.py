"""A client that pulls all the time, and counts what came of it."""

import http.client
import threading
from collections import Counter


class SteadyClient(threading.Thread):
    """Pulls without a break, each time on a connection of its own or on one that is kept, and tries
    nothing twice but what HTTP tells it to: a request on a kept connection that was closed before
    the first byte of an answer (RFC 9112, 9.3.1), as docker's and curl's do."""

    def __init__(self, port: int, path: str, stop: threading.Event, *, keeps: bool) -> None:
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._path = path
        self._stop_event = stop
        self._keeps = keeps

    def run(self) -> None:
        connection, is_fresh = self._connect(), True
        while not self._stop_event.is_set():
            try:
                connection.request("GET", self._path)
                with connection.getresponse() as response:
                    body = response.read()
                    self.outcomes[f"{response.status}, {len(body)} bytes"] += 1
                    is_over = response.will_close
            except (ConnectionError, http.client.RemoteDisconnected) as exc:
                if is_fresh:
                    self.outcomes[repr(exc)] += 1
                is_over = True
            is_fresh = is_over or not self._keeps
            if is_fresh:
                connection.close()
                connection = self._connect()
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port)
