"""`depproxy verify`: whatever is wrong on disk is found and removed, and the rest is left alone."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from depproxy.commands import verify
from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.store.pointers import Pointers
from depproxy.store.removal import Remover
from tests.commands.command_line import (
    CommandLine,
    ask_usage,
    blob_name,
    counts_of,
    layer_of,
    pull,
    size_of,
)
from tests.fakes.registry import FakeRegistry
from tests.images import amd64_of
from tests.on_disk import wait_until_trash_is_empty
from tests.running import RunningServer, Start
from tests.waiting import wait_for

Damage = Callable[[Path], object]

TAG = "manifests/docker.io/library/hello/-/tags/latest.json"


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def flip_and_keep_the_seal(file: Path) -> None:
    """As a failing disk does: nothing but the bytes tells."""
    status = file.stat()
    flip(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES: list[Damage] = [
    flip,
    flip_and_keep_the_seal,
    lambda file: os.truncate(file, file.stat().st_size // 2),
    lambda file: os.truncate(file, 0),
    lambda file: file.write_bytes(file.read_bytes() + b"more"),
]
NAMES = ["a flipped bit", "a flipped bit under the seal", "cut", "emptied", "longer"]

damages = pytest.mark.parametrize("damage", DAMAGES, ids=NAMES)


def open_files(process: int) -> set[str]:
    """What a process reads and writes now."""
    found = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(link))
    return found


def all_files(server: RunningServer) -> list[Path]:
    return [path for path in server.data.rglob("*") if path.is_file()]


def test_where_all_is_right_it_says_so_and_removes_nothing(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    before = {path: path.read_bytes() for path in all_files(server)}
    done = command("verify")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"5 blobs, {size_of(hello) / 1000:.1f} kB: nothing wrong\n"
    done = command("verify", "--json")
    assert done.code == 0
    assert done.json == {"files": 5, "bytes": size_of(hello), "removed": []}
    assert {path: path.read_bytes() for path in all_files(server)} == before


def test_an_empty_cache_is_right(start: Start, command: CommandLine) -> None:
    start().stop()
    assert command("verify").out == "0 blobs, 0 B: nothing wrong\n"


@damages
@pytest.mark.parametrize("is_running", [True, False], ids=["beside a server", "without one"])
@pytest.mark.parametrize("find", [layer_of, amd64_of, lambda image: image.index])
def test_a_damaged_blob_is_removed_and_fetched_anew(
    start: Start,
    registry: FakeRegistry,
    hello: Image,
    command: CommandLine,
    damage: Damage,
    find: Callable[[Image], Digest],
    is_running: bool,
) -> None:
    server = start()
    pull(server, hello)
    digest = find(hello)
    name = blob_name(digest)
    damage(server.tree / name)
    if not is_running:
        server.stop()
    done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (3, [f"mygroup/-/{name}"])
    assert not (server.tree / name).exists()
    assert command("verify").code == 0
    registry.requests.clear()
    pull(server if is_running else start(), hello)
    asked = {seen.path.rpartition("/")[2] for seen in registry.asked("GET")}
    assert asked == {digest}
    assert (command("verify").code, len(server.blob_files())) == (0, 5)


def test_people_are_told_what_was_removed(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    name = blob_name(layer_of(hello))
    flip(server.tree / name)
    *lines, last = command("verify").out.splitlines()
    assert lines == [f"removed: mygroup/-/{name}"]
    assert last.endswith(": 1 wrong")


def test_a_running_servers_usage_shows_what_was_removed(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    layer = server.tree / blob_name(layer_of(hello))
    size = layer.stat().st_size
    flip(layer)
    assert command("verify").code == 3
    assert counts_of(ask_usage(server)) == (2, 2, size_of(hello) - size)


def test_a_blob_that_is_right_and_lost_its_seal_is_sealed(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    for blob in server.blob_files():
        os.utime(blob)
    assert command("verify").code == 0
    for blob in server.blob_files():
        status = blob.stat()
        assert status.st_mtime_ns % 10**9 == status.st_size


def test_looking_at_a_blob_is_no_use_of_it(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    """Access times say what was not pulled for longest."""
    pull(server, hello)
    server.stop()
    for blob in server.blob_files():
        os.utime(blob, ns=(10**18, blob.stat().st_mtime_ns))
    assert command("verify").code == 0
    assert {blob.stat().st_atime_ns for blob in server.blob_files()} == {10**18}


@damages
def test_a_file_with_two_names_loses_both(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    command: CommandLine,
    damage: Damage,
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    name = blob_name(layer_of(hello))
    assert (server.tree / name).stat().st_nlink == 2
    damage(server.tree / name)
    done = command("verify", "--json")
    assert done.code == 3
    assert done.json["removed"] == [f"mygroup/-/{name}", f"other/-/{name}"]
    registry.requests.clear()
    for group in ("mygroup", "other"):
        pull(server, hello, group=group)
    assert len(registry.asked("GET")) == 1


def clear(server: RunningServer) -> None:
    """To the end, so that the group's folder is no more."""
    assert server.purge().status == 202
    wait_until_trash_is_empty(server)


def test_a_file_with_two_names_loses_the_one_that_is_left(
    server: RunningServer,
    hello: Image,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    name = blob_name(layer_of(hello))
    flip(server.tree / name)
    look = verify._wrong_blobs

    def look_late(*arguments: Any) -> tuple[list[str], list[str]]:
        clear(server)
        return look(*arguments)

    monkeypatch.setattr(verify, "_wrong_blobs", look_late)
    done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (3, [f"other/-/{name}"])


def test_what_it_has_found_is_told_though_the_group_is_cleared_at_the_last_moment(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, hello)
    name = blob_name(layer_of(hello))
    flip(server.tree / name)
    announce = Remover.announce

    def announce_late(self: Remover) -> None:
        clear(server)
        announce(self)

    monkeypatch.setattr(Remover, "announce", announce_late)
    done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (3, [f"mygroup/-/{name}"])


def test_a_pointer_that_goes_with_its_group_needs_no_removing(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, hello)
    (server.tree / TAG).write_bytes(b"wrong")
    lock = Pointers._lock

    def lock_late(self: Pointers, folder: str) -> int:
        clear(server)
        return lock(self, folder)

    monkeypatch.setattr(Pointers, "_lock", lock_late)
    done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (0, [])


def test_a_right_file_with_two_names_keeps_both(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    done = command("verify", "--json")
    assert (done.code, done.json["files"], done.json["removed"]) == (0, 10, [])


def test_a_right_file_under_a_wrong_name_as_well_loses_that(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    """Each name is a promise of its own."""
    pull(server, hello)
    pull(server, twin, "twin")
    server.stop()
    right, wrong = (blob_name(layer_of(image)) for image in (hello, twin))
    (server.tree / wrong).unlink()
    (server.tree / wrong).hardlink_to(server.tree / right)
    done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (3, [f"mygroup/-/{wrong}"])
    assert (server.tree / right).exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '{"digest": "sha256:12"}', "\xff", "x" * 2**20],
)
def test_a_pointer_that_cannot_be_read_is_removed_and_made_anew(
    server: RunningServer, registry: FakeRegistry, hello: Image, command: CommandLine, text: str
) -> None:
    pull(server, hello)
    digest = f"manifests/docker.io/library/hello/-/digests/sha256/{hello.index.hex}.json"
    for name in (TAG, digest):
        (server.tree / name).write_text(text, "latin-1")
    done = command("verify", "--json")
    assert done.code == 3
    assert sorted(done.json["removed"]) == sorted(f"mygroup/-/{name}" for name in (TAG, digest))
    registry.requests.clear()
    pull(server, hello)
    for name in (TAG, digest):
        assert json.loads((server.tree / name).read_text())["digest"] == hello.index
    assert registry.asked("GET", ".*/blobs/.*") == []
    assert command("verify").code == 0


def test_a_digests_pointer_that_is_about_another_digest_is_removed(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    folder = server.tree / "manifests/docker.io/library/hello/-/digests/sha256"
    wrong = folder / f"{hello.index.hex}.json"
    wrong.write_text((folder / f"{amd64_of(hello).hex}.json").read_text())
    done = command("verify", "--json")
    assert done.code == 3
    assert done.json["removed"] == [f"mygroup/-/{wrong.relative_to(server.tree)}"]


def test_a_pointer_that_only_announces_is_right(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    server.manifest("hello", "latest", "HEAD")
    assert command("verify").code == 0
    assert (server.tree / TAG).exists()


def test_files_that_are_nothing_of_ours_are_left_alone(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    strays = [
        "blobs/README",
        "blobs/sha256/README",
        "blobs/sha256/00/README",
        "blobs/sha256/00/deeper/" + "0" * 64,
        "blobs/md5/00/" + "0" * 32,
        f"blobs/sha256/00/{'0' * 63}",
        "manifests/notes.json",
        "manifests/docker.io/notes.json",
        "manifests/docker.io/library/hello/-/tags/.swp",
        "manifests/docker.io/library/hello/-/lists/notes.json",
        "notes.json",
    ]
    for name in strays:
        (server.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (server.tree / name).write_text("not ours")
    done = command("verify", "--json")
    assert (done.code, done.json["files"], done.json["removed"]) == (0, 5, [])
    assert all((server.tree / name).exists() for name in strays)


def test_a_blob_in_a_folder_where_nobody_looks_for_it_is_no_blob(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    blob = server.tree / blob_name(layer_of(hello))
    folder = blob.parent.with_name("zz")
    folder.mkdir()
    blob.rename(folder / blob.name)
    assert command("verify", "--json").json["files"] == 4
    assert command("usage", "--json").json[0]["blobs"] == 2


def test_a_blob_that_is_still_coming_is_not_looked_at(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    partial = server.tree / "partial" / f"sha256-{'0' * 64}.12345678"
    partial.write_bytes(b"the beginning")
    assert command("verify").code == 0
    assert partial.exists()


def test_a_link_under_a_blobs_name_is_not_followed(
    start: Start, hello: Image, command: CommandLine
) -> None:
    server = start()
    pull(server, hello)
    server.stop()
    blob = server.tree / blob_name(layer_of(hello))
    blob.unlink()
    blob.symlink_to("/dev/zero")
    assert command("verify").code == 0
    pull(start(), hello)
    assert not blob.is_symlink()


def test_ctrl_c_ends_it_at_once_and_nothing_is_removed(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    """The file is wrong and large: its bytes take longer than anybody waits."""
    pull(server, hello)
    server.stop()
    blob = server.tree / blob_name(layer_of(hello))
    os.truncate(blob, 2 * 2**30)
    with command.on_terminal("verify") as (process, _):
        wait_for(lambda: str(blob) in open_files(process.pid))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert blob.exists()


def test_without_a_data_folder_it_says_so(start: Start, command: CommandLine) -> None:
    server = start()
    server.stop()
    server.data.rename(server.data.with_name("elsewhere"))
    done = command("verify")
    assert (done.code, done.out) == (1, "")
    assert "there is no data folder" in done.err
