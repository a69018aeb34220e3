"""Many clients in one process, that throw away what they get without looking at it.

The kernel drops the bytes (``MSG_TRUNC``, see tcp(7)): copying them would take as much CPU time as
sending them does, of which the servers need every bit. Statuses and lengths are checked.

``python -m bench.peers.crowd URL --clients N`` fetches once for each, or again and again with
``--seconds``, or slowly with ``--rate``. Says ``begun`` at the first bytes, and then what came of
it, in JSON.
"""

import argparse
import json
import selectors
import socket
import time
from urllib.parse import SplitResult, urlsplit

_BITE = 2**20
"""Bytes that are dropped at once."""

_TICK = 0.05
"""Seconds between two bites of slow clients."""

_SLOW_BUFFER = 64 * 1024
"""Bytes that the kernel keeps for a slow client: what is more waits in the server."""

_scrap = bytearray(_BITE)


class Client:
    """One connection, one request after the other."""

    def __init__(self, url: SplitResult, buffer: int = 0) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect((url.hostname, url.port))
        self._request = (
            f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            "Accept: application/vnd.oci.image.index.v1+json, */*\r\n\r\n"
        ).encode()
        self.bytes = 0

    def ask(self) -> None:
        self.socket.sendall(self._request)
        self._head = b""
        self._left = -1

    def take(self, most: int) -> bool:
        """Read at most so many bytes; True at the end of an answer."""
        if self._left < 0:
            self._take_head()
        else:
            count = self.socket.recv_into(_scrap, min(most, self._left), socket.MSG_TRUNC)
            if not count:
                raise ConnectionError(f"cut, {self._left} bytes before the end")
            self.bytes += count
            self._left -= count
        return self._left == 0

    def _take_head(self) -> None:
        piece = self.socket.recv(4096)
        if not piece:
            raise ConnectionError("cut within the head")
        self._head += piece
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        status, *lines = head.decode("latin-1").split("\r\n")
        if " 200 " not in f"{status} ":
            raise ConnectionError(status)
        headers = {name.lower(): value for name, _, value in (s.partition(":") for s in lines)}
        self.bytes += len(body)
        self._left = int(headers["content-length"]) - len(body)


def fetch(clients: list[Client], until: float) -> None:
    """Everything as fast as it comes, once, and again until that time has come."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.ask()
            selector.register(client.socket, selectors.EVENT_READ, client)
        is_begun = False
        while selector.get_map():
            for key, _ in selector.select():
                client = key.data
                if client.take(_BITE):
                    if time.monotonic() < until:
                        client.ask()
                    else:
                        selector.unregister(client.socket)
                if not is_begun:
                    is_begun = True
                    print("begun", flush=True)


def sip(clients: list[Client], rate: int, until: float) -> None:
    """So many bytes a second for each."""
    for client in clients:
        client.ask()
        client.socket.setblocking(False)
    print("begun", flush=True)
    while (now := time.monotonic()) < until:
        for client in clients:
            try:
                if client.take(int(rate * _TICK)):
                    client.ask()
            except BlockingIOError:
                continue
        time.sleep(max(0.0, now + _TICK - time.monotonic()))


def stay_idle(url: SplitResult, count: int) -> list[Client]:
    """Connections that are opened at once, have asked once, and are kept."""
    idle = [Client(url) for _ in range(count)]
    for client in idle:
        client.ask()
        while not client.take(_BITE):
            pass
    return idle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rate", type=int, default=0, help="bytes per second for each client")
    parser.add_argument("--idle", type=int, default=0, help="idle connections beside")
    parser.add_argument("--idle-url", default="")
    options = parser.parse_args()
    started = time.monotonic()
    idle = stay_idle(urlsplit(options.idle_url), options.idle) if options.idle else []
    buffer = _SLOW_BUFFER if options.rate else 0
    clients = [Client(urlsplit(options.url), buffer) for _ in range(options.clients)]
    begun = time.monotonic()
    if options.rate:
        sip(clients, options.rate, begun + options.seconds)
    else:
        fetch(clients, begun + options.seconds)
    took, connecting = time.monotonic() - begun, begun - started
    for client in idle[::100]:
        client.ask()  # idle connections still answer
        while not client.take(_BITE):
            pass
    count = sum(client.bytes for client in clients)
    print(json.dumps({"seconds": took, "connecting": connecting, "bytes": count}))


if __name__ == "__main__":
    main()
