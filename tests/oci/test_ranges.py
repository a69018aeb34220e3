"""Byte ranges: one range is understood, and it always lies inside the blob."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.errors import RangeUnsatisfiable
from depproxy.oci.ranges import ByteRange, parse_range

SIZES = st.integers(0, 2**50)
NUMBERS = st.integers(0, 2**70).map(str) | st.just("")
RANGES = st.builds("bytes={}-{}".format, NUMBERS, NUMBERS)


@given(RANGES | st.text() | st.text("bytes=0123456789-, "), SIZES)
def test_every_range_lies_inside_the_blob(header: str, size: int) -> None:
    with suppress(RangeUnsatisfiable):
        found = parse_range(header, size)
        assert found is None or 0 <= found.start < found.end <= size


@given(st.data(), st.integers(1, 2**50))
def test_a_range_within_the_blob_is_what_was_asked_for(data: st.DataObject, size: int) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert parse_range(f"bytes={first}-{last}", size) == ByteRange(first, last + 1)
    assert parse_range(f"bytes={first}-", size) == ByteRange(first, size)
    assert parse_range(f"bytes=-{size - first}", size) == ByteRange(first, size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=9-9", (9, 10)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-100", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-100", (0, 10)),
        ("bytes=007-008", (7, 9)),
        ("Bytes=1-2", (1, 3)),
        (" bytes=1-2 ", (1, 3)),
        ("bytes=0-" + "9" * 5000, (0, 10)),
        ("bytes=-" + "9" * 5000, (0, 10)),
        ("bytes=" + "0" * 5000 + "1-", (1, 10)),
    ],
)
def test_one_range_is_cut_to_the_blob(header: str, expected: tuple[int, int]) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1-x",
        "bytes=--1",
        "bytes=5-3",
        "bytes=1.5-2",
        "bytes=٣-",
        "items=0-1",
        "0-1",
    ],
)
def test_a_header_that_is_not_understood_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=0-1, -1", "bytes=0-1,20-30"])
def test_several_ranges_mean_the_whole(header: str) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=11-11", 10),
        ("bytes=-0", 10),
        ("bytes=" + "9" * 5000 + "-", 10),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=5-", 0),
    ],
)
def test_a_range_behind_the_end_is_unsatisfiable_and_tells_the_size(header: str, size: int) -> None:
    with pytest.raises(RangeUnsatisfiable) as caught:
        parse_range(header, size)
    assert caught.value.size == size


@pytest.mark.parametrize("header", ["bytes=-1", "bytes=-0", "bytes=-100"])
def test_a_suffix_of_an_empty_blob_means_the_whole(header: str) -> None:
    assert parse_range(header, 0) is None


def test_content_range_counts_the_last_byte_in() -> None:
    assert ByteRange(0, 1).content_range(10) == "bytes 0-0/10"
    assert ByteRange(3, 10).content_range(10) == "bytes 3-9/10"
