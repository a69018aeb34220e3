"""A disk that fails at any moment: no client gets wrong bytes, and nothing is left over."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.store.files import allocate
from tests.fakes.registry import FakeRegistry
from tests.lifecycle.disks import LAST_PIECE, MIB, check_tree, is_refused_clearly, layer
from tests.on_disk import open_paths
from tests.running import RunningServer
from tests.waiting import wait_for

SMALL = 1000
LARGE = MIB
"""Followers of a small one wait for its digest, those of a large one see it grow."""

STAGES = ("reserve", "write", "later write", "sync", "rename", "folder")
"""Where a blob's way to its name may be barred; ``folder`` is the last sync, of the new name."""

CLEAR = ("reserve",)
"""Always told before the headers."""

HIDDEN = ("sync", "rename", "folder")
"""After the digest is known to be right: no client sees them."""

FAULTS = [
    (stage, code, size)
    for stage in STAGES
    for code in (errno.ENOSPC, errno.EIO)
    for size in (SMALL, LARGE)
    if (stage, size) != ("later write", SMALL)
]


@dataclass
class Faults:
    """What the operating system refuses, in one tree and until it is mended."""

    tree: Path
    stage: str
    code: int
    hits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        self.stage = ""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        fsync, rename, pwrite = os.fsync, os.rename, os.pwrite

        def failing_allocate(fd: int, size: int) -> None:
            self._refuse("reserve", self._is_partial(fd))
            allocate(fd, size)

        def failing_pwrite(fd: int, data: Any, offset: int, /) -> int:
            self._refuse("write", self._is_partial(fd))
            self._refuse("later write", self._is_partial(fd) and offset > 0)
            return pwrite(fd, data, offset)

        def failing_fsync(fd: int, /) -> None:
            self._refuse("sync", self._is_partial(fd))
            self._refuse("folder", self._shown(fd).startswith(f"{self.tree}/blobs/sha256/"))
            fsync(fd)

        def failing_rename(
            src: str, dst: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
        ) -> None:
            is_here = dst_dir_fd is not None and self._shown(dst_dir_fd) == str(self.tree)
            self._refuse("rename", is_here and dst.startswith("blobs/"))
            self._refuse("pointer", is_here and dst.startswith("manifests/"))
            rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        patch.setattr("depproxy.store.partial.allocate", failing_allocate)
        patch.setattr(os, "pwrite", failing_pwrite)
        patch.setattr(os, "fsync", failing_fsync)
        patch.setattr(os, "rename", failing_rename)

    def _refuse(self, stage: str, concerns: bool) -> None:
        with self._lock:
            if stage != self.stage or not concerns:
                return
            self.hits += 1
        raise OSError(self.code, os.strerror(self.code))

    def _is_partial(self, fd: int) -> bool:
        return self._shown(fd).startswith(f"{self.tree}/partial/sha256-")

    @staticmethod
    def _shown(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")


def open_files(server: RunningServer) -> list[str]:
    """What this process has open of the tree."""
    return [path for path in open_paths() if path.startswith(str(server.tree))]


def wait_for_rest(server: RunningServer) -> None:
    """Until nothing runs, and nothing is open but the tree's own folder."""
    check_tree(server)
    wait_for(lambda: not server.running_requests)
    wait_for(lambda: open_files(server) == [str(server.tree)])


def is_counted_right(server: RunningServer) -> bool:
    """Whether the count in memory, which a purge tells, is what is on disk."""
    files = server.blob_files()
    size = sum(path.stat().st_size for path in files)
    told = server.purge().json
    return (told["manifests"] + told["blobs"], told["bytes"]) == (len(files), size)


@pytest.mark.parametrize(("stage", "code", "size"), FAULTS)
def test_a_failing_disk_never_gives_wrong_bytes_and_leaves_nothing(
    server: RunningServer,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    code: int,
    size: int,
) -> None:
    cached, known = layer(registry, 10_000)
    server.blob("hello", cached)
    check_tree(server)
    digest, data = layer(registry, size)
    half = size // 2
    faults = Faults(server.tree, stage, code)
    faults.install(monkeypatch)
    with ThreadPoolExecutor(6) as pool:
        whole = [pool.submit(server.blob, "hello", digest) for _ in range(4)]
        parts = [
            pool.submit(server.blob, "hello", digest, Range=f"bytes={half}-") for _ in range(2)
        ]
        asked = [(future.result(), 200, data) for future in whole]
        asked += [(future.result(), 206, data[half:]) for future in parts]

    wait_for(lambda: faults.hits > 0)  # clients may have it all before it is stored
    for reply, status, right in asked:
        if reply.status == 503:
            assert is_refused_clearly(reply)
            assert stage not in HIDDEN
            continue
        assert stage not in CLEAR
        assert reply.status == status
        if reply.cut:
            assert stage not in HIDDEN
            assert right.startswith(reply.body)
            assert len(reply.body) <= max(0, len(right) - LAST_PIECE)
        else:
            assert stage in HIDDEN
            assert reply.body == right
    hit = server.blob("hello", cached)
    assert (hit.cache, hit.body) == ("hit", known)
    wait_for_rest(server)

    faults.mend()
    assert server.blob("hello", digest).body == data
    check_tree(server)
    again = server.blob("hello", digest)
    assert (again.cache, again.body) == ("hit", data)
    assert len(server.blob_files()) == 2
    wait_for_rest(server)
    assert is_counted_right(server)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("stage", ["reserve", "write", "sync", "rename", "folder", "pointer"])
def test_a_manifest_is_served_whatever_the_disk_does(
    server: RunningServer,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    code: int,
) -> None:
    body = hello.manifests[hello.index][1]
    server.blob("hello", next(iter(hello.blobs)))
    check_tree(server)
    faults = Faults(server.tree, stage, code)
    faults.install(monkeypatch)
    for reference in ("latest", hello.index, "latest"):
        reply = server.manifest("hello", reference)
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["Docker-Content-Digest"] == hello.index
    assert faults.hits
    wait_for_rest(server)

    faults.mend()
    for reference in ("latest", hello.index):
        assert server.manifest("hello", reference).body == body
    for reference in ("latest", hello.index):
        reply = server.manifest("hello", reference)
        assert (reply.cache, reply.body) == ("hit", body)
    assert len(server.blob_files()) == 2
    wait_for_rest(server)
    assert is_counted_right(server)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_tag_moves_on_although_its_pointer_cannot_be_written(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    old, new = hello.index, next(digest for digest in hello.manifests if digest != hello.index)
    assert server.manifest("hello", "latest").body == hello.manifests[old][1]
    faults = Faults(server.tree, "pointer", code)
    faults.install(monkeypatch)
    registry.tag("library/hello", "latest", new)
    assert server.manifest("hello", "latest").body == hello.manifests[new][1]
    assert faults.hits
    faults.mend()
    assert server.manifest("hello", "latest").body == hello.manifests[new][1]
    check_tree(server)
    registry.go_down()
    assert server.manifest("hello", "latest").body == hello.manifests[new][1]
