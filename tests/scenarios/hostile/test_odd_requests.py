"""Clients that send what nobody should."""

import contextlib
import logging
import multiprocessing
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.running import Start
from tests.scenarios.hostile.odd_requests import Fuzzer, Request, Volley
from tests.scenarios.hostile.wire import Hangup, Wire, judge, read_answer

SEED = 20
ATTACKERS = 6
REQUESTS = 20_000 // ATTACKERS + 1


class Attacker:
    """Sends volley after volley, and keeps a connection as long as the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire = Wire(port)

    def close(self) -> None:
        self._wire.__exit__()

    def exchange(self, volley: Volley) -> None:
        if not volley.is_http:
            self._talk_nonsense(volley.requests[0])
            return
        left = list(volley.requests)
        while left:
            self._wire.send(b"".join(request.raw for request in left))
            while left:
                request = left.pop(0)
                answer = self._wire.answer(request.method)
                judge(answer, request.method, request.target)
                if request.is_last or answer.fields.get("connection") == "close":
                    self._reconnect()
                    break

    def _talk_nonsense(self, request: Request) -> None:
        with contextlib.suppress(ConnectionError):
            self._wire.send(request.raw)
        said = self._wire.leave_when_silent()
        self._reconnect()
        assert said[:9] in (b"", b"HTTP/1.1 ")
        assert b"HTTP/1.1 500" not in said
        with contextlib.suppress(Hangup):  # an answer that is not complete proves nothing
            if said and request.method:
                answer, rest = read_answer(said, request.method, lambda: b"")
                assert rest[:9] in (b"", b"HTTP/1.1 ")
                if not answer.is_bare:
                    judge(answer, request.method, request.target)

    def _reconnect(self) -> None:
        self._wire.__exit__()
        self._wire = Wire(self._port)


def attack(port: int, fuzzer: Fuzzer) -> "Counter[bool]":
    """How many requests were sent in right frames, and how many were not."""
    sent: Counter[bool] = Counter()
    attacker = Attacker(port)
    try:
        while sent.total() < REQUESTS:
            volley = fuzzer.volley()
            try:
                attacker.exchange(volley)
            except (AssertionError, OSError, Hangup, ValueError, KeyError) as exc:
                raise AssertionError(f"{exc!r} in answer to {volley}") from exc
            sent[volley.is_http] += len(volley.requests)
    finally:
        attacker.close()
    return sent


def attack_together(port: int, manifests: list[Digest], blobs: list[Digest], token: str) -> int:
    """All attackers, in a process that leaves the server its own: how many requests were sent."""
    with ThreadPoolExecutor(ATTACKERS) as pool:
        fuzzers = [Fuzzer(SEED + number, manifests, blobs, token) for number in range(ATTACKERS)]
        sent = sum(pool.map(lambda fuzzer: attack(port, fuzzer), fuzzers), Counter[bool]())
    assert min(sent.values()) > 500
    return sent.total()


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_twenty_thousand_odd_requests_do_no_harm(
    start: Start, hello: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    server = start(more="mirror: {group: mygroup}\n")
    strangers = [tmp_path / "stranger", server.data / "stranger", server.data / "groups/stranger"]
    for path in strangers:
        path.write_text("not yours")
    token = (server.data / "admin_token").read_text()
    before = files_below(tmp_path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        known = list(hello.manifests), list(hello.blobs)
        sent = pool.submit(attack_together, server.port, *known, token.strip()).result()
    assert sent >= 20_000

    assert before <= files_below(tmp_path)
    own = re.compile(r"data/(groups/(mygroup|other)(/-(/.*)?)?|trash/.*)")
    assert [name for name in files_below(tmp_path) - before if not own.fullmatch(name)] == []
    assert {path.read_text() for path in strangers} == {"not yours"}
    assert (server.data / "admin_token").read_text() == token

    pulled = server.manifest("hello", "latest")
    assert (pulled.status, Digest.of(pulled.body)) == (200, hello.index)
    for digest, data in hello.blobs.items():
        assert server.blob("hello", digest).body == data
