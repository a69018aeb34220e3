"""How tests let time go by: files are made older, and a pass of the housekeeper is waited for."""

import json
import os

from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.on_disk import file_of, held, pointers, tree_of, wait_until_removed
from tests.pulling import pull
from tests.running import RunningServer
from tests.waiting import wait_for

HOUR = 3600
OFTEN = "housekeeping: {interval: 20ms, grace: 0s}\n"
KINDLY = "housekeeping: {interval: 20ms, grace: 1h}\n"
NEVER = "housekeeping: {interval: 1h, grace: 0s}\n"


def age(server: RunningServer, hours: float, name: str = "", group: str = "mygroup") -> None:
    """Let it be so long ago that an image (or every one) was pulled. The server must not run."""
    seconds = hours * HOUR
    for path in (tree_of(server, group) / "manifests").rglob("*.*"):
        if f"/{name}/" not in str(path) and name:
            continue
        if path.suffix == ".times":
            times = json.loads(path.read_text())
            path.write_text(json.dumps({key: when - seconds for key, when in times.items()}))
        elif path.suffix == ".json":
            os.utime(path, (0, path.stat().st_mtime - seconds))


def age_blob(server: RunningServer, digest: Digest, hours: float, group: str = "mygroup") -> None:
    """As `age`, for a blob; its modification time belongs to its seal."""
    path = file_of(server, group, digest)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns - int(hours * HOUR * 1e9), status.st_mtime_ns))


def let_a_pass_go_by(server: RunningServer, group: str = "mygroup") -> None:
    """Wait for a whole pass that began after now: one takes along what is of no use since 1970. The
    group needs an ``expire_after``."""
    data = os.urandom(100)
    digest = Digest.of(data)
    path = file_of(server, group, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    planted = path.with_name("planted")
    planted.write_bytes(data)
    os.utime(planted, (0, 0))
    planted.rename(path)
    wait_for(lambda: not path.exists())
    wait_until_removed(server, group)


def images(server: RunningServer) -> set[str]:
    """The names of all images that have a pointer."""
    return {path.partition("/-/")[0].rpartition("/")[2] for path in pointers(server)}


def size_of(server: RunningServer) -> int:
    return sum(held(server).values())


def add_images(
    server: RunningServer, registry: FakeRegistry, *names: str
) -> dict[str, set[Digest]]:
    """Images of one layer each, pulled."""
    found = {}
    for number, name in enumerate(names):
        add_manifest(registry, f"library/{name}", layer(number, 10_000), tag="v1")
        found[name] = pull(server, name, "v1")
    return found
