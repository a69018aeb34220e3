"""What files said is used as long as they are the same files, and not a moment longer."""

import os
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from depproxy.store.files import DIRECTORY, Directory
from depproxy.store.remembered import MAX_BODIES, MAX_SMALL, Bodies, Readings


@pytest.fixture
def readings(tmp_path: Path) -> Readings[str]:
    return Readings(Directory(os.open(tmp_path, DIRECTORY)), 100)


class Reader:
    """Understands, and counts how often it had to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, data: bytes | None) -> str:
        self.times += 1
        return "nothing" if data is None else data.decode()


def replace(path: Path, text: str) -> None:
    """As pointers are written: another file takes the name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_a_file_that_stays_is_understood_once(readings: Readings[str], tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "tag").write_text("one")
    assert [readings.read("tag", reader) for _ in range(3)] == ["one"] * 3
    assert reader.times == 1


def test_a_file_that_was_replaced_is_read_again(readings: Readings[str], tmp_path: Path) -> None:
    reader = Reader()
    replace(tmp_path / "tag", "one")
    readings.read("tag", reader)
    replace(tmp_path / "tag", "two")
    assert readings.read("tag", reader) == "two"


def test_a_file_that_was_written_to_is_read_again(readings: Readings[str], tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "tag").write_text("one")
    readings.read("tag", reader)
    (tmp_path / "tag").write_text("longer")
    assert readings.read("tag", reader) == "longer"


def test_a_file_that_has_gone_says_nothing_and_is_read_when_it_is_back(
    readings: Readings[str], tmp_path: Path
) -> None:
    reader = Reader()
    (tmp_path / "tag").write_text("one")
    readings.read("tag", reader)
    (tmp_path / "tag").unlink()
    assert readings.read("tag", reader) == "nothing"
    (tmp_path / "tag").write_text("two")
    assert readings.read("tag", reader) == "two"


def test_what_was_forgotten_is_read_again(readings: Readings[str], tmp_path: Path) -> None:
    """Whoever writes says so: the next file may have the number and the time of the last but
    one."""
    reader = Reader()
    (tmp_path / "tag").write_text("one")
    readings.read("tag", reader)
    readings.forget("tag")
    readings.read("tag", reader)
    assert reader.times == 2


def test_a_link_is_not_followed(readings: Readings[str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "tag").symlink_to("secret")
    assert readings.read("tag", Reader()) == "nothing"


def test_a_body_is_given_for_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    bodies, file = Bodies(), tmp_path / "blob"
    file.write_bytes(b"body")
    digest = Digest.of(b"body")
    assert bodies.get(digest, file.stat()) is None
    bodies.keep(digest, file.stat(), b"body")
    assert bodies.get(digest, file.stat()) == b"body"
    file.write_bytes(b"other")
    assert bodies.get(digest, file.stat()) is None


def test_bodies_take_no_more_than_their_share_and_the_oldest_go_first(tmp_path: Path) -> None:
    bodies, file = Bodies(), tmp_path / "blob"
    file.touch()
    status, count = file.stat(), MAX_BODIES // MAX_SMALL
    digests = [Digest.of(str(number).encode()) for number in range(count + 1)]
    for digest in digests[:count]:
        bodies.keep(digest, status, bytes(MAX_SMALL))
    assert bodies.get(digests[0], status)  # asked for: now the second one is the oldest
    bodies.keep(digests[count], status, bytes(MAX_SMALL))
    kept = [digest for digest in digests if bodies.get(digest, status) is not None]
    assert kept == [digests[0], *digests[2:]]


def test_a_body_that_is_kept_twice_counts_once(tmp_path: Path) -> None:
    bodies, file = Bodies(), tmp_path / "blob"
    file.touch()
    first, often = Digest.of(b"1"), Digest.of(b"2")
    bodies.keep(first, file.stat(), bytes(MAX_SMALL))
    for _ in range(2 * MAX_BODIES // MAX_SMALL):
        bodies.keep(often, file.stat(), bytes(MAX_SMALL))
    assert bodies.get(first, file.stat()) is not None
