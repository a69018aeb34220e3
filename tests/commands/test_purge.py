"""`depproxy purge`: what the API clears, on the files, beside a running server or without one."""

import os
import random
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.store.files import DIRECTORY, create_locked
from depproxy.store.removal import Removal, Remover
from tests.commands.command_line import CommandLine, ask_list, ask_usage, counts_of, pull, size_of
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, amd64_of, layer
from tests.on_disk import check_pointers, fail_amid_a_removal, wait_until_removed
from tests.pulling import amid_a_fill
from tests.pulling import pull as pull_all
from tests.running import PREFIX, RunningServer, Start
from tests.waiting import wait_for


def blobs_left(server: RunningServer) -> set[str]:
    """What is on disk when nothing is on its way out any more."""
    wait_for(lambda: not list((server.tree / "removed").glob("*")))
    return {path.name for path in server.blob_files()}


@pytest.mark.parametrize("is_running", [True, False], ids=["beside a server", "without one"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?image=hello",
        "?image=library/hello",
        "?image=docker.io%2Fhello",
        "?image=hello&reference=latest",
        "?image=hello&reference=old",
        "?image=hello&reference={index}",
        "?image=hello&reference={amd64}",
        "?image=twin",
        "?image=nobody",
        "?image=hello&reference=nothing",
    ],
)
def test_it_clears_what_the_api_clears(
    start: Start,
    registry: FakeRegistry,
    hello: Image,
    twin: Image,
    command: CommandLine,
    query: str,
    is_running: bool,
) -> None:
    registry.add_image("library/hello", "old", twin)
    query = query.format(index=hello.index, amd64=amd64_of(hello))
    image, _, reference = query.removeprefix("?image=").partition("&reference=")
    at = "@" if ":" in reference else ":"
    what = f"{image.replace('%2F', '/')}{at if reference else ''}{reference}"

    def pull_all(server: RunningServer) -> None:
        pull(server, hello)
        pull(server, twin, tag="old")
        pull(server, twin, "twin")

    server = start()
    pull_all(server)
    if not is_running:
        server.stop()
    done = command("purge", "mygroup", *([what] if what else []), "--json")
    left = blobs_left(server)
    server.stop()
    again = start()
    again.wait_for_counts()
    pull_all(again)
    told = again.purge(query=query)
    assert (done.code, counts_of(done.json)) == (0, counts_of(told.json))
    assert blobs_left(again) == left


def test_people_are_told_what_went(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    size = f"{size_of(hello) / 1000:.1f} kB"
    assert command("purge", "mygroup").out == f"cleared: 2 manifests and 3 other blobs, {size}\n"
    assert command("purge", "mygroup").out == "cleared: 0 manifests and 0 other blobs, 0 B\n"


def test_it_leaves_neither_trash_nor_what_is_half_removed(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    server.stop()
    assert command("purge", "mygroup", "hello").code == 0
    assert not list((server.tree / "removed").iterdir())
    assert not list((server.tree / "manifests" / "docker.io" / "library").glob("hello/-"))
    assert command("purge", "mygroup").code == 0
    assert not list((server.data / "trash").iterdir())
    assert not server.tree.exists()


def test_what_a_running_server_is_writing_is_no_trash(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    """Counters are written below ``trash/``, locked, before they get their name."""
    pull(server, hello)
    left, writing = (server.data / "trash" / name for name in ("left.tmp", "writing.tmp"))
    left.touch()
    folder = os.open(server.data, DIRECTORY)
    file = create_locked("trash/writing.tmp", folder)
    try:
        command("purge", "mygroup")
        assert (left.exists(), writing.exists()) == (False, True)
    finally:
        os.close(file)
        os.close(folder)


def test_an_image_that_shares_a_layer_keeps_it(
    server: RunningServer, registry: FakeRegistry, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    assert counts_of(command("purge", "mygroup", "hello", "--json").json)[:2] == (2, 2)
    registry.go_down()
    pull(server, twin, "twin")


def test_what_it_has_cleared_holds_nothing_back_when_the_server_clears_the_rest(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    """Nobody has asked the server for its usage in between."""
    pull(server, hello)
    pull(server, twin, "twin")
    assert command("purge", "mygroup", "hello").code == 0
    server.purge(query="?image=twin")
    wait_for(lambda: not blobs_left(server))


@pytest.mark.parametrize("what", ["hello", "hello:latest"])
def test_what_a_server_pulls_after_the_walk_is_kept_or_goes_whole(
    server: RunningServer,
    registry: FakeRegistry,
    hello: Image,
    twin: Image,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """Another image that shares a layer, and another tag of the same."""
    add_manifest(registry, "library/hello", layer(1), tag="new")
    pull(server, hello)
    begin = Remover.begin

    def begin_late(self: Remover, *arguments: Any) -> Removal:
        pull(server, twin, "twin")
        pull_all(server, "hello", "new")
        return begin(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "begin", begin_late)
        assert command("purge", "mygroup", what).code == 0
    check_pointers(server)
    registry.go_down()
    pull(server, twin, "twin")


def test_a_running_server_shows_that_an_image_has_gone(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    before = counts_of(ask_usage(server))
    went = counts_of(command("purge", "mygroup", "hello", "--json").json)
    assert counts_of(ask_usage(server)) == tuple(
        old - new for old, new in zip(before, went, strict=True)
    )
    assert ask_list(server) == ["twin:latest"]


def test_a_running_server_shows_it_although_it_has_removed_something_itself_since(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    command("purge", "mygroup", "hello")
    server.purge(query="?image=nobody")
    assert counts_of(ask_usage(server)) == (2, 3, size_of(twin))
    assert ask_list(server) == ["twin:latest"]


def test_the_list_alone_shows_it_too(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    command("purge", "mygroup", "hello:latest")
    wait_for(lambda: ask_list(server) == ["twin:latest"])


def test_a_running_server_fetches_anew_what_has_gone(
    server: RunningServer, registry: FakeRegistry, hello: Image, command: CommandLine
) -> None:
    for what in ([], ["hello"], ["hello:latest"]):
        pull(server, hello)
        registry.requests.clear()
        assert counts_of(command("purge", "mygroup", *what, "--json").json)[:2] == (2, 3)
        pull(server, hello)
        assert len(registry.asked("GET")) == 5
        assert counts_of(ask_usage(server)) == (2, 3, size_of(hello))


def test_a_running_server_shows_that_a_group_is_empty(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    command("purge", "mygroup")
    assert counts_of(ask_usage(server)) == (0, 0, 0)
    assert ask_list(server) == []


def test_a_group_may_be_cleared_in_the_middle_of_a_fill(
    server: RunningServer, registry: FakeRegistry, command: CommandLine
) -> None:
    with amid_a_fill(server, registry) as layer:
        assert command("purge", "mygroup").code == 0
    again = server.blob("hello", Digest.of(layer))
    assert (again.body, again.cache) == (layer, "fwd=miss; stored")
    assert len(registry.asked("GET", ".*/blobs/.*")) == 2
    assert ask_usage(server)["bytes"] == len(layer)


def test_an_image_may_be_cleared_in_the_middle_of_a_fill(
    server: RunningServer, registry: FakeRegistry, hello: Image, command: CommandLine
) -> None:
    layer = random.Random(2).randbytes(4 * 2**20)
    digest = registry.add_blob("library/hello", layer)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(2**20, "hold", gate=gate), f".*/blobs/{digest}")
    pull(server, hello)
    with server.open(f"{PREFIX}/hello/blobs/{digest}") as response:
        assert response.read(1000) == layer[:1000]
        assert counts_of(command("purge", "mygroup", "hello", "--json").json)[:2] == (2, 3)
        gate.open()
        assert response.read() == layer[1000:]
    server.settle()
    assert counts_of(ask_usage(server)) == (0, 1, len(layer))
    assert server.blob("hello", digest).cache == "hit"


def test_a_file_that_two_groups_share_frees_its_bytes_with_the_last(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    manifests = sum(len(hello.manifests[d][1]) for d in (hello.index, amd64_of(hello)))
    first = command("purge", "mygroup", "--json").json
    assert counts_of(first) == (2, 3, manifests)
    assert counts_of(ask_usage(server, "other")) == (2, 3, size_of(hello))
    second = command("purge", "other", "hello", "--json").json
    assert counts_of(second) == (2, 3, size_of(hello))


@pytest.mark.parametrize("asked", [["mygroup", "other"], ["other", "mygroup"]])
def test_an_image_that_two_groups_share_counts_whole_for_the_other_afterwards(
    server: RunningServer, hello: Image, command: CommandLine, asked: list[str]
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    command("purge", "mygroup", "hello")
    told = {group: counts_of(ask_usage(server, group)) for group in asked}
    assert told == {"mygroup": (0, 0, 0), "other": (2, 3, size_of(hello))}


def test_a_disk_that_fails_in_the_middle_leaves_the_rest_to_the_server(
    server: RunningServer,
    hello: Image,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pull(server, hello)
    moved = fail_amid_a_removal(monkeypatch)
    done = command("purge", "mygroup", "hello:latest")
    assert (done.code, next(moved) >= 2) == (1, True)
    assert "the disk fails" in done.err
    server.ask("/api/v4/groups/mygroup/dependency_proxy")
    wait_until_removed(server)
    check_pointers(server)


def test_other_groups_are_left_alone(
    server: RunningServer, registry: FakeRegistry, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    command("purge", "mygroup")
    registry.go_down()
    pull(server, hello, group="other")


def test_an_unknown_group_is_told_with_the_known_ones(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    for name in ("nobody", "", "..", "mygroup/-", "MYGROUP"):
        done = command("purge", name)
        assert (done.code, done.out) == (1, "")
        assert done.err == f"depproxy: there is no group {name!r}; known are: mygroup, other\n"
    assert len(server.blob_files()) == 5


def test_a_group_that_the_configuration_no_longer_names_can_be_cleared(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    (server.data / "groups" / "mygroup").rename(server.data / "groups" / "former")
    assert counts_of(command("purge", "former", "hello", "--json").json) == (2, 3, size_of(hello))
    assert command("purge", "former").code == 0
    assert not (server.data / "groups" / "former" / "-").exists()


def test_an_image_of_an_upstream_that_the_group_no_longer_has_can_be_cleared(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    manifests = server.tree / "manifests"
    (manifests / "docker.io").rename(manifests / "old.example")
    done = command("purge", "mygroup", "old.example/library/hello", "--json")
    assert counts_of(done.json) == (2, 3, size_of(hello))


def test_a_group_without_a_cache_is_cleared_of_nothing(start: Start, command: CommandLine) -> None:
    server = start()
    server.stop()
    (server.data / "groups" / "other" / "-").rmdir()
    for what in ([], ["hello"], ["hello:latest"]):
        done = command("purge", "other", *what, "--json")
        assert (done.code, counts_of(done.json)) == (0, (0, 0, 0))
    assert not (server.data / "groups" / "other" / "-").exists()


@pytest.mark.parametrize(
    "what",
    ["Hello", "", ":latest", "hello:", "hello@latest", "hello@sha256:12", "hello:la test", "../x"],
)
def test_what_is_no_image_clears_nothing(
    server: RunningServer, hello: Image, command: CommandLine, what: str
) -> None:
    pull(server, hello)
    done = command("purge", "mygroup", what)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("depproxy: ")
    assert len(server.blob_files()) == 5


def test_without_a_data_folder_it_says_so(start: Start, command: CommandLine) -> None:
    server = start()
    server.stop()
    server.data.rename(server.data.with_name("elsewhere"))
    assert "there is no data folder" in command("purge", "mygroup").err


def test_without_a_group_it_says_what_it_wants(
    start: Start, command: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    start().stop()
    with pytest.raises(SystemExit) as exit_with:
        command("purge")
    assert exit_with.value.code == 2
    assert "GROUP" in capsys.readouterr().err
