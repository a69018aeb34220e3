"""A small file system of the server's own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.disks import Disk
from tests.real.programs import need
from tests.running import RunningServer, Start


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
