"""The regular pass, while others pull."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.cache.chores import Chores
from depproxy.cache.eviction import Limits
from depproxy.cache.housekeeping import Housekeeping
from depproxy.cache.in_use import InUse
from depproxy.cache.meter import Meter
from depproxy.cache.room import Room
from depproxy.cache.trees import Trees
from depproxy.config import HousekeepingConfig
from depproxy.demo.image import Image, make_image
from depproxy.oci.names import GroupName, ImageName, Tag
from depproxy.store.data_dir import DataDir, open_data_dir
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.on_disk import fail_amid_a_removal
from tests.store.trees import pull
from tests.waiting import PATIENCE

NOW = 1_000_000.0
APP = Repository("docker.io", ImageName("library/app"))
FIRST, SECOND = Tag("first"), Tag("second")


def pull_both(tree: Tree) -> dict[Tag, Image]:
    """Long ago, one after the other."""
    images = {tag: make_image(tag, {"file": tag.encode()}) for tag in (FIRST, SECOND)}
    for when, (tag, image) in enumerate(images.items()):
        pull(tree, APP, tag, image)
        tree.times.pull(APP, tag, image.index, when)
    return images


def tidy(data: DataDir, tree: Tree) -> None:
    """One pass, in which everything has expired."""
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        room = Room(data, InUse(), pool, lambda: 0, stop)
        housekeeping = Housekeeping(
            HousekeepingConfig(), {}, data.tree, InUse(), room, Chores(pool), lambda: NOW
        )
        housekeeping.tidy_tree(tree, Limits(expire_after=3600.0), stop)


def test_what_is_pulled_after_it_was_chosen_to_go_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data_dir(tmp_path)
    tree = data.tree(GroupName("acme"))
    images = pull_both(tree)
    rename = os.rename

    def pull_second_first(
        source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        if source == APP.path(FIRST, ".json"):
            tree.times.pull(APP, SECOND, images[SECOND].index, NOW)
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", pull_second_first)
    tidy(data, tree)
    assert tree.pointers.read_tag(APP, FIRST) is None
    assert tree.pointers.read_tag(APP, SECOND) is not None
    data.close()


def test_after_a_disk_has_failed_in_the_middle_what_is_left_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data_dir(tmp_path)
    tree = data.tree(GroupName("acme"))
    pull_both(tree)
    moved = fail_amid_a_removal(monkeypatch)
    tidy(data, tree)
    assert next(moved) >= 2
    assert list((tmp_path / "groups" / "acme" / "-" / "removed").iterdir()) == []
    told = tree.holdings.totals()
    tree.count(threading.Event())
    assert told == tree.holdings.totals()
    data.close()


@pytest.mark.parametrize("regular", ["housekeeping", "times"])
def test_what_fails_once_is_tried_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    regular: str,
) -> None:
    """What nobody thought of ends no regular work."""
    again = asyncio.Event()
    tries: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def work(*_: object) -> int:
            tries.append(regular)
            if len(tries) == 1:
                raise ZeroDivisionError
            loop.call_soon_threadsafe(again.set)
            return 0

        data = open_data_dir(tmp_path)
        with ThreadPoolExecutor() as pool:
            chores = Chores(pool)
            if regular == "housekeeping":
                room = Room(data, InUse(), pool, work, threading.Event())
                Housekeeping(
                    HousekeepingConfig(interval=0.01),
                    {},
                    data.tree,
                    InUse(),
                    room,
                    chores,
                    time.time,
                ).begin()
            else:
                monkeypatch.setattr("depproxy.cache.trees.FLUSH_EVERY", 0.01)
                meter = Meter(data, time.time)
                monkeypatch.setattr(meter, "flush", work)
                Trees(data, chores, meter).start()
            await asyncio.wait_for(again.wait(), PATIENCE)
            await chores.end()
        data.close()

    asyncio.run(run())
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()
