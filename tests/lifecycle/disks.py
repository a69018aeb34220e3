"""A disk that is small or fails, and what must hold on it all the same."""

import os
import random
from pathlib import Path

from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.running import Reply, RunningServer
from tests.waiting import wait_for

KIB = 2**10
MIB = 2**20
LAST_PIECE = 64 * KIB


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
