"""What the disk refuses, in the words of the house."""

import errno
import os
from pathlib import Path

import pytest

from depproxy.errors import StoreError, StoreFull, StorePurged
from depproxy.store.files import (
    DIRECTORY,
    OpenFile,
    make_directories,
    sweep,
    translated,
    write_file,
)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.ENOENT, StorePurged),
        (errno.ESTALE, StorePurged),
        (errno.EIO, StoreError),
        (errno.EROFS, StoreError),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value.__name__,
)
def test_an_error_of_the_disk_is_one_of_ours_and_says_what_was_done(
    code: int, kind: type[StoreError]
) -> None:
    with (
        pytest.raises(StoreError, match="a blob is written") as caught,
        translated("a blob is written"),
    ):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, OSError)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translated("a blob is written"):
        raise ZeroDivisionError


@pytest.mark.parametrize("sync", [True, False])
def test_folders_are_made_with_all_above_them(tmp_path: Path, sync: bool) -> None:
    fd = os.open(tmp_path, DIRECTORY)
    for _ in range(2):
        make_directories("a/b/c", fd, sync=sync)
    make_directories("a/b/d", fd, sync=sync)
    os.close(fd)
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["c", "d"]


def test_below_a_link_that_leads_nowhere_no_folder_can_be_made(tmp_path: Path) -> None:
    """As where a disk is not mounted."""
    (tmp_path / "groups").symlink_to(tmp_path / "unmounted")
    fd = os.open(tmp_path, DIRECTORY)
    with pytest.raises(FileNotFoundError):
        make_directories("groups/mygroup/-", fd)
    os.close(fd)


def test_a_file_that_is_about_to_get_its_name_is_not_swept_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sweeps up what a crash has left."""
    (tmp_path / "partial").mkdir()
    folder = os.open(tmp_path, DIRECTORY)
    rename = os.rename

    def rename_late(source: str, target: str, **folders: int) -> None:
        sweep("partial", folder)
        rename(source, target, **folders)

    monkeypatch.setattr(os, "rename", rename_late)
    write_file("pointer.json", b"{}", folder, "partial")
    os.close(folder)
    assert (tmp_path / "pointer.json").read_bytes() == b"{}"


def test_a_file_that_is_closed_amid_a_call_is_closed_after_it(tmp_path: Path) -> None:
    file = OpenFile(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
    with file.in_call() as fd, file.in_call():
        file.close()
        with pytest.raises(OSError, match="given up"), file.in_call():
            pass
        assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "file"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    file.close()
    assert file.fd == -1
