"""Users and their passwords: who is right, what is remembered, how a change of the file counts."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.access.htpasswd import cost, with_user
from depproxy.access.users import Users, hash_password
from depproxy.access.users_file import change_users_file
from depproxy.errors import UsersFileError
from tests.access.fakes import (
    ALICES,
    ALICES_HASH,
    ALICES_NEXT,
    ALICES_NEXT_HASH,
    BOBS,
    BOBS_HASH,
    BY_APACHE,
    CAROLS,
    DAVES,
    Clock,
    InlineExecutor,
    users_file,
)

HERE = "192.0.2.1"
ELSEWHERE = "192.0.2.2"
LONG = "a" * 72
LONG_HASH = "$2b$04$PKnW40dquUtrNEc8QdYbW.60IEwKuSolIIiA0JJVefKIOhxDVRNz2"
WITH_SOH = "abc\x01def"
WITH_SOH_HASH = "$2b$04$IYFinxpY/U3rVAXBgJEZe.WNY8y6a6tMus0gaHU7dQucS9PLz7xNG"


def check(users: Users, user: str, password: str, address: str = HERE) -> bool:
    return asyncio.run(users.is_right(user, password, address))


def change(file: Path, user: str, stored: str | None) -> None:
    change_users_file(file, lambda text: with_user(text, user, stored))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Meanwhile nothing can be opened, and everything is where it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_user_is_right_with_his_own_password_only(users: Users) -> None:
    assert check(users, "alice", ALICES)
    assert check(users, "bob", BOBS)
    assert not check(users, "alice", BOBS)
    assert not check(users, "Alice", ALICES, ELSEWHERE)
    assert not check(users, "", "", ELSEWHERE)


def test_users_of_a_file_made_by_apache_are_let_in(file: Path, users: Users) -> None:
    file.write_text(BY_APACHE)
    assert check(users, "carol", CAROLS)
    assert check(users, "dave", DAVES)
    assert not check(users, "dave", CAROLS)


def test_a_right_pair_is_not_hashed_again_for_a_minute(
    users: Users, pool: InlineExecutor, clock: Clock
) -> None:
    assert check(users, "alice", ALICES)
    clock.now += 59.9
    assert check(users, "alice", ALICES, ELSEWHERE)
    assert len(pool.hashes) == 1
    clock.now += 0.2
    assert check(users, "alice", ALICES)
    assert len(pool.hashes) == 2
    clock.now += 59.9
    assert check(users, "alice", ALICES)
    assert len(pool.hashes) == 2


def test_wrong_pairs_are_hashed_each_time(users: Users, pool: InlineExecutor) -> None:
    for _ in range(3):
        assert not check(users, "alice", BOBS)
    assert len(pool.hashes) == 3


def test_of_too_many_right_pairs_the_one_longest_ago_is_forgotten(
    file: Path,
    users: Users,
    pool: InlineExecutor,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depproxy.access.users.MAX_REMEMBERED", 2)
    file.write_text(file.read_text() + BY_APACHE)
    assert check(users, "alice", ALICES)
    clock.now += 59
    assert check(users, "bob", BOBS)
    clock.now += 2
    assert check(users, "alice", ALICES)
    assert check(users, "carol", CAROLS)
    pool.hashes.clear()
    assert check(users, "alice", ALICES)
    assert check(users, "carol", CAROLS)
    assert not pool.hashes
    assert check(users, "bob", BOBS)
    assert pool.hashes == [BOBS_HASH]


def test_a_changed_password_counts_at_once(file: Path, users: Users) -> None:
    assert check(users, "alice", ALICES)
    change(file, "alice", ALICES_NEXT_HASH)
    assert users.stored_hash("alice") == ALICES_NEXT_HASH
    assert not check(users, "alice", ALICES)
    assert check(users, "alice", ALICES_NEXT)


def test_a_file_that_is_written_in_place_counts_at_once(file: Path, users: Users) -> None:
    assert check(users, "alice", ALICES)
    with file.open("r+") as opened:
        opened.write(f"alice:{ALICES_NEXT_HASH}\n")
    os.utime(file, ns=(0, 0))
    assert not check(users, "alice", ALICES)
    assert check(users, "alice", ALICES_NEXT)


def test_a_removed_user_goes_and_a_new_one_comes_at_once(file: Path, users: Users) -> None:
    assert check(users, "alice", ALICES)
    change(file, "alice", None)
    assert users.stored_hash("alice") is None
    assert not check(users, "alice", ALICES)
    change(file, "alice", ALICES_HASH)
    assert check(users, "alice", ALICES)


@pytest.mark.parametrize("stored", [None, ALICES_NEXT_HASH])
def test_a_password_that_is_changed_while_it_is_checked_is_wrong(
    file: Path, clock: Clock, stored: str | None
) -> None:
    """Who waits for his turn may wait for ten seconds, and what is issued afterwards rests on the
    new password."""
    pool = InlineExecutor(before_each=lambda: change(file, "alice", stored))
    assert not check(Users(file, pool, clock), "alice", ALICES)


def test_a_file_that_goes_leaves_the_users_as_they_were_and_is_told_once(
    file: Path, users: Users, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    text = file.read_text()
    file.unlink()
    for _ in range(3):
        clock.now += 61
        assert check(users, "alice", ALICES)
        assert users.stored_hash("bob") == BOBS_HASH
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(file) in warning.getMessage()
    assert "the users stay as they were" in warning.getMessage()
    file.write_text(text.replace(ALICES_HASH, ALICES_NEXT_HASH))
    assert not check(users, "alice", ALICES)
    assert check(users, "alice", ALICES_NEXT)


def test_a_change_that_could_not_be_read_counts_as_soon_as_it_can(
    file: Path, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever was taken out of the file must not stay until it changes for another time."""
    change(file, "alice", None)
    with no_descriptors():
        assert users.stored_hash("alice") == ALICES_HASH
    assert "the users stay as they were" in caplog.text
    assert users.stored_hash("alice") is None


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsersFileError, match=str(file)):
            Users(file, InlineExecutor(), Clock())


def test_wrong_lines_are_told_at_the_start_and_after_a_change(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"alice:{ALICES_HASH}\neve:secret\n")
    users = Users(file, InlineExecutor(), Clock())
    assert f"{file}: line 2: expected a bcrypt hash of eve" in caplog.text
    file.write_text(f"alice:{ALICES_HASH}\neve:secret\nmallory\n")
    assert users.stored_hash("eve") is None
    assert f"{file}: line 3: " in caplog.text


def test_an_unknown_user_is_hashed_too_at_the_cost_of_one_who_exists(
    file: Path, users: Users, pool: InlineExecutor
) -> None:
    """By the time that it takes, nobody learns who exists."""
    file.write_text(BY_APACHE)
    costs: list[set[int]] = []
    for number in range(50):
        pool.hashes.clear()
        for word in ("x", "y"):
            assert not check(users, f"nobody {number}", word, f"192.0.2.{number}")
        costs.append({cost(stored) for stored in pool.hashes})
        assert len(pool.hashes) == 2
    assert all(len(found) == 1 for found in costs), "the cost of a name changes"
    assert set.union(*costs) == {4, 5}


def test_where_there_are_no_users_nobody_is_right(tmp_path: Path) -> None:
    pool = InlineExecutor()
    users = Users(users_file(tmp_path), pool, Clock())
    assert users.stored_hash("alice") is None
    assert not check(users, "alice", ALICES)
    assert [cost(stored) for stored in pool.hashes] == [12]


@settings(deadline=None)
@given(st.text(st.characters(), max_size=100), st.text(st.characters(), max_size=100))
def test_whatever_is_presented_is_wrong_and_no_error(
    tmp_path_factory: pytest.TempPathFactory, user: str, password: str
) -> None:
    """NUL, lone surrogates and long words are nothing that bcrypt or UTF-8 takes."""
    folder = tmp_path_factory.getbasetemp() / "users"
    folder.mkdir(exist_ok=True)
    users = Users(users_file(folder, alice=ALICES_HASH), InlineExecutor(), Clock())
    assert not check(users, "alice", password)
    assert not check(users, user, password)


@pytest.mark.parametrize(
    ("password", "is_right"),
    [
        (LONG, True),
        (LONG[:-1], False),
        (LONG + "b", True),
        (LONG + "ä" * 10_000, True),
        (LONG + "\0", False),
        (LONG[:-1] + "ä", False),
        (LONG[:-1] + "\udce4", False),
    ],
)
def test_of_a_long_password_72_bytes_count_as_for_apache(
    tmp_path: Path, password: str, is_right: bool
) -> None:
    users = Users(users_file(tmp_path, alice=LONG_HASH), InlineExecutor(), Clock())
    assert check(users, "alice", password) == is_right


def test_a_password_with_a_nul_is_never_right(tmp_path: Path) -> None:
    users = Users(users_file(tmp_path, alice=WITH_SOH_HASH), InlineExecutor(), Clock())
    assert check(users, "alice", WITH_SOH)
    assert not check(users, "alice", WITH_SOH.replace("\x01", "\0"))
    assert not check(users, "alice", WITH_SOH + "\0")


@pytest.mark.parametrize("word", ["\0", "a\0b", ""])
def test_user_and_password_are_not_mixed_up(users: Users, word: str) -> None:
    """What is remembered of one pair must not do for another one."""
    assert check(users, "alice", ALICES)
    assert not check(users, f"alice\0{ALICES}", word)
    assert not check(users, "alice", f"{ALICES}\0{word}")
    assert not check(users, "", f"alice\0{ALICES}")


def test_a_failure_is_logged_with_the_address_and_without_the_words(
    users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    assert not check(users, "hunter1", "hunter2", HERE)
    assert check(users, "alice", ALICES, ELSEWHERE)
    assert HERE in caplog.text
    assert ELSEWHERE not in caplog.text
    assert "hunter" not in caplog.text


@pytest.mark.parametrize("password", ["", "a" * 73, "ä" * 37, "a\0b", "\udce4"])
def test_no_hash_is_made_of_what_bcrypt_does_not_take(password: str) -> None:
    with pytest.raises(ValueError):
        hash_password(password)


def test_a_new_hash_is_salted_and_lets_its_user_in(file: Path, users: Users) -> None:
    stored = hash_password("ä" * 36)
    assert cost(stored) == 12
    change(file, "alice", stored)
    assert check(users, "alice", "ä" * 36)
    assert hash_password("ä" * 36) != stored
