"""The file of users on disk: read whole, replaced whole, and changed by one at a time."""

import os
import resource
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.access.htpasswd import parse_users, with_user
from depproxy.access.users_file import change_users_file, read_users_file, stamp
from depproxy.errors import UsersFileError
from tests.access.fakes import ALICES_HASH
from tests.real.programs import ROOT, need

ADD_FIVE = """
import sys
from pathlib import Path
from depproxy.access.htpasswd import with_user
from depproxy.access.users_file import change_users_file

file, name, stored = sys.argv[1:]
for number in range(5):
    change_users_file(Path(file), lambda text: with_user(text, f"{name}{number}", stored))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder / "htpasswd"


def add(file: Path, user: str) -> None:
    change_users_file(file, lambda text: with_user(text, user, ALICES_HASH))


def test_a_new_file_is_for_its_owner_and_group_only(file: Path) -> None:
    add(file, "alice")
    assert file.read_text() == f"alice:{ALICES_HASH}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_new_file_belongs_to_whom_its_folder_does(file: Path) -> None:
    need(root=True)
    os.chown(file.parent, 1234, 2345)
    add(file, "alice")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o400])
def test_a_changed_file_keeps_its_mode(file: Path, mode: int) -> None:
    file.touch()
    file.chmod(mode)
    add(file, "alice")
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert list(parse_users(file.read_text()).hashes) == ["alice"]


def test_a_changed_file_keeps_its_owner(file: Path) -> None:
    need(root=True)
    file.touch()
    os.chown(file, 1234, 2345)
    add(file, "alice")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def test_who_reads_the_old_file_reads_it_to_its_end(file: Path) -> None:
    file.write_text("old\n")
    with file.open() as opened:
        change_users_file(file, lambda _: "new\n")
        assert opened.read() == "old\n"
    assert file.read_text() == "new\n"
    assert [path.name for path in file.parent.iterdir()] == ["htpasswd"]


def test_a_reader_never_sees_half_a_file(file: Path) -> None:
    add(file, "alice")
    is_done = threading.Event()

    def read() -> set[str]:
        texts = set()
        while not is_done.is_set():
            texts.add(read_users_file(file))
        return texts

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read)
        try:
            for number in range(20):
                add(file, f"user{number}")
        finally:
            is_done.set()
        texts = reading.result()
    whole = read_users_file(file)
    assert texts
    assert all(text and text.endswith("\n") and whole.startswith(text) for text in texts)


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(file)
    add(link, "alice")
    assert link.is_symlink()
    assert read_users_file(file) == read_users_file(link) == f"alice:{ALICES_HASH}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "link"]


def test_a_link_to_a_file_that_is_not_there_makes_it(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    add(link, "alice")
    assert link.is_symlink()
    assert file.read_text() == f"alice:{ALICES_HASH}\n"


def test_changes_by_threads_at_once_lose_nothing(file: Path) -> None:
    names = {f"user{number}" for number in range(30)}
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: add(file, name), names))
    assert set(parse_users(file.read_text()).hashes) == names


def test_changes_by_processes_at_once_lose_nothing(file: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_FIVE, str(file), f"user{number}-", ALICES_HASH], cwd=ROOT
        )
        for number in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert len(parse_users(file.read_text()).hashes) == 20


def test_bytes_that_are_no_text_survive_a_change_and_can_be_read(file: Path) -> None:
    file.write_bytes(b"# J\xe4ger, \xff\n")
    add(file, "alice")
    assert file.read_bytes() == b"# J\xe4ger, \xff\n" + f"alice:{ALICES_HASH}\n".encode()
    assert list(parse_users(read_users_file(file)).hashes) == ["alice"]


def test_a_change_that_fails_changes_nothing(file: Path) -> None:
    def fail(_: str) -> str:
        raise LookupError("nobody")

    with pytest.raises(LookupError):
        change_users_file(file, fail)
    assert list(file.parent.iterdir()) == []
    file.write_text("as it was")
    with pytest.raises(LookupError):
        change_users_file(file, fail)
    assert file.read_text() == "as it was"
    add(file, "alice")
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_replaced_is_an_error_and_leaves_nothing_behind(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    for wrong in (tmp_path / "missing" / "htpasswd", tmp_path / "plain" / "htpasswd", file.parent):
        with pytest.raises(UsersFileError, match=f"{wrong} cannot be changed: "):
            add(wrong, "alice")
    assert list(file.parent.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "plain"]


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_nothing_else(file: Path) -> None:
    file.write_text("as it was")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(UsersFileError):
            add(file, "alice")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "as it was"
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_read_is_an_error(file: Path) -> None:
    for wrong in (file, file.parent):
        with pytest.raises(UsersFileError, match=f"{wrong} cannot be read: "):
            read_users_file(wrong)


def test_a_stamp_changes_with_the_file(file: Path) -> None:
    stamps = [stamp(file)]
    add(file, "alice")
    stamps.append(stamp(file))
    change_users_file(file, lambda text: text)
    stamps.append(stamp(file))
    with file.open("a") as opened:
        opened.write("#\n")
    stamps.append(stamp(file))
    os.utime(file, ns=(0, 0))
    stamps.append(stamp(file))
    assert stamps[0] is None
    assert len(set(stamps)) == 5
    assert stamp(file) == stamps[-1]
