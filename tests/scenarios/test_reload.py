"""Another configuration is put in force while the server runs: all of it or nothing, and nobody who
asks meanwhile notices."""

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depproxy.access.attempts import FREE_FAILURES
from depproxy.config import Config, load_config
from depproxy.demo.image import Image, make_image
from depproxy.errors import UsersFileError
from tests.browsing import SIGN_IN, Tab
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.pulling import amid_a_fill, blob
from tests.running import PREFIX, RunningServer, Start, write_config
from tests.signing_in import basic, write_users
from tests.waiting import PATIENCE, wait_for

Write = Callable[..., Config]


@pytest.fixture
def write(tmp_path: Path, registry: FakeRegistry) -> Write:
    """A configuration for the same folder; keywords as `write_config` takes them."""

    def write(upstream: str = "", **keywords: str) -> Config:
        return write_config(tmp_path, upstream or registry.url, **keywords)

    return write


@pytest.fixture
def second(hello: Image) -> Iterator[FakeRegistry]:
    """Another registry, with the same name for another image."""
    with FakeRegistry() as fake:
        fake.add_image("library/hello", "latest", make_image("The second one's."))
        yield fake


def manifest(group: str) -> str:
    return f"/v2/{group}/dependency_proxy/containers/hello/manifests/latest"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_groups_come_and_go(server: RunningServer, hello: Image, write: Write) -> None:
    assert server.ask(manifest("new/team")).error == "NAME_UNKNOWN"
    config = write()
    with_new = Path(server.data.parent / "depproxy.yml")
    with_new.write_text(with_new.read_text().replace("  other:\n", "  new/team:\n"))
    server.reload(load_config(with_new))
    assert server.ask(manifest("new/team")).status == 200
    assert server.ask(manifest("mygroup")).status == 200
    assert server.ask(manifest("other")).error == "NAME_UNKNOWN"
    server.reload(config)
    assert server.ask(manifest("new/team")).error == "NAME_UNKNOWN"
    assert server.ask(manifest("other")).status == 200


def test_a_groups_policies_change(server: RunningServer, hello: Image, write: Write) -> None:
    assert server.manifest("hello", "latest").status == 200
    server.reload(write(group="deny: [hello]"))
    assert server.manifest("hello", "latest").error == "DENIED"
    server.reload(write())
    assert server.manifest("hello", "latest").status == 200


def test_an_idle_connection_finds_the_new_configuration(
    server: RunningServer, hello: Image, write: Write
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", manifest("mygroup"))
    assert connection.getresponse().read()
    server.reload(write(group="deny: [hello]"))
    connection.request("GET", manifest("mygroup"))
    assert connection.getresponse().status == 403
    connection.close()


def test_an_upstream_is_asked_where_it_is_now(
    server: RunningServer, hello: Image, second: FakeRegistry, write: Write
) -> None:
    assert server.manifest("hello", "latest").headers["Docker-Content-Digest"] == hello.index
    server.reload(write(second.url))
    new = make_image("The second one's.").index
    assert server.manifest("hello", "latest").headers["Docker-Content-Digest"] == new


def test_a_fill_goes_on_as_it_began_and_its_readers_too(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write
) -> None:
    layer = os.urandom(2**20)
    digest = registry.add_blob("library/hello", layer)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(500_000, "hold", gate=gate), ".*/blobs/.*")
    with server.open(f"{PREFIX}/hello/blobs/{digest}") as response:
        assert response.read(1000) == layer[:1000]
        server.reload(write(second.url))
        with server.open(f"{PREFIX}/hello/blobs/{digest}") as joined:
            gate.open()
            assert response.read() == layer[1000:]
            assert joined.read() == layer
    assert not second.asked("GET", ".*/blobs/.*")
    server.settle()
    assert server.blob("hello", digest).cache == "hit"


def test_who_joined_a_fill_that_fails_by_the_old_way_goes_the_new_one(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write
) -> None:
    layer = os.urandom(2**20)
    digest = second.add_blob("library/hello", layer)
    gate = Gate()

    async def refuse_late(exchange: behaviours.Exchange) -> None:
        await gate.wait()
        await exchange.send(403)

    registry.misbehave(refuse_late, ".*/blobs/.*")
    replies = []
    path = f"{PREFIX}/hello/blobs/{digest}"
    first = threading.Thread(target=lambda: replies.append(server.ask(path)))
    first.start()
    gate.reached.wait()
    server.reload(write(second.url))
    joined = threading.Thread(target=lambda: replies.append(server.ask(path)))
    joined.start()
    while server.running_requests < 2:
        pass
    gate.open()
    first.join()
    joined.join()
    assert sorted(reply.status for reply in replies) == [200, 404]


LISTS = f"{PREFIX}/hello/tags/list"


@pytest.mark.parametrize("asked", [f"{PREFIX}/hello/manifests/latest", LISTS])
def test_who_asks_after_a_reload_is_not_told_what_the_old_way_says(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write, asked: str
) -> None:
    """Nor has to wait for it."""
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, 404), ".*/(manifests|tags)/.*")
    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(server.ask, asked)
        assert gate.reached.wait(PATIENCE)
        server.reload(write(second.url))
        assert server.ask(asked).status == 200
        gate.open()
        assert old.result().status == 404
    assert server.ask(asked).status == 200


def test_a_late_404_of_the_old_way_hides_nothing_of_the_new_one(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write
) -> None:
    gate = Gate()
    registry.misbehave(behaviours.hold(gate, 404), ".*/manifests/.*")
    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(server.manifest, "hello", "latest")
        assert gate.reached.wait(PATIENCE)
        server.reload(write(second.url))
        gate.open()
        assert old.result().status == 404
    assert server.manifest("hello", "latest").status == 200


def test_no_loan_after_a_reload_rests_on_what_the_old_way_says(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write
) -> None:
    digest = registry.add_blob("library/app", b"a layer")
    blob(server, "mygroup", digest)
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), ".*/blobs/.*", "HEAD")
    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(blob, server, "other", digest)
        assert gate.reached.wait(PATIENCE)
        server.reload(write(second.url))
        assert blob(server, "other", digest).status == 404
        gate.open()
        assert old.result().status == 200
    assert second.asked("HEAD", ".*/blobs/.*")


def test_an_unchanged_upstream_keeps_its_tokens_and_its_connections(
    server: RunningServer, registry: FakeRegistry, hello: Image, write: Write
) -> None:
    registry.needs_token = True
    assert server.manifest("hello", "latest").status == 200
    server.reload(
        write(group="revalidate_after: 0s\nnot_found_ttl: 1s", extra="aliases: [hub.test]")
    )
    assert server.manifest("hello", "latest").status == 200
    assert len(registry.asked("GET", "/token")) == 1
    server.reload(write(extra="stall_timeout: 7s"))
    assert server.manifest("hello", "latest").status == 200
    assert len(registry.asked("GET", "/token")) == 2


def test_an_unchanged_upstream_that_fails_goes_on_failing(
    server: RunningServer, registry: FakeRegistry, hello: Image, write: Write
) -> None:
    registry.misbehave(behaviours.status(429, {"Retry-After": "600"}), ".*")
    assert server.manifest("hello", "latest").status == 429
    asked = len(registry.requests)
    server.reload(write(group="not_found_ttl: 1s"))
    assert server.manifest("hello", "latest").status == 429
    assert len(registry.requests) == asked


def test_what_was_missing_is_asked_for_again(
    start: Start, registry: FakeRegistry, image: Image, write: Write
) -> None:
    server = start(group="not_found_ttl: 1h")
    assert server.manifest("hello", "latest").status == 404
    registry.add_image("library/hello", "latest", image)
    assert server.manifest("hello", "latest").status == 404
    server.reload(write(group="not_found_ttl: 1h"))
    assert server.manifest("hello", "latest").status == 200


def test_a_group_becomes_private_and_its_user_may(
    server: RunningServer, hello: Image, write: Write, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    write_users(file, {"ann": "right"})
    assert server.ask(manifest("mygroup")).status == 200
    private = "visibility: private\nreaders: [ann]"
    server.reload(write(group=private, more=f"auth: {{users_file: {file}}}\n"))
    assert server.ask(manifest("mygroup")).status == 401
    assert server.ask(manifest("mygroup"), headers=basic("ann", "right")).status == 200
    server.reload(write())
    assert server.ask(manifest("mygroup")).status == 200


def test_the_users_file_is_read_again_even_if_it_looks_the_same(
    start: Start, hello: Image, write: Write, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    write_users(file, {"ann": "first"})
    private = {
        "group": "visibility: private\nreaders: [ann]",
        "more": f"auth: {{users_file: {file}}}\n",
    }
    server = start(**private)
    assert server.ask(manifest("mygroup"), headers=basic("ann", "first")).status == 200
    before = file.stat()
    other = tmp_path / "other"
    write_users(other, {"ann": "later"})
    file.write_text(other.read_text())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    server.reload(write(**private))
    assert server.ask(manifest("mygroup"), headers=basic("ann", "later")).status == 200


def test_secrets_are_read_again(server: RunningServer, write: Write) -> None:
    """So a new admin token needs no restart: write it, or remove the file for a random one."""
    old = server.token
    assert server.purge(old).status == 202
    (server.data / "admin_token").unlink()
    server.reload(write())
    assert server.purge(old).status == 401
    assert server.purge().status == 202


def test_who_signed_in_stays_so_and_who_signed_out_too(server: RunningServer, write: Write) -> None:
    stays, leaves = Tab(server), Tab(server)
    for tab in (stays, leaves):
        tab.sign_in_as_admin()
    left = dict(leaves.cookies)
    leaves.send("/-/sign_out")
    leaves.cookies = left
    server.reload(write())
    stays.open("/")
    assert "Sign out" in stays.text
    leaves.open("/")
    assert "Sign in" in leaves.text


def test_who_tried_wrong_admin_tokens_is_still_slowed(
    server: RunningServer, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.access.attempts.LONGEST_WAIT", -1.0)  # nobody waits here
    tab = Tab(server)

    def sign_in() -> int:
        tab.open(SIGN_IN)
        return tab.send(SIGN_IN, token="wrong").status

    assert [sign_in() for _ in range(FREE_FAILURES + 1)] == [401] * FREE_FAILURES + [429]
    server.reload(write())
    assert sign_in() == 429


def test_another_token_key_ends_all_sessions(server: RunningServer, write: Write) -> None:
    tab = Tab(server)
    tab.sign_in_as_admin()
    (server.data / "token_key").unlink()
    server.reload(write())
    tab.open("/")
    assert "Sign in" in tab.text


def test_what_fails_changes_nothing(
    server: RunningServer, hello: Image, write: Write, tmp_path: Path
) -> None:
    before = server.config
    broken = write(group="deny: [hello]", more=f"auth: {{users_file: {tmp_path / 'none'}}}\n")
    with pytest.raises(UsersFileError):
        server.reload(broken)
    assert server.manifest("hello", "latest").status == 200
    server.reload(before)
    assert server.manifest("hello", "latest").status == 200


def test_what_cannot_change_stays_and_is_told_and_the_rest_changes(
    server: RunningServer,
    hello: Image,
    write: Write,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(group="deny: [hello]")
    file = tmp_path / "depproxy.yml"
    text = file.read_text().replace("127.0.0.1:0", "127.0.0.1:1").replace("/data\n", "/data2\n")
    file.write_text(text)
    server.reload(load_config(file))
    told = [r.getMessage() for r in caplog.records if "restart" in r.getMessage()]
    assert [line.partition(":")[0] for line in told] == ["listen", "data_dir"]
    assert server.manifest("hello", "latest").error == "DENIED"
    assert not (tmp_path / "data2").exists()


def test_a_request_that_began_before_is_logged_as_all_are_now(
    server: RunningServer,
    registry: FakeRegistry,
    write: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is the last that the server answers."""
    with amid_a_fill(server, registry):
        server.reload(write(more="log: {format: json}\n"))
    server.stop()
    lines = [line for line in capsys.readouterr().err.splitlines() if "/blobs/" in line]
    assert [json.loads(line)["status"] for line in lines] == [200]


def test_reloads_leave_neither_tasks_nor_files_behind(
    server: RunningServer, registry: FakeRegistry, second: FakeRegistry, write: Write
) -> None:
    """The loops of what was replaced end, and so do its connections."""
    ways = [write(second.url), write()]

    def reload_both() -> None:
        for config in ways:
            server.reload(config)
            assert server.manifest("hello", "latest").status == 200

    reload_both()
    server.wait_for_counts()
    tasks, files = server.running_tasks(), open_files()
    for _ in range(5):
        reload_both()
    wait_for(lambda: server.running_tasks() <= tasks and open_files() <= files)


def test_the_next_round_of_housekeeping_is_not_put_off(
    start: Start, hello: Image, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reloads more often than `interval` still has rounds."""
    lines = {"group": "expire_after: 90d", "more": "housekeeping: {interval: 300ms}\n"}
    server = start(**lines)
    while "housekeeping took" not in caplog.text:
        server.reload(write(**lines))


def test_no_request_fails_while_configurations_come_and_go(
    server: RunningServer, hello: Image, write: Write
) -> None:
    ways = [write(group="revalidate_after: 1h"), write(extra="stall_timeout: 9s"), write()]
    layer = next(iter(hello.blobs))
    statuses: list[int] = []
    stop = threading.Event()

    def pull() -> None:
        while not stop.is_set():
            for _ in range(20):
                statuses.append(server.ask(manifest("mygroup")).status)
                statuses.append(server.blob("hello", layer).status)

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        for config in ways:
            server.reload(config)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
