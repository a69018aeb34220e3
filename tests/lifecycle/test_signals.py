"""SIGHUP, SIGTERM, and what the supervisor is told, by the program as it runs."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from depproxy.notify import Supervisor
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy

BLOB = "/v2/mygroup/dependency_proxy/containers/hello/blobs/"


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


def wait_for(log: Path, words: str, times: int = 1) -> None:
    while log.read_text().count(words) < times:
        time.sleep(0.005)


def get(proxy: Depproxy, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    connection.request("GET", path, headers={"Connection": "close"})
    with connection.getresponse() as response:
        return response.status, response.read()


def rewrite(proxy: Depproxy, change: Callable[[str], str]) -> None:
    proxy.config.write_text(change(proxy.config.read_text()))


# -- SIGHUP ----------------------------------------------------------------------------------


def test_sighup_reads_the_file_again(proxy: Depproxy) -> None:
    path = "/v2/late/dependency_proxy/containers/x/tags/list"
    with proxy.serving() as process:
        assert b"there is no group" in get(proxy, path)[1]
        rewrite(proxy, lambda text: f"{text}  late: {{deny: ['*']}}\nlog: {{format: json}}\n")
        process.send_signal(signal.SIGHUP)
        wait_for(proxy.log, "was read again: 2 groups")
        assert get(proxy, path)[0] == 403
        wait_for(proxy.log, '"logger": "depproxy.access"')
    assert process.returncode == 0
    assert '"message": "stopped"' in proxy.log.read_text()


def test_a_wrong_file_is_reported_with_every_problem_and_the_old_one_stays(proxy: Depproxy) -> None:
    with proxy.serving() as process:
        good = proxy.config.read_text()
        proxy.config.write_text(
            "listne: x\n"
            "groups: {mygroup: {stale_for: soon, visibility: private}}\n"
            "tls: {certificate: /nowhere/c, key: /nowhere/k}\n"
        )
        process.send_signal(signal.SIGHUP)
        wait_for(proxy.log, "tls.key:")
        log = proxy.log.read_text()
        for problem in (
            f"{proxy.config} cannot be used, and the configuration stays as it was",
            "listne: unknown key; did you mean 'listen'?",
            "groups.mygroup.stale_for: expected a duration",
            "groups.mygroup.visibility: expected auth.users_file",
            "tls.certificate: expected a PEM file that can be read",
        ):
            assert problem in log
        assert get(proxy, f"{BLOB}sha256:{64 * '0'}")[0] == 404  # the old group, and not private
        proxy.config.write_text(good)
        process.send_signal(signal.SIGHUP)
        wait_for(proxy.log, "was read again")
    assert process.returncode == 0


def test_many_sighups_do_no_harm(proxy: Depproxy) -> None:
    with proxy.serving() as process:
        for _ in range(50):
            process.send_signal(signal.SIGHUP)
        wait_for(proxy.log, "was read again")
        assert get(proxy, "/-/health")[0] == 200
    assert process.returncode == 0


# -- SIGTERM ---------------------------------------------------------------------------------


def test_idle_connections_are_closed_at_once(proxy: Depproxy) -> None:
    """A server with nothing to do does not wait for `shutdown_timeout`, here 30 s."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    with proxy.serving() as process:
        connection.request("GET", "/-/health")
        assert connection.getresponse().read()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert connection.sock.recv(1) == b""
        assert process.wait() == 0
        assert time.monotonic() - began < 30
    connection.close()


def test_answers_while_it_stops_end_their_connection(
    proxy: Depproxy, registry: FakeRegistry
) -> None:
    digest = registry.add_blob("library/hello", b"a blob")
    gate = Gate()
    registry.misbehave(behaviours.hold(gate), ".*/blobs/.*")
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    with proxy.serving() as process:
        connection.request("GET", BLOB + digest)
        gate.reached.wait()
        process.send_signal(signal.SIGTERM)
        wait_for(proxy.log, "shutting down: 1 requests")
        gate.open()
        with connection.getresponse() as response:
            assert response.headers["Connection"] == "close"
            assert response.read() == b"a blob"
        assert process.wait() == 0
    connection.close()


@pytest.mark.parametrize(
    ("path", "told"),
    [("/-/health", b"HTTP/1.1 200 OK"), ("/-/readiness", b"HTTP/1.1 503 Service Unavailable")],
)
def test_a_request_that_comes_on_a_new_connection_is_still_answered(
    proxy: Depproxy, path: str, told: bytes
) -> None:
    """Its connection was taken before the server began to stop, which is no time to send more."""
    with proxy.serving() as process:
        before = _open_sockets(process)
        with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
            while _open_sockets(process) <= before:
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
            wait_for(proxy.log, "shutting down")
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with sock.makefile("rb") as answer:
                assert told in answer.read()
        assert process.wait() == 0


def _open_sockets(process: "subprocess.Popen[bytes]") -> set[str]:
    """By their inodes: that of the question whether it is healthy may still be on its way out."""
    folder, found = f"/proc/{process.pid}/fd", set()
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"{folder}/{name}"))
    return {link for link in found if link.startswith("socket:")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    proxy: Depproxy, registry: FakeRegistry, number: signal.Signals
) -> None:
    digest = registry.add_blob("library/hello", b"a blob")
    registry.misbehave(behaviours.hang(), ".*/blobs/.*")
    with proxy.serving() as process:
        asking = threading.Thread(target=_ignored, args=(proxy, BLOB + digest))
        asking.start()
        while not registry.asked("GET", ".*/blobs/.*"):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        wait_for(proxy.log, "shutting down: 1 requests")
        process.send_signal(number)
        assert process.wait() == 128 + number
        asking.join()


def _ignored(proxy: Depproxy, path: str) -> None:
    with pytest.raises(ConnectionError):
        get(proxy, path)


# -- the supervisor --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_of_each_change(proxy: Depproxy, tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.settimeout(60)
        told.bind(name if kind == "path" else f"\0{name}")
        address = name if kind == "path" else f"@{name}"
        with proxy.serving(env={**os.environ, "NOTIFY_SOCKET": address}) as process:
            assert told.recv(4096) == b"READY=1\nSTATUS=Serving 1 groups"
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            process.send_signal(signal.SIGHUP)
            reloading, when, _ = told.recv(4096).split(b"\n")
            assert reloading == b"RELOADING=1"
            assert int(when.removeprefix(b"MONOTONIC_USEC=")) >= before
            assert told.recv(4096).startswith(b"READY=1\nSTATUS=Serving 1 groups; reloaded")
            proxy.config.write_text("nonsense: 1\n")
            process.send_signal(signal.SIGHUP)
            assert told.recv(4096).startswith(b"RELOADING=1")
            assert b"1 problem(s); the configuration is as before" in told.recv(4096)
            process.send_signal(signal.SIGTERM)
            stopping = told.recv(4096).split(b"\n")
            assert stopping[:2] == [b"STOPPING=1", b"EXTEND_TIMEOUT_USEC=45000000"]


@pytest.mark.parametrize("address", ["", "nonsense", "vsock:2:1"])
def test_without_a_supervisor_nothing_is_told(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor({"NOTIFY_SOCKET": address}).ready("x")
    Supervisor({}).stopping(1)
    assert not caplog.records


def test_a_supervisor_that_is_gone_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Supervisor({"NOTIFY_SOCKET": "/nowhere/notify"}).ready("x")
    assert "was not told READY=1" in caplog.text


def test_a_sighup_that_comes_while_the_server_starts_does_not_end_it(
    proxy: Depproxy, tmp_path: Path
) -> None:
    """It is about to read its configuration: from a pipe here, so that it can be met there."""
    text = proxy.config.read_text()
    proxy.config.unlink()
    os.mkfifo(proxy.config)
    with subprocess.Popen(proxy.command) as process:
        with proxy.config.open("w") as pipe:  # opened when the other end is
            process.send_signal(signal.SIGHUP)
            pipe.write(text)
        while process.poll() is None:
            with contextlib.suppress(OSError):
                assert get(proxy, "/-/health")[0] == 200
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
