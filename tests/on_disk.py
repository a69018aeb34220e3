"""What a server has on disk, and what leads to it."""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from tests.running import RunningServer
from tests.waiting import undisturbed, wait_for


def tree_of(server: RunningServer, group: str = "mygroup") -> Path:
    return server.data / "groups" / group / "-"


def file_of(server: RunningServer, group: str, digest: Digest) -> Path:
    return tree_of(server, group) / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex


def settle(server: RunningServer) -> None:
    """Wait until nothing in any group is about to get its name."""
    wait_for(lambda: undisturbed(lambda: not any(server.data.glob("groups/*/-/partial/*"))))


def open_paths() -> Iterator[str]:
    """What this process, and the servers in it, have open; files that are deleted included."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(f"/proc/self/fd/{name}")


def rest(server: RunningServer) -> None:
    """Wait until nothing that was pulled is in use any more."""
    settle(server)
    wait_for(lambda: not server.running_requests)
    wait_for(
        lambda: not any(f"{server.data}/" in path and "blobs/" in path for path in open_paths())
    )
    server.ask("/-/health")  # the loop has been round since


def held(server: RunningServer, group: str = "mygroup") -> dict[Digest, int]:
    """Every blob on disk, and its bytes."""
    settle(server)
    return undisturbed(
        lambda: {
            Digest(f"{path.parent.parent.name}:{path.name}"): path.stat().st_size
            for path in (tree_of(server, group) / "blobs").glob("*/*/*")
        }
    )


def pointers(server: RunningServer, group: str = "mygroup") -> dict[str, Digest | None]:
    """Every reference on disk, by its path, and the manifest that it means."""
    top = tree_of(server, group) / "manifests"
    return undisturbed(
        lambda: {
            str(path.relative_to(top)): Digest(document["digest"]) if document["digest"] else None
            for path in [*top.rglob("tags/*.json"), *top.rglob("digests/*/*.json")]
            for document in [json.loads(path.read_bytes())]
        }
    )


def reach(server: RunningServer, digests: Iterable[Digest | None]) -> set[Digest]:
    """What manifests lead to, by the bodies on disk, and is there."""
    there, found, ways = held(server), set[Digest](), [digest for digest in digests if digest]
    while ways:
        digest = ways.pop()
        if digest in there and digest not in found:
            found.add(digest)
            body = file_of(server, "mygroup", digest).read_bytes()
            ways += contents_of(body).digests
    return found


def wait_until_removed(server: RunningServer, group: str = "mygroup") -> None:
    """The disk follows a purge in the background: wait until it has."""
    removed = tree_of(server, group) / "removed"
    wait_for(lambda: undisturbed(lambda: not any(removed.glob("*"))))


def wait_until_trash_is_empty(server: RunningServer) -> None:
    """As `wait_until_removed`, of whole groups: their folders are no more."""
    wait_for(lambda: not any((server.data / "trash").iterdir()))


def check_pointers(server: RunningServer) -> None:
    """No pointer is left without its manifest, and no blob without a pointer that leads to it."""
    meant = pointers(server).values()
    assert set(meant) <= set(held(server))
    assert reach(server, meant) == set(held(server))


def check_counted(server: RunningServer) -> None:
    """What is told of a group is what is on disk."""
    told = server.ask("/api/v4/groups/mygroup/dependency_proxy").json
    files = held(server)
    documents = {digest for digest in pointers(server).values() if digest in files}
    assert (told["manifests"], told["blobs"], told["bytes"]) == (
        len(documents),
        len(files) - len(documents),
        sum(files.values()),
    )


def fail_amid_a_removal(monkeypatch: pytest.MonkeyPatch) -> "count[int]":
    """The second move of what is on its way out fails, as a disk does; counts the moves."""
    rename, moved = os.rename, count()

    def fail_once(source: str, target: str, **folders: int) -> None:
        if target.startswith("removed/") and next(moved) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target, **folders)

    monkeypatch.setattr(os, "rename", fail_once)
    return moved
