"""Whose word about a client counts."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from depproxy.config import load_config
from depproxy.serving.proxies import UNIX, Client, TrustedProxies
from tests.fakes.registry import FakeRegistry
from tests.running import RunningServer, Start, write_config
from tests.signing_in import basic, send, write_users

PEER = Client("10.0.0.1", "http")


def address(trusted: list[str], forwarded: str | None, peer: str = PEER.address) -> str:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return TrustedProxies(trusted).client(Client(peer, "http"), headers).address


def test_nobody_is_believed_by_default() -> None:
    assert address([], "1.2.3.4") == PEER.address
    assert address([], "1.2.3.4", UNIX) == UNIX


@pytest.mark.parametrize("trusted", ["10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0"])
def test_a_trusted_peer_says_who_asked_it(trusted: str) -> None:
    assert address([trusted], None) == PEER.address
    assert address(["10.0.0.1/32"], "1.2.3.4") == "1.2.3.4"


@pytest.mark.parametrize("trusted", ["10.0.0.2/32", "fd00::/8", UNIX])
def test_a_peer_that_is_not_trusted_says_nothing(trusted: str) -> None:
    assert address([trusted], "1.2.3.4") == PEER.address


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("6.6.6.6,10.0.0.3,1.2.3.4,10.0.0.2", "1.2.3.4"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:5678", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_the_list_is_read_from_its_end_as_far_as_it_is_trusted(forwarded: str, client: str) -> None:
    """What a client has written into it himself stands at its beginning."""
    assert address(["10.0.0.0/8"], forwarded) == client


@pytest.mark.parametrize("forwarded", ["", "unknown", "_hidden", "1.2.3", "1.2.3.4;", "\x00", ","])
def test_what_is_no_address_is_not_taken_for_one(forwarded: str) -> None:
    assert address(["10.0.0.0/8"], forwarded) == PEER.address
    assert address(["10.0.0.0/8"], f"6.6.6.6, {forwarded}, 10.0.0.2") == "10.0.0.2"


def test_a_long_list_costs_no_more_than_a_short_one() -> None:
    assert address(["10.0.0.0/8"], ",".join(["1.2.3.4"] + ["10.0.0.2"] * 100)) == "10.0.0.2"


def test_an_ipv4_peer_of_a_socket_for_both_is_trusted_as_itself() -> None:
    assert address(["10.0.0.0/8"], "1.2.3.4", "::ffff:10.0.0.1") == "1.2.3.4"


def test_peers_of_unix_sockets_are_trusted_as_unix() -> None:
    assert address([UNIX], "1.2.3.4", UNIX) == "1.2.3.4"
    assert address(["10.0.0.0/8", UNIX], "1.2.3.4, 10.0.0.2", UNIX) == "1.2.3.4"


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("ftp", "http"),
        ("", "http"),
    ],
)
def test_a_trusted_peer_says_how_it_was_asked(said: str, scheme: str) -> None:
    headers = {"X-Forwarded-Proto": said}
    assert TrustedProxies(["10.0.0.0/8"]).client(PEER, headers).scheme == scheme
    assert TrustedProxies([]).client(PEER, headers).scheme == "http"


def test_the_log_has_the_client_of_each_request(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests of several clients come on one connection of the proxy's."""
    server = start(more="trusted_proxies: [127.0.0.1]\n")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for headers in ({"X-Forwarded-For": "1.2.3.4"}, {"X-Forwarded-For": "2001:db8::5"}, {}):
        connection.request("GET", "/-/health", headers=headers)
        connection.getresponse().read()
    connection.close()
    server.stop()
    assert clients(capsys) == ["1.2.3.4", "2001:db8::5", "127.0.0.1"]


def test_the_log_has_the_peer_of_who_is_not_trusted(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ask("/-/health", headers={"X-Forwarded-For": "1.2.3.4"})
    server.stop()
    assert clients(capsys) == ["127.0.0.1"]


def clients(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line.split()[3] for line in lines if " depproxy.access: " in line]


def test_wrong_passwords_slow_the_client_and_not_the_proxy(start: Start, tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_users(users, {"ann": "right"})
    server = start(more=f"auth: {{users_file: {users}}}\ntrusted_proxies: [127.0.0.0/8]\n")
    statuses: list[int] = []
    while 429 not in statuses:
        bad = basic("ann", f"wrong{len(statuses)}") | {"X-Forwarded-For": "1.2.3.4"}
        statuses += _burst(server, bad)
    good = basic("ann", "right") | {"X-Forwarded-For": "5.6.7.8"}
    assert send(server, "/jwt/auth", headers=good).status == 200


def _burst(server: RunningServer, headers: dict[str, str], count: int = 20) -> list[int]:
    """So many attempts at once; those that would have to wait too long are told so."""
    connections = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(count)]
    for number, connection in enumerate(connections):
        connection.request("GET", f"/jwt/auth?n={number}", headers=headers)
    statuses = []
    for connection in connections:
        with connection.getresponse() as response:
            statuses.append(response.status)
        connection.close()
    return statuses


@contextmanager
def unix_server(folder: Path, registry: FakeRegistry, more: str) -> Iterator[Path]:
    write_config(folder, registry.url, more=more)
    file = folder / "depproxy.yml"
    path = folder / "s"
    file.write_text(file.read_text().replace("127.0.0.1:0", f"[127.0.0.1:0, 'unix:{path}']"))
    with RunningServer(load_config(file)):
        yield path


@pytest.mark.parametrize(("more", "client"), [("", UNIX), ("trusted_proxies: [unix]\n", "1.2.3.4")])
def test_who_comes_by_a_unix_socket(
    tmp_path: Path,
    registry: FakeRegistry,
    capsys: pytest.CaptureFixture[str],
    more: str,
    client: str,
) -> None:
    with (
        unix_server(tmp_path, registry, more) as path,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(str(path))
        sock.sendall(
            b"GET /-/health HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n"
            b"Connection: close\r\n\r\n"
        )
        with sock.makefile("rb") as answer:
            assert json.loads(answer.read().partition(b"\r\n\r\n")[2]) == {"status": "ok"}
    assert clients(capsys) == [client]
