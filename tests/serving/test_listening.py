"""Where the server can be reached: several addresses, IPv6, unix sockets, and sockets of systemd's;
and what it says where it cannot listen."""

import errno
import http.client
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from depproxy.config import Address
from depproxy.serving.sockets import CannotListen, Listener, bind, passed
from tests.fakes.registry import FakeRegistry
from tests.real.programs import ROOT, Depproxy, free_port, need, run, running, wait_until

LOCAL = Address(host="127.0.0.1")


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


def listen_on(proxy: Depproxy, *addresses: str) -> None:
    own = f"listen: {proxy.host}\n"
    listed = ", ".join(f"'{address}'" for address in addresses)
    proxy.config.write_text(proxy.config.read_text().replace(own, f"listen: [{listed}]\n"))


def status(host: str, port: int) -> int:
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.request("GET", "/-/health")
        with connection.getresponse() as response:
            return response.status
    finally:
        connection.close()


@pytest.fixture
def several(proxy: Depproxy, path: str) -> Iterator[tuple[Depproxy, int, str]]:
    """A server on two addresses, one of them IPv6, and on a unix socket."""
    other = free_port()
    listen_on(proxy, proxy.host, f"[::1]:{other}", f"unix:{path}")
    with proxy.serving():
        yield proxy, other, path


def test_it_listens_on_several_addresses_at_once(several: tuple[Depproxy, int, str]) -> None:
    proxy, other, path = several
    assert status("127.0.0.1", proxy.port) == 200
    assert status("::1", other) == 200
    text = proxy.log.read_text()
    assert f"listens on 127.0.0.1:{proxy.port}, [::1]:{other}, unix:{path}\n" in text


def test_curl_comes_by_a_unix_socket(several: tuple[Depproxy, int, str]) -> None:
    need("curl")
    done = run("curl", "-s", "--unix-socket", several[2], "http://depproxy/-/health")
    assert done.stdout == '{"status": "ok"}'


def test_a_unix_socket_is_for_its_owner_and_group_and_goes_with_the_server(
    proxy: Depproxy, path: str
) -> None:
    listen_on(proxy, proxy.host, f"unix:{path}")
    with proxy.serving():
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert not os.path.lexists(path)


def test_the_unix_socket_of_a_killed_server_is_replaced(proxy: Depproxy, path: str) -> None:
    need("curl")
    listen_on(proxy, proxy.host, f"unix:{path}")
    with proxy.serving() as process:
        process.kill()
        process.wait()
    assert os.path.lexists(path)
    with proxy.serving():
        run("curl", "-s", "--unix-socket", path, "http://depproxy/-/health")


def test_a_unix_socket_that_another_program_uses_is_left_to_it(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(CannotListen, match=f"unix:{path}: another program uses"):
            bind([Address(unix=path)])
    assert os.path.lexists(path)


def test_a_file_that_is_no_socket_is_left_alone(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(CannotListen, match="no socket; remove it"):
        bind([Address(unix=path)])
    assert Path(path).read_text() == "precious"


@pytest.mark.parametrize("path", ["/nowhere/s", "/tmp/" + 200 * "x", "/proc/s"])
def test_a_unix_socket_that_cannot_be_is_told(path: str) -> None:
    with pytest.raises(CannotListen, match="cannot listen on unix:"):
        bind([Address(unix=path)])


def test_a_unix_socket_that_somebody_has_replaced_is_left_to_him(path: str) -> None:
    [listener] = bind([Address(unix=path)])
    os.unlink(path)
    [other] = bind([Address(unix=path)])
    listener.close()
    assert os.path.lexists(path)
    other.close()
    assert not os.path.lexists(path)


def test_an_address_that_is_taken_is_told_and_the_others_are_let_go(path: str) -> None:
    [taken] = bind([LOCAL])
    address = Address(host="127.0.0.1", port=taken.socket.getsockname()[1])
    with pytest.raises(CannotListen, match=f"{address}: another program uses this address"):
        bind([Address(unix=path), address])
    assert not os.path.lexists(path)
    taken.close()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotListen, match="this machine has no such address"):
        bind([Address(host="192.0.2.1", port=0)])


# -- sockets that systemd hands over ---------------------------------------------------------


def environ(count: int, names: str | None = None) -> dict[str, str]:
    named = {} if names is None else {"LISTEN_FDNAMES": names}
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), **named}


def test_nothing_is_taken_that_was_passed_to_another_process() -> None:
    assert passed({}, os.getpid()) == []
    assert passed(environ(1) | {"LISTEN_PID": "1"}, os.getpid()) == []
    assert passed(environ(1) | {"LISTEN_FDS": "x"}, os.getpid()) == []
    assert passed(environ(0), os.getpid()) == []


PASSING = """
import os, socket, sys
kinds = sys.argv[1:]
socks = []
for kind in kinds:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    if kind == "tcp":
        sock.listen()
    socks.append(sock)
high = [os.dup(sock.fileno()) for sock in socks]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(high)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
from depproxy.serving.sockets import CannotListen, passed
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(kinds)), "LISTEN_FDNAMES": "web:"}
try:
    found = passed(environ, os.getpid())
    print([(one.name, one.is_ours, str(one) == "%s:%d" % socks[n].getsockname(),
            os.get_inheritable(3 + n)) for n, one in enumerate(found)], flush=True)
except CannotListen as exc:
    print(exc, flush=True)
os._exit(0)
"""


def passing(*kinds: str) -> str:
    """What a process makes of sockets that were passed to it as descriptors from 3 on."""
    done = subprocess.run(
        [sys.executable, "-c", PASSING, *kinds], capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip() + done.stderr


def test_passed_sockets_are_taken_with_their_names() -> None:
    expected = [("web", False, True, False), ("unknown", False, True, False)]
    assert passing("tcp", "tcp") == repr(expected)


@pytest.mark.parametrize("kind", ["udp", "deaf"])
def test_what_was_passed_and_does_not_listen_is_refused(kind: str) -> None:
    assert "descriptor 4, which was passed, does not listen" in passing("tcp", kind)


def test_a_socket_of_anothers_stays_open_for_him() -> None:
    """The kernel goes on to collect connections in it, for the next process."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        copy = socket.socket(fileno=os.dup(theirs.fileno()))
        Listener(copy, "web").close()
        with socket.create_connection(theirs.getsockname()):
            theirs.accept()[0].close()


def test_a_path_that_cannot_be_removed_is_left_to_the_next_server(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is read-only since."""

    def refuse(_: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        bind([Address(unix=path)])[0].close()
    assert Path(path).is_socket()
    bind([Address(unix=path)])[0].close()
    assert not Path(path).exists()


def test_a_server_with_passed_sockets_does_not_look_at_listen(proxy: Depproxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        command = (
            f'exec 3<&{sock.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"',
            *(sys.executable, str(ROOT / "server.py"), "--config", str(proxy.config)),
        )
        with running(
            ["bash", "-c", *command], proxy.log, cwd=ROOT, pass_fds=(sock.fileno(),)
        ) as process:
            wait_until(lambda: "listens on" in proxy.log.read_text(), process, proxy.log)
            assert status("127.0.0.1", port) == 200
            assert "listen is not looked at" in proxy.log.read_text()
            with pytest.raises(ConnectionRefusedError):
                status("127.0.0.1", proxy.port)
        assert process.returncode == 0
        with socket.create_connection(("127.0.0.1", port)):  # nobody was turned away
            pass
