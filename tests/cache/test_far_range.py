"""A far range comes as it was announced, or with an error."""

import asyncio
from pathlib import Path

import pytest

from depproxy.cache.far_range import FarRange
from depproxy.cache.transfer import Inflow
from depproxy.errors import DepproxyError, UpstreamSenseless, UpstreamUnreachable
from depproxy.oci.ranges import ByteRange
from tests.store.trees import open_tree

ASKED = ByteRange(100, 110)


def read_range(tmp_path: Path, *pieces: bytes) -> bytes:
    """What a reader gets of a range that comes in these pieces."""

    async def fetch(asked: ByteRange, inflow: Inflow) -> None:
        inflow.begin(asked.start, None)
        for piece in pieces:
            inflow.write(memoryview(piece))

    async def read() -> bytes:
        far = FarRange(open_tree(tmp_path).spool(), ASKED, 1000, "u", fetch)
        try:
            await far.wait_for_head()
            read = b""
            while (end := await far.readable_to(offset := ASKED.start + len(read))) > offset:
                read += far.read(offset, end - offset)
            return read
        finally:
            far.close()

    return asyncio.run(read())


def test_a_range_is_read_as_the_pieces_that_came(tmp_path: Path) -> None:
    assert read_range(tmp_path, b"01234", b"56789") == b"0123456789"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((b"01234",), UpstreamUnreachable),
        ((b"01234", b"567890"), UpstreamSenseless),
    ],
    ids=["less", "more"],
)
def test_a_range_of_another_length_than_was_announced_is_an_error(
    tmp_path: Path, pieces: tuple[bytes, ...], error: type[DepproxyError]
) -> None:
    with pytest.raises(error):
        read_range(tmp_path, *pieces)


@pytest.mark.parametrize("count", [0, 5], ids=["before it began", "in the middle"])
def test_what_nobody_thought_of_is_an_error_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    async def fetch(asked: ByteRange, inflow: Inflow) -> None:
        if count:
            inflow.begin(asked.start, None)
            inflow.write(memoryview(bytes(count)))
            await asyncio.sleep(0)
        raise ZeroDivisionError

    async def read() -> None:
        far = FarRange(open_tree(tmp_path).spool(), ASKED, 1000, "u", fetch)
        try:
            await far.wait_for_head()
            await far.readable_to(ASKED.start + count)
        finally:
            far.close()

    with pytest.raises(UpstreamUnreachable, match="unexpectedly"):
        asyncio.run(read())
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()
