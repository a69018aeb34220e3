"""A disk that is full, and one that fails: hits go on, a miss gets a clear word, nothing lies."""

import errno
import http.client
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.store.files import allocate
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import Exchange, FakeRegistry
from tests.real.programs import need
from tests.running import Reply, RunningServer, Start

KIB = 2**10
MIB = 2**20
LAST_PIECE = 64 * KIB
PATIENCE = 10.0
"""Seconds after which what has not happened never will."""


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def check_tree(server: RunningServer) -> None:
    """Nothing half-written stays, and every blob is what its name says."""
    wait_for(lambda: not server.partial_files())
    for path in server.blob_files():
        assert Digest.of(path.read_bytes()) == f"sha256:{path.name}"


def layer(registry: FakeRegistry, size: int) -> tuple[Digest, bytes]:
    """A new blob of ``library/hello``."""
    data = random.Random(size).randbytes(size)
    return registry.add_blob("library/hello", data), data


def is_refused_clearly(reply: Reply) -> bool:
    return (reply.status, reply.error) == (503, "UNAVAILABLE") and "disk" in reply.message


# -- a full disk -----------------------------------------------------------------------------


class Disk:
    """A small file system, and the ballast on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ballast = path / "ballast"

    @property
    def free(self) -> int:
        status = os.statvfs(self._path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> None:
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free - leave)

    def relieve(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounted where the server keeps its data."""
    need("mount", "umount", root=True)
    path = tmp_path / "data"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0750", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode and os.environ.get("DEPPROXY_SKIP_NOTHING"):
        pytest.fail(done.stderr)
    if done.returncode:
        pytest.skip(done.stderr)
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def small(disk: Disk, start: Start) -> RunningServer:
    """A server whose disk is small."""
    return start()


def readiness(server: RunningServer) -> tuple[int, str]:
    reply = server.ask("/-/readiness")
    return reply.status, reply.json["status"]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-19"}], ids=["whole", "range"])
def test_a_miss_that_is_larger_than_the_free_space_is_refused_before_its_headers(
    disk: Disk, small: RunningServer, registry: FakeRegistry, headers: dict[str, str]
) -> None:
    digest, data = layer(registry, 2 * MIB)
    disk.fill(leave=MIB)
    assert is_refused_clearly(small.blob("hello", digest, **headers))
    check_tree(small)
    assert not small.blob_files()
    assert disk.free > MIB * 9 // 10
    head = small.blob("hello", digest, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(data)))


def test_a_miss_larger_than_the_disk_leaves_room_for_smaller_ones(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    large, _ = layer(registry, 30 * MIB)
    digest, data = layer(registry, MIB)
    free = disk.free
    assert is_refused_clearly(small.blob("hello", large))
    check_tree(small)
    assert disk.free > free - 100 * KIB
    assert small.blob("hello", digest).body == data


def test_space_that_is_reserved_is_taken_by_nobody_else(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    first, data = layer(registry, 2 * MIB)
    second, _ = layer(registry, 2 * MIB + 1)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(MIB, "hold", gate=gate), f".*{first}")
    disk.fill(leave=3 * MIB)
    with small.open(f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{first}") as response:
        assert response.status == 200
        assert is_refused_clearly(small.blob("hello", second))
        gate.open()
        assert response.read() == data
    check_tree(small)
    assert small.blob("hello", first).cache == "hit"


def test_hits_go_on_while_the_disk_is_full(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    digest, data = layer(registry, 3 * MIB)
    small.blob("hello", digest)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    for _ in range(3):
        blob = small.blob("hello", digest)
        assert (blob.status, blob.cache, blob.body) == (200, "hit", data)
        part = small.blob("hello", digest, Range="bytes=1000000-1999999")
        assert (part.status, part.body) == (206, data[1000000:2000000])
        for reference in ("latest", hello.index):
            manifest = small.manifest("hello", reference)
            assert (manifest.status, manifest.cache) == (200, "hit")
            assert manifest.body == hello.manifests[hello.index][1]
    check_tree(small)


def test_a_server_that_starts_on_a_full_disk_serves_hits(
    disk: Disk, small: RunningServer, registry: FakeRegistry, start: Start, hello: Image
) -> None:
    digest, data = layer(registry, MIB)
    small.blob("hello", digest)
    small.manifest("hello", "latest")
    small.stop()
    disk.fill()
    again = start()
    assert again.blob("hello", digest).body == data
    assert again.manifest("hello", "latest").cache == "hit"
    check_tree(again)


def test_a_manifest_that_cannot_be_stored_is_served(
    disk: Disk, small: RunningServer, hello: Image
) -> None:
    body = hello.manifests[hello.index][1]
    disk.fill()
    for reference in ("latest", "latest", hello.index):
        reply = small.manifest("hello", reference)
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["Cache-Status"] == "depproxy; fwd=miss"
        assert reply.headers["Docker-Content-Digest"] == hello.index
    check_tree(small)
    assert not small.blob_files()
    disk.relieve()
    assert small.manifest("hello", "latest").cache == "fwd=miss; stored"
    assert small.manifest("hello", "latest").cache == "hit"
    check_tree(small)


def test_a_blob_of_unknown_length_that_does_not_fit_is_cut(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, MIB)
    gate = Gate()

    async def chunked_and_held(exchange: Exchange) -> None:
        await exchange.send_head(200, {"Transfer-Encoding": "chunked"})
        if exchange.seen.method == "HEAD":
            return
        for piece in (data[: 200 * KIB], data[200 * KIB :]):
            exchange.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await exchange.writer.drain()
            await gate.wait()
        exchange.writer.write(b"0\r\n\r\n")
        await exchange.writer.drain()

    registry.misbehave(chunked_and_held, ".*/blobs/.*")
    disk.fill(leave=512 * KIB)
    with small.open(f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{digest}") as response:
        assert response.status == 200
        assert response.headers["Transfer-Encoding"] == "chunked"
        gate.open()
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
    assert len(cut.value.partial) <= len(data) - LAST_PIECE
    assert data.startswith(cut.value.partial)
    check_tree(small)
    assert not small.blob_files()


def test_a_blob_that_grows_beyond_the_disk_is_never_completed(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, MIB)
    registry.misbehave(behaviours.chunked(data), ".*/blobs/.*")
    disk.fill(leave=512 * KIB)
    reply = small.blob("hello", digest)
    assert reply.cut or is_refused_clearly(reply)
    check_tree(small)
    disk.relieve()
    assert small.blob("hello", digest).body == data
    check_tree(small)


def test_a_full_disk_is_told_and_recovered_from(
    disk: Disk, small: RunningServer, registry: FakeRegistry
) -> None:
    digest, data = layer(registry, 2 * MIB)
    assert readiness(small) == (200, "ready")
    disk.fill(leave=MIB)
    assert readiness(small) == (200, "degraded")
    assert "full" in small.ask("/-/readiness").json["reason"]
    assert small.blob("hello", digest).status == 503
    disk.relieve()
    assert readiness(small) == (200, "ready")
    reply = small.blob("hello", digest)
    assert (reply.status, reply.cache, reply.body) == (200, "fwd=miss; stored", data)
    check_tree(small)
    assert small.blob("hello", digest).cache == "hit"


def test_on_a_full_disk_what_nobody_uses_makes_room_and_is_fetched_again_when_asked_for(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    old, data = layer(registry, 3 * MIB)
    new, fresh = layer(registry, 2 * MIB)
    small.blob("hello", old)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    assert small.blob("hello", new).body == fresh
    assert small.manifest("hello", hello.index).cache == "hit"
    disk.relieve()
    reply = small.blob("hello", old)
    assert (reply.cache, reply.body) == ("fwd=miss; stored", data)
    check_tree(small)


def test_a_purge_works_on_a_full_disk_and_makes_room(
    disk: Disk, small: RunningServer, registry: FakeRegistry, hello: Image
) -> None:
    old, data = layer(registry, 3 * MIB)
    new, fresh = layer(registry, 2 * MIB)
    small.blob("hello", old)
    small.manifest("hello", "latest")
    check_tree(small)
    disk.fill()
    reply = small.purge()
    assert (reply.status, reply.json["manifests"], reply.json["blobs"]) == (202, 1, 1)
    assert reply.json["bytes"] == len(data) + len(hello.manifests[hello.index][1])
    wait_for(lambda: not any((small.data / "trash").iterdir()))
    assert disk.free > 3 * MIB - 100 * KIB
    assert small.blob("hello", new).body == fresh
    assert small.manifest("hello", "latest").cache == "fwd=miss; stored"
    check_tree(small)
    assert small.blob("hello", new).cache == "hit"


# -- a failing disk --------------------------------------------------------------------------

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
    """What this process has open of the tree, deleted files included."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # closed meanwhile
        if path.startswith(str(server.tree)):
            found.append(path)
    return found


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
