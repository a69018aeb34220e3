"""systemd's own tools: sockets that outlive a server, and the units that come with the program."""

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from depproxy.demo.image import Image
from tests.fakes.registry import FakeRegistry
from tests.real.programs import ROOT, Depproxy, listens, need, run, running
from tests.real.steady_client import SteadyClient
from tests.waiting import wait_for

pytestmark = pytest.mark.real

WORST_EXPOSURE = 2.0
"""Of `systemd-analyze security`, from 0 to 10; below 2 it says "OK"."""

KEEPER = """
while [ ! -e "$STOP" ]; do
    (export LISTEN_PID=$BASHPID; exec "$@") &
    echo $! > "$PID.new" && mv "$PID.new" "$PID"
    wait $!
    echo $? >> "$CODES"
done
"""
"""What PID 1 does for a socket unit: it keeps the sockets, and starts the server anew when it has
ended. systemd-socket-activate itself becomes the server that it starts."""


@contextmanager
def activated(proxy: Depproxy) -> Iterator[None]:
    """The server behind sockets that systemd-socket-activate has opened."""
    files = {name: str(proxy.folder / name) for name in ("STOP", "PID", "CODES")}
    environ = [f"--setenv={name}={file}" for name, file in files.items()]
    command = ["systemd-socket-activate", f"--listen={proxy.host}", *environ, "bash", "-c", KEEPER]
    with running([*command, "keeper", *proxy.command], proxy.log, cwd=ROOT) as keeper:
        wait_for(lambda: listens(proxy.port))
        yield
        Path(files["STOP"]).touch()
        os.kill(server_pid(proxy), signal.SIGTERM)
        keeper.wait()


def server_pid(proxy: Depproxy) -> int:
    return int((proxy.folder / "PID").read_text())


def starts(proxy: Depproxy) -> int:
    return proxy.log.read_text().count("listens on")


def test_a_restart_under_load_fails_no_request(
    tmp_path: Path, registry: FakeRegistry, hello: Image
) -> None:
    need("systemd-socket-activate", "bash")
    proxy = Depproxy(tmp_path, registry.url, group="revalidate_after: 1h")
    layer, body = next(iter(hello.blobs.items()))
    path = f"/v2/mygroup/dependency_proxy/containers/hello/blobs/{layer}"
    stop = threading.Event()
    clients = [SteadyClient(proxy.port, path, stop, keeps=number % 2 == 0) for number in range(6)]
    with activated(proxy):
        for client in clients:
            client.start()
        for restarts in range(3):
            while starts(proxy) <= restarts:
                time.sleep(0.01)
            answered = sum(client.outcomes.total() for client in clients)
            while sum(client.outcomes.total() for client in clients) < answered + 200:
                time.sleep(0.01)
            os.kill(server_pid(proxy), signal.SIGTERM)
        wait_for(lambda: starts(proxy) > 3)
        stop.set()
        for client in clients:
            client.join()
    outcomes = sum((client.outcomes for client in clients), Counter[str]())
    print(f"4 servers one after the other: {dict(outcomes)}")
    assert set(outcomes) == {f"200, {len(body)} bytes"}
    assert (tmp_path / "CODES").read_text().split() == ["0"] * 4


def test_the_server_tells_whose_sockets_it_serves(tmp_path: Path, registry: FakeRegistry) -> None:
    need("systemd-socket-activate", "bash")
    proxy = Depproxy(tmp_path, registry.url)
    with activated(proxy), socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(b"GET /-/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    told = f"listens on {proxy.host}, which it was given: listen is not looked at"
    assert told in proxy.log.read_text()


# -- units -----------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Both units, with a program that exists: `verify` looks for it."""
    need("systemd-analyze")
    files = []
    for name in ("depproxy.service", "depproxy.socket"):
        text = (ROOT / "conf" / name).read_text().replace("/opt/depproxy/bin/depproxy", "/bin/true")
        (tmp_path / name).write_text(text)
        files.append(str(tmp_path / name))
    return files


def test_the_units_are_right(units: list[str]) -> None:
    done = run("systemd-analyze", "verify", *units)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_service_is_hardened(units: list[str]) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", units[0])
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) <= WORST_EXPOSURE


def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    need("systemd-sysusers", "systemd-tmpfiles", root=True)
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "group"):
        (tmp_path / "etc" / file).write_text((Path("/etc") / file).read_text())
    root = f"--root={tmp_path}"
    run("systemd-sysusers", root, str(ROOT / "conf" / "depproxy.sysusers"))
    line = next(
        line
        for line in (tmp_path / "etc" / "passwd").read_text().splitlines()
        if line.startswith("depproxy:")
    )
    user = int(line.split(":")[2])
    run("systemd-tmpfiles", "--create", root, str(ROOT / "conf" / "depproxy.tmpfiles"))
    folder = (tmp_path / "run" / "depproxy").stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (user, 0o750)
    assert (tmp_path / "etc" / "depproxy").stat().st_uid == 0
