"""`depproxy warm`: images are pulled ahead, through the running server, as a client would."""

import json
import random
import signal
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from depproxy.oci.digest import Digest
from tests.commands.command_line import CommandLine, pull
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.images import amd64_of
from tests.real.programs import free_port
from tests.running import RunningServer, Start
from tests.signing_in import write_users

AMD64 = ("--platform", "linux/amd64")


@pytest.fixture
def aimed(command: CommandLine, server: RunningServer) -> CommandLine:
    """Knows where ``server`` listens."""
    command.aim_at(server)
    return command


@pytest.fixture
def large(registry: FakeRegistry) -> Image:
    """``library/large:latest``: a layer of which clients get the beginning before it is right."""
    image = make_image("Large.", {"file": random.Random(1).randbytes(2**18)})
    registry.add_image("library/large", "latest", image)
    return image


def large_layer(image: Image) -> Digest:
    return max(image.blobs, key=lambda digest: len(image.blobs[digest]))


def parts_of(image: Image, manifest: Digest) -> set[str]:
    document = json.loads(image.manifests[manifest][1])
    return {part["digest"] for part in (document["config"], *document["layers"])}


def on_disk(server: RunningServer) -> set[str]:
    server.settle()
    return {f"sha256:{path.name}" for path in server.blob_files()}


@pytest.mark.parametrize("name", ["hello", "hello:latest", "docker.io/library/hello"])
def test_a_warm_image_needs_no_upstream(
    server: RunningServer, registry: FakeRegistry, hello: Image, aimed: CommandLine, name: str
) -> None:
    done = aimed("warm", "mygroup", name, *AMD64)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{name}: 2 manifests and 3 blobs are cached\n"
    server.settle()
    registry.go_down()
    pull(server, hello)


def test_a_digest_can_be_warmed(
    server: RunningServer, registry: FakeRegistry, hello: Image, aimed: CommandLine
) -> None:
    amd64 = amd64_of(hello)
    for digest, count in ((hello.index, 2), (amd64, 1)):
        done = aimed("warm", "mygroup", f"hello@{digest}", *AMD64, "--json")
        assert done.code == 0
        assert done.json == [
            {
                "image": f"hello@{digest}",
                "manifests": count,
                "blobs": 3,
                "bytes": sum(len(hello.blobs[Digest(part)]) for part in parts_of(hello, amd64)),
                "error": None,
            }
        ]
    assert on_disk(server) == {hello.index, amd64, *parts_of(hello, amd64)}
    assert registry.asked("HEAD") == []


def test_warming_what_is_cached_asks_the_upstream_for_the_tag_only(
    server: RunningServer, registry: FakeRegistry, hello: Image, aimed: CommandLine
) -> None:
    aimed("warm", "mygroup", "hello", *AMD64)
    server.settle()
    registry.requests.clear()
    assert aimed("warm", "mygroup", "hello", *AMD64).code == 0
    assert [(seen.method, seen.path) for seen in registry.requests] == [
        ("HEAD", "/v2/library/hello/manifests/latest")
    ]


def test_only_the_wanted_platform_is_pulled(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    arm64 = next(d for d in hello.manifests if d not in (hello.index, amd64_of(hello)))
    assert aimed("warm", "mygroup", "hello", "--platform", "linux/arm64").code == 0
    assert on_disk(server) == {hello.index, arm64, *parts_of(hello, arm64)}


@pytest.mark.parametrize(
    "platforms",
    [["--platform", "all"], [*AMD64, "--platform", "linux/arm64"]],
    ids=["all", "two of them"],
)
def test_several_platforms_are_pulled(
    server: RunningServer, hello: Image, aimed: CommandLine, platforms: list[str]
) -> None:
    done = aimed("warm", "mygroup", "hello", *platforms, "--json")
    assert (done.code, done.json[0]["manifests"]) == (0, 3)
    assert done.json[0]["blobs"] == len(hello.blobs)
    assert on_disk(server) == {*hello.manifests, *hello.blobs}


@pytest.mark.parametrize(("machine", "has"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_without_a_word_it_is_this_machines_platform(
    server: RunningServer,
    hello: Image,
    aimed: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    has: str,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert aimed("warm", "mygroup", "hello").code == 0
    configs = [hello.blobs[Digest(name)] for name in on_disk(server) & set(hello.blobs)]
    assert any(b'"architecture": "%s"' % has.encode() in config for config in configs)
    assert len(on_disk(server)) == 5


def test_a_platform_means_its_variants_too(
    registry: FakeRegistry, hello: Image, aimed: CommandLine
) -> None:
    index = json.loads(hello.manifests[hello.index][1])
    for entry in index["manifests"]:
        entry["platform"]["variant"] = "v8"
    registry.add_manifest(
        "library/hello", json.dumps(index).encode(), index["mediaType"], tag="variants"
    )
    for wanted, code in (("linux/arm64", 0), ("linux/arm64/v8", 0), ("linux/arm64/v7", 1)):
        assert aimed("warm", "mygroup", "hello:variants", "--platform", wanted).code == code


def test_a_platform_that_is_not_there_is_told_with_those_that_are(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    done = aimed("warm", "mygroup", "hello", "--platform", "linux/s390x")
    assert done.code == 1
    assert done.out == (
        "hello: it is not there for linux/s390x, but for linux/amd64, linux/arm64\n"
    )


def test_of_several_images_one_that_fails_does_not_stop_the_others(
    server: RunningServer, registry: FakeRegistry, hello: Image, twin: Image, aimed: CommandLine
) -> None:
    done = aimed("warm", "mygroup", "hello", "nobody", "Twin", "hello@sha256:1", "twin", *AMD64)
    assert done.code == 1
    first, unknown, no_name, no_digest, last = done.out.splitlines()
    assert first == "hello: 2 manifests and 3 blobs are cached"
    assert unknown == f"nobody: {server.manifest('nobody', 'latest').message}"
    assert no_name == f"Twin: {server.manifest('Twin', 'latest').message}"
    assert no_digest.startswith("hello@sha256:1: ")
    assert last == "twin: 2 manifests and 3 blobs are cached"
    server.settle()
    registry.go_down()
    pull(server, twin, "twin")


def test_an_unknown_group_is_told_in_the_servers_words(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    done = aimed("warm", "no/body", "hello", *AMD64)
    assert done.code == 1
    path = "/v2/no/body/dependency_proxy/containers/hello/manifests/latest"
    assert done.out == f"hello: {server.ask(path).message}\n"


def test_a_blob_that_the_upstream_does_not_have_is_told_in_the_servers_words(
    server: RunningServer, registry: FakeRegistry, hello: Image, twin: Image, aimed: CommandLine
) -> None:
    lost = Digest(json.loads(hello.manifests[amd64_of(hello)][1])["config"]["digest"])
    registry.remove_blob("library/hello", lost)
    done = aimed("warm", "mygroup", "hello", "twin", *AMD64)
    assert done.code == 1
    failed, last = done.out.splitlines()
    assert failed == f"hello: {server.blob('hello', lost).message}"
    assert last == "twin: 2 manifests and 3 blobs are cached"


def test_a_blob_that_is_cut_is_a_failure(
    registry: FakeRegistry, large: Image, aimed: CommandLine
) -> None:
    wrong = bytes(len(large.blobs[large_layer(large)]))
    registry.misbehave(behaviours.blob_bytes(wrong), f".*/blobs/{large_layer(large)}")
    done = aimed("warm", "mygroup", "large", *AMD64, "--json")
    assert done.code == 1
    assert done.json[0]["error"]


def test_a_layer_is_pulled_whole(
    server: RunningServer, registry: FakeRegistry, large: Image, aimed: CommandLine
) -> None:
    assert aimed("warm", "mygroup", "large", *AMD64).code == 0
    server.settle()
    registry.go_down()
    assert server.blob("large", large_layer(large)).body == large.blobs[large_layer(large)]


@pytest.fixture
def private(start: Start, hello: Image, command: CommandLine, tmp_path: Path) -> RunningServer:
    """``mygroup`` is ann's."""
    users = tmp_path / "users"
    write_users(users, {"ann": "secret: ümläut", "bob": "his"})
    server = start(
        group="visibility: private\nreaders: [ann]", more=f"auth: {{users_file: {users}}}\n"
    )
    command.aim_at(server)
    return server


def test_a_private_group_needs_a_user_and_his_password(
    private: RunningServer, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPPROXY_PASSWORD", "secret: ümläut")
    done = command("warm", "mygroup", "hello", *AMD64)
    assert done.code == 1
    assert "(here by --user, with the password in $DEPPROXY_PASSWORD)" in done.out
    done = command("warm", "mygroup", "hello", *AMD64, "--user", "ann")
    assert (done.code, done.out) == (0, "hello: 2 manifests and 3 blobs are cached\n")


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "wrong"), ("ann", None), ("bob", "his"), ("nobody", "his")]
)
def test_who_may_not_read_a_private_group_warms_nothing(
    private: RunningServer,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    password: str | None,
) -> None:
    monkeypatch.delenv("DEPPROXY_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("DEPPROXY_PASSWORD", password)
    done = command("warm", "mygroup", "hello", *AMD64, "--user", user)
    assert done.code == 1
    assert "group" in done.out
    assert "--user" not in done.out
    assert "secret" not in done.out + done.err
    assert private.blob_files() == []


def test_where_no_server_answers_it_says_so(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    server.stop()
    done = aimed("warm", "mygroup", "hello", *AMD64)
    assert (done.code, done.out) == (1, "")
    assert f"no server answers at http://127.0.0.1:{server.port}" in done.err


def test_the_url_of_another_server_can_be_told(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    text = aimed.file.read_text()
    aimed.file.write_text(text.replace(f":{server.port}", f":{free_port()}"))
    assert aimed("warm", "mygroup", "hello", *AMD64).code == 1
    for url in (f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}/"):
        assert aimed("warm", "mygroup", "hello", *AMD64, "--url", url).code == 0


@pytest.mark.parametrize(
    "url", ["", "here:80", "ftp://here", "http://", "http://x/y", "http://a b", "unix:/s"]
)
def test_what_is_no_url_of_a_server_is_a_wrong_argument(
    server: RunningServer, aimed: CommandLine, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    with pytest.raises(SystemExit) as exit_with:
        aimed("warm", "mygroup", "hello", "--url", url)
    assert exit_with.value.code == 2
    assert "expected http://host:port or https://host:port" in capsys.readouterr().err


def test_a_server_that_listens_everywhere_is_found_here(
    server: RunningServer, hello: Image, aimed: CommandLine
) -> None:
    text = aimed.file.read_text()
    aimed.file.write_text(text.replace("127.0.0.1:", "0.0.0.0:", 1))
    assert aimed("warm", "mygroup", "hello", *AMD64).code == 0


@pytest.mark.parametrize("arguments", [[], ["mygroup"]])
def test_without_an_image_it_says_what_it_wants(
    server: RunningServer, aimed: CommandLine, arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as exit_with:
        aimed("warm", *arguments)
    assert exit_with.value.code == 2


def test_ctrl_c_ends_it_with_130_and_the_server_goes_on(
    server: RunningServer, registry: FakeRegistry, large: Image, aimed: CommandLine
) -> None:
    gate = Gate()
    path = f".*/blobs/{large_layer(large)}"
    registry.misbehave(behaviours.blob_until(2**17, "hold", gate=gate), path)
    with aimed.on_terminal("warm", "mygroup", "large", *AMD64) as (process, _):
        gate.reached.wait()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    gate.open()
    assert server.blob("large", large_layer(large)).body == large.blobs[large_layer(large)]
    assert len(registry.asked("GET", path)) == 1


def test_what_answers_otherwise_is_not_taken_for_a_server_that_has_cached_it(
    server: RunningServer, registry: FakeRegistry, aimed: CommandLine
) -> None:
    """As a page for every path."""
    registry.misbehave(behaviours.status(200, {"Content-Type": "text/html"}, b"<html></html>"))
    done = aimed("warm", "mygroup", "hello", *AMD64, "--url", registry.url)
    assert done.code == 1
    assert done.out == "hello: the server does not answer as depproxy does: check --url\n"
