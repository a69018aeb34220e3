"""A raw connection, and a strict client's eyes: what is no HTTP in an answer is a failure."""

import contextlib
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from tests.waiting import PATIENCE

SILENCE = 0.02
"""Seconds after which a client that has sent nonsense hangs up."""

MIB = 2**20

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\x20-\x7e]*\r\n")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x20-\x7e\x80-\xff]*)\r\n")
CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


class Hangup(Exception):
    """The server has closed the connection where an answer was due, or in the middle of one."""

    def __init__(self, received: bytes) -> None:
        super().__init__(received[:200])
        self.received = received


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def is_bare(self) -> bool:
        """What the server says to that which is no HTTP."""
        return self.status == 400 and not self.fields and not self.body


class Wire:
    """A raw connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self._buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, count: int) -> bytes:
        """What has come, at most ``count`` bytes; nothing at the end or where it was cut."""
        try:
            return self._socket.recv(count)
        except ConnectionError:
            return b""

    def receive_all(self) -> bytes:
        pieces = iter(lambda: self.receive(MIB), b"")
        return self._buffer + b"".join(pieces)

    def leave_when_silent(self) -> bytes:
        """Everything that is said to one who hangs up when nothing more comes."""
        with contextlib.suppress(TimeoutError):
            self._socket.settimeout(SILENCE)
            while piece := self.receive(65536):
                self._buffer += piece
        self._socket.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        return self.receive_all()

    def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises `Hangup`."""
        answer, self._buffer = read_answer(self._buffer, method, self._more)
        return answer

    def _more(self) -> bytes:
        return self.receive(65536)


def read_answer(data: bytes, method: str, more: Callable[[], bytes]) -> tuple[Answer, bytes]:
    """An answer and what follows it. Raises `Hangup`; fails where it is not HTTP."""

    def need(is_there: Callable[[], bool]) -> None:
        nonlocal data
        while not is_there():
            piece = more()
            if not piece:
                raise Hangup(data)
            data += piece

    def cut(count: int) -> bytes:
        nonlocal data
        need(lambda: len(data) >= count)
        piece, data = data[:count], data[count:]
        return piece

    def line() -> bytes:
        need(lambda: b"\n" in data)
        return cut(data.index(b"\n") + 1)

    status = 100
    while status < 200:
        first = line()
        match = STATUS_LINE.fullmatch(first)
        assert match, first
        status, fields = int(match[1]), {}
        while (field := line()) != b"\r\n":
            match = FIELD.fullmatch(field)
            assert match, field
            name = match[1].decode().lower()
            assert name not in fields, field
            fields[name] = match[2].decode("latin-1")
    if method == "HEAD" or status in (204, 304):
        return Answer(status, fields, b""), data
    assert not {"content-length", "transfer-encoding"} <= set(fields)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = CHUNK.fullmatch(line())
            assert size
            body += cut(int(size[1], 16))
            assert cut(2) == b"\r\n"
            if size[1] == b"0":
                return Answer(status, fields, body), data
    return Answer(status, fields, cut(int(fields.get("content-length", "0")))), data


def judge(answer: Answer, method: str, target: str) -> None:
    """The rules for every answer."""
    assert answer.status != 500
    if re.match(r"/v2(/|\?|$)", target):
        assert answer.status < 500
        assert answer.fields.get("docker-distribution-api-version") == "registry/2.0"
        if answer.status >= 400 and method != "HEAD":
            assert answer.fields["content-type"] == "application/json"
            (error,) = json.loads(answer.body)["errors"]
            assert error["code"]
            assert error["message"]
        if answer.status == 405:
            assert answer.fields["allow"]
    elif target.startswith("/api/") and method != "HEAD":
        assert json.loads(answer.body)["message"].startswith(f"{answer.status} ")


def get(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode()
