"""What becomes of a body between libcurl and its sink."""

import asyncio
from collections.abc import Callable

import pytest

from depproxy.errors import UpstreamUnreachable
from depproxy.upstream import exchange
from depproxy.upstream.exchange import BUFFER, MAX_HEADER_BYTES, Exchange

PIECE = b"x" * 16384


class Sink:
    """Keeps what it gets, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.writes: list[int] = []
        self.written = asyncio.Event()
        self._error = error

    def write(self, data: memoryview, /) -> None:
        if self._error:
            raise self._error
        self.writes.append(len(data))
        self.written.set()


@pytest.fixture(autouse=True)
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is handed on because time has passed."""
    monkeypatch.setattr(exchange, "FLUSH_AFTER", 3600.0)


def run(work: Callable[[Exchange, Sink], object], error: Exception | None = None) -> Sink:
    """An answer of 200 whose body ``work`` brings; its result is awaited if it can be."""
    sink = Sink(error)

    async def answer() -> None:
        begun = Exchange(lambda _: sink, asyncio.get_running_loop())
        for line in (b"HTTP/1.1 200 OK\r\n", b"\r\n"):
            assert begun.on_header(line) == len(line)
        result = work(begun, sink)
        if asyncio.iscoroutine(result):
            await result

    asyncio.run(answer())
    return sink


def test_the_first_bytes_are_handed_on_at_once() -> None:
    async def first(answer: Exchange, sink: Sink) -> None:
        answer.on_body(b"first")
        await sink.written.wait()

    assert run(first).writes == [5]


def test_what_follows_closely_is_collected() -> None:
    async def flow(answer: Exchange, sink: Sink) -> None:
        answer.on_body(b"first")
        await sink.written.wait()
        for _ in range(2 * BUFFER // len(PIECE)):
            answer.on_body(PIECE)

    assert run(flow).writes == [5, BUFFER, BUFFER]


def test_what_is_left_is_handed_on_before_the_answer_is_judged() -> None:
    def end(answer: Exchange, sink: Sink) -> None:
        answer.on_body(b"left over")
        assert answer.result(None).status == 200
        assert sink.writes == [9]

    run(end)


def test_an_answer_that_is_given_up_writes_nothing_more() -> None:
    async def give_up(answer: Exchange, sink: Sink) -> None:
        answer.on_body(b"left over")
        answer.close()
        assert answer.on_body(PIECE) == 0
        await asyncio.sleep(0)

    assert run(give_up).writes == []


def test_a_sinks_error_stops_the_transfer_and_is_raised_in_the_end() -> None:
    error = UpstreamUnreachable("docker.io", "the sink has enough")

    def fail(answer: Exchange, sink: Sink) -> None:
        for _ in range(BUFFER // len(PIECE)):
            answer.on_body(PIECE)
        assert answer.on_body(PIECE) == 0
        with pytest.raises(UpstreamUnreachable, match="has enough"):
            answer.result(UpstreamUnreachable("docker.io", "a short count"))

    run(fail, error)


def test_a_head_that_has_no_end_is_not_read_to_it() -> None:
    async def endless() -> int:
        answer = Exchange(lambda _: None, asyncio.get_running_loop())
        answer.on_header(b"HTTP/1.1 200 OK\r\n")
        line = b"X-Padding: " + b"x" * 1000 + b"\r\n"
        read = 0
        while answer.on_header(line):
            read += len(line)
            assert read <= MAX_HEADER_BYTES
        return read

    assert asyncio.run(endless()) > MAX_HEADER_BYTES - 2000
