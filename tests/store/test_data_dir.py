"""The data folder: its secrets, its lock, and clearing a group."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.errors import StoreError
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir, DataDirBusy, open_data_dir

GROUP = GroupName("acme/platform")
DATA = b"a blob"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    data = open_data_dir(tmp_path / "data")
    yield data
    data.close()


def test_a_secret_is_made_once_for_the_owner_only(data: DataDir, tmp_path: Path) -> None:
    secret = data.secret("admin_token")
    assert len(secret) >= 43
    assert data.secret("admin_token") == secret
    assert stat.S_IMODE((tmp_path / "data/admin_token").stat().st_mode) == 0o600


def test_a_secret_of_ones_own_is_taken_as_it_is(data: DataDir, tmp_path: Path) -> None:
    own = tmp_path / "mounted"
    own.write_text("my own\n")
    (tmp_path / "data/admin_token").symlink_to(own)
    assert data.secret("admin_token") == "my own"


def test_a_secret_that_cannot_be_read_is_not_replaced(data: DataDir, tmp_path: Path) -> None:
    (tmp_path / "data/admin_token").mkdir()
    with pytest.raises(StoreError, match="admin_token"):
        data.secret("admin_token")


def test_two_servers_never_share_a_folder(data: DataDir, tmp_path: Path) -> None:
    with pytest.raises(DataDirBusy, match="another server"):
        open_data_dir(tmp_path / "data")


def test_a_folder_that_cannot_be_written_is_not_taken_for_one_that_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "lock").touch()
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        open_data_dir(tmp_path)
    assert not isinstance(caught.value, DataDirBusy)


def test_a_purge_begins_a_new_generation(data: DataDir, tmp_path: Path) -> None:
    old = data.tree(GROUP)
    old.store(Digest.of(DATA), DATA)
    assert data.purge(GROUP) is old
    new = data.tree(GROUP)
    assert new is not old
    assert new.blobs.open(Digest.of(DATA)) is None
    kept = old.blobs.open(Digest.of(DATA))
    assert kept
    kept.close()
    data.empty_trash(threading.Event())
    assert list((tmp_path / "data/trash").iterdir()) == []


def test_what_is_published_into_a_purged_tree_goes_with_it(data: DataDir, tmp_path: Path) -> None:
    tree = data.tree(GROUP)
    data.purge(GROUP)
    tree.store(Digest.of(DATA), DATA)
    assert not (tmp_path / "data/groups/acme/platform/-").exists()
    data.empty_trash(threading.Event())
    with pytest.raises(StoreError):
        tree.store(Digest.of(DATA), DATA)


def test_a_purge_works_though_somebody_removed_the_trash(data: DataDir, tmp_path: Path) -> None:
    data.tree(GROUP).store(Digest.of(DATA), DATA)
    shutil.rmtree(tmp_path / "data/trash")
    purged = data.purge(GROUP)
    assert purged
    assert purged.blobs.open(Digest.of(DATA)) is not None
    assert data.tree(GROUP).blobs.open(Digest.of(DATA)) is None


def test_purges_that_overlap_take_each_tree_once(data: DataDir) -> None:
    data.tree(GROUP).store(Digest.of(DATA), DATA)
    with ThreadPoolExecutor(8) as pool:
        purged = list(pool.map(lambda _: data.purge(GROUP), range(8)))
    assert len({id(tree) for tree in purged}) == 8


def test_nobody_waits_for_the_sync_of_a_purge(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.tree(GROUP)
    reached, go_on = threading.Event(), threading.Event()

    def slow_sync(_: int) -> None:
        reached.set()
        go_on.wait()

    monkeypatch.setattr(os, "fsync", slow_sync)
    with ThreadPoolExecutor(1) as pool:
        purging = pool.submit(data.purge, GROUP)
        reached.wait()
        assert data.tree(GROUP).is_there
        go_on.set()
        assert purging.result()


def test_deleting_stops_when_the_server_does(data: DataDir, tmp_path: Path) -> None:
    data.tree(GROUP).store(Digest.of(DATA), DATA)
    data.purge(GROUP)
    stop = threading.Event()
    stop.set()
    data.empty_trash(stop)
    assert list((tmp_path / "data/trash").rglob(Digest.of(DATA).hex))


def test_where_no_folder_can_be_made_it_says_so() -> None:
    with pytest.raises(StoreError, match="the data folder /proc/nope cannot be made: No such file"):
        open_data_dir(Path("/proc/nope"))
