"""The program as it is started and stopped: arguments, exit codes, signals, files."""

import http.client
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from depproxy.demo.image import Image
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.real.programs import ROOT, Depproxy, free_port
from tests.waiting import wait_for


def run(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "server.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


def test_a_wrong_file_stops_the_start_with_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("listen: 1\ngroup: {}\ngroups: {acme: {stale_for: soon}}\n")
    for arguments in (["--check-config"], []):
        done = run("--config", str(file), *arguments)
        assert done.returncode == 2
        assert "listen:" in done.stderr
        assert "did you mean 'groups'?" in done.stderr
        assert "groups.acme.stale_for:" in done.stderr
    assert run("--config", str(tmp_path / "missing.yml")).returncode == 2


def test_a_right_file_is_said_to_be_right() -> None:
    assert run("--check-config").returncode == 0
    assert run("--check-config", "--config", "conf/depproxy.yml").returncode == 0


def test_a_second_server_on_the_same_folder_is_refused(proxy: Depproxy) -> None:
    with proxy.serving():
        twin = proxy.folder / "twin.yml"
        twin.write_text(proxy.config.read_text().replace(str(proxy.port), str(free_port())))
        done = run("--config", str(twin))
        assert done.returncode == 1
        assert "another server works on" in done.stderr


def test_an_address_that_is_taken_is_told(proxy: Depproxy) -> None:
    with proxy.serving():
        twin = proxy.folder / "twin.yml"
        twin.write_text(proxy.config.read_text().replace("/data\n", "/data2\n"))
        done = run("--config", str(twin))
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{proxy.port}" in done.stderr


def test_secrets_are_made_once_and_for_the_owner_only(proxy: Depproxy) -> None:
    with proxy.serving():
        token = proxy.token
    with proxy.serving():
        assert proxy.token == token
    for name in ("admin_token", "token_key"):
        mode = stat.S_IMODE((proxy.folder / "data" / name).stat().st_mode)
        assert mode == 0o600
    assert token not in proxy.log.read_text()


def test_health_and_readiness(proxy: Depproxy) -> None:
    with proxy.serving():
        for path in ("/-/health", "/-/readiness"):
            for method in ("GET", "HEAD"):
                connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
                connection.request(method, path)
                assert connection.getresponse().status == 200
                connection.close()


def test_sigterm_lets_running_requests_end_and_exits_0(
    proxy: Depproxy, registry: FakeRegistry
) -> None:
    layer = os.urandom(2**20)
    digest = registry.add_blob("library/hello", layer)
    gate = Gate()
    registry.misbehave(behaviours.blob_until(500_000, "hold", gate=gate), ".*/blobs/.*")
    with proxy.serving() as process:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        path = f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{digest}"
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.read(1000) == layer[:1000]
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "shutting down: 1 requests" in proxy.log.read_text())
        late = http.client.HTTPConnection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionRefusedError):
            late.request("GET", "/-/health")
        gate.open()
        assert response.read() == layer[1000:]
        connection.close()
        assert process.wait() == 0
    with proxy.serving():
        registry.go_down()
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        connection.request("GET", path)
        assert connection.getresponse().read() == layer
        connection.close()


def test_a_killed_servers_leftovers_are_removed(proxy: Depproxy, registry: FakeRegistry) -> None:
    digest = registry.add_blob("library/hello", os.urandom(2**20))
    registry.misbehave(behaviours.blob_until(500_000, "hang"), ".*/blobs/.*", times=1)
    partial = proxy.folder / "data/groups/mygroup/-/partial"
    with proxy.serving() as process:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        path = f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{digest}"
        connection.request("GET", path)
        connection.getresponse().read(1000)
        connection.close()
        process.kill()
        process.wait()
    assert len(list(partial.iterdir())) == 1
    with proxy.serving():
        wait_for(lambda: not list(partial.iterdir()))


def test_the_server_starts_while_the_upstream_is_down(
    proxy: Depproxy, registry: FakeRegistry, hello: Image
) -> None:
    registry.go_down()
    with proxy.serving():
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        connection.request("GET", "/v2/mygroup/dependency_proxy/containers/hello/manifests/latest")
        assert connection.getresponse().status == 502
        connection.close()


def test_the_demo_says_commands_that_work(tmp_path: Path) -> None:
    config = tmp_path / "demo.yml"
    port = free_port()
    config.write_text(f"listen: 127.0.0.1:{port}\ndata_dir: {tmp_path / 'unused'}\n")
    command = [sys.executable, str(ROOT / "server.py"), "--demo", "--config", str(config)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    lines: list[str] = []

    def read() -> None:
        assert process.stdout
        lines.extend(process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_for(lambda: any("Ctrl-C" in line for line in lines))
        commands = [line.strip() for line in lines if line.strip().startswith("curl")]
        assert len(commands) == 2
        shown, purged = (
            subprocess.run(["bash", "-c", f"{line} --silent"], capture_output=True, text=True)
            for line in commands
        )
        assert "HTTP/1.1 200 OK" in shown.stdout
        assert '"202 Accepted"' in purged.stdout
        assert f"docker pull 127.0.0.1:{port}/mygroup/dependency_proxy/containers" in "".join(lines)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        reader.join()
        process.stdout.close()
    assert not (tmp_path / "unused").exists()
