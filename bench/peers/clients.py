"""Programs that ask: wrk, ab, curl, a crowd, and one connection whose answers are timed."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers.measure import GIB, LIMIT, WrongAnswer

ACCEPT = "Accept: application/vnd.oci.image.index.v1+json, */*"
"""Distribution answers by it; the others give what they have."""

_PAUSE = 0.002
"""Seconds between an answer and the next request, where answers are timed."""


@dataclass(frozen=True)
class Load:
    """What wrk or ab counted."""

    requests: int
    rate: float
    """Requests per second."""


@dataclass(frozen=True)
class Download:
    """What one client saw, in seconds from the start."""

    first_byte: float
    wall: float


@dataclass
class Crowd:
    """What many clients got; known when they have ended."""

    process: "subprocess.Popen[str]"
    seconds: float = 0.0
    connecting: float = 0.0
    """Seconds before, until all connections were there and the idle ones had an answer."""
    bytes: int = 0

    @property
    def throughput(self) -> float:
        """GiB/s"""
        return self.bytes / GIB / self.seconds

    def wait(self) -> None:
        """Until all have what they wanted."""
        self.process.wait()

    def is_done(self) -> bool:
        return self.process.poll() is not None


def wrk(url: str, connections: int, seconds: float) -> Load:
    """``GET`` on so many kept connections, by one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-H", ACCEPT, url]
    said = _run(*command)
    if "Non-2xx" in said or "Socket errors" in said:
        raise WrongAnswer(f"{url}: {said}")
    return Load(int(_find(r"([0-9]+) requests in", said)), _number(r"Requests/sec: +", said))


def ab(url: str, connections: int, seconds: float) -> Load:
    """``HEAD``: wrk would wait for the body that ``Content-Length`` tells of."""
    command = ["ab", "-q", "-i", "-k", f"-c{connections}", f"-t{max(1, round(seconds))}"]
    said = _run(*command, "-n1000000", "-H", ACCEPT, url)
    requests = int(_number("Complete requests: +", said))
    kept = int(_number("Keep-Alive requests: +", said))
    if "Non-2xx" in said or kept < 0.9 * requests:
        raise WrongAnswer(f"{url}: {said}")
    return Load(requests, _number("Requests per second: +", said))


def curl(url: str, target: Path = Path("/dev/null"), size: int | None = None) -> Download:
    """One ``GET``; ``size`` is how many bytes have to come."""
    form = "%{time_starttransfer} %{time_total} %{size_download}"
    said = _run("curl", "-sSf", "-H", ACCEPT, "-o", str(target), "-w", form, url)
    first, wall, came = said.split()
    if size is not None and int(came) != size:
        raise WrongAnswer(f"{url}: {came} bytes instead of {size}")
    return Download(float(first), float(wall))


def answer_within_limit(url: str) -> float:
    """Seconds until an answer of 200 is there, or `LIMIT` where none comes in time."""
    try:
        said = _run(
            *("curl", "-sSf", "-H", ACCEPT, "-o", "/dev/null", "-w", "%{time_total}"),
            *("--max-time", str(LIMIT), url),
        )
    except WrongAnswer:
        return LIMIT
    return min(LIMIT, float(said))


@contextmanager
def crowd(
    url: str, clients: int, *, seconds: float = 0, rate: int = 0, idle: int = 0, idle_url: str = ""
) -> Iterator[Crowd]:
    """See `bench.peers.crowd`. Entered at the first bytes; left when all have ended."""
    command = [sys.executable, "-m", "bench.peers.crowd", url, f"--clients={clients}"]
    command += [f"--seconds={seconds}", f"--rate={rate}", f"--idle={idle}"]
    command += [f"--idle-url={idle_url}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    try:
        process.stdout.readline()
        running = Crowd(process)
        yield running
        said = process.stdout.read()
        if process.wait():
            raise WrongAnswer(f"{url}: {said[-1000:]}")
        result = json.loads(said)
        running.seconds, running.connecting = result["seconds"], result["connecting"]
        running.bytes = result["bytes"]
    finally:
        if process.poll() is None:
            process.kill()
        with process:
            pass


def timed_answers(url: str, until: Callable[[], bool]) -> list[float]:
    """Seconds of each answer on one kept connection, asked at a steady pace."""
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{ACCEPT}\r\n\r\n".encode()
    took = []
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not until():
            begun = time.perf_counter()
            connection.sendall(request)
            _read_answer(connection)
            took.append(time.perf_counter() - begun)
            time.sleep(_PAUSE)
    return took


def _read_answer(connection: socket.socket) -> None:
    data = b""
    size = None
    while size is None or len(data) < size:
        piece = connection.recv(65536)
        if not piece:
            raise WrongAnswer("cut")
        data += piece
        if size is None and b"\r\n\r\n" in data:
            head = data.partition(b"\r\n\r\n")[0]
            length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
            if not data.startswith(b"HTTP/1.1 200") or not length:
                raise WrongAnswer(head.decode("latin-1"))
            size = len(head) + 4 + int(length[1])


def first_answer(url: str, process: "subprocess.Popen[bytes]", begun: float) -> float:
    """Seconds from ``begun`` until a program answers 200, or `LIMIT` if it ends or does not."""
    parts = urlsplit(url)
    while time.monotonic() - begun < LIMIT and process.poll() is None:
        with (
            contextlib.suppress(OSError, WrongAnswer),
            socket.create_connection((parts.hostname, parts.port), timeout=LIMIT) as connection,
        ):
            request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{ACCEPT}\r\n\r\n"
            connection.sendall(request.encode())
            _read_answer(connection)
            return min(LIMIT, time.monotonic() - begun)
        time.sleep(0.002)
    return LIMIT


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WrongAnswer(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise WrongAnswer(f"{pattern!r} is not in: {text}")
    return found[1]


def _number(pattern: str, text: str) -> float:
    return float(_find(pattern + r"([0-9.]+)", text))
