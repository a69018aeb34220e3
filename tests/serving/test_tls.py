"""TLS towards clients: what is offered, what is refused at the start, and a new certificate."""

import datetime
import http.client
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from depproxy.config import TlsConfig, load_config
from depproxy.serving.tls import make_context, problems, warnings
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy
from tests.running import PREFIX, RunningServer, write_config

HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(
    folder: Path, authority: trustme.CA, *, ends: datetime.timedelta = 24 * 90 * HOUR
) -> trustme.LeafCert:
    """``cert.pem`` and ``key.pem`` of this machine, valid since long ago."""
    now = datetime.datetime.now(datetime.UTC)
    leaf = authority.issue_cert(
        "localhost", "127.0.0.1", not_before=now - 24 * 365 * HOUR, not_after=now + ends
    )
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    return leaf


def tls_lines(folder: Path) -> str:
    return f"tls: {{certificate: {folder / 'cert.pem'}, key: {folder / 'key.pem'}}}\n"


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server(
    tmp_path: Path, registry: FakeRegistry, authority: trustme.CA
) -> Iterator[RunningServer]:
    write_certificate(tmp_path, authority)
    more = tls_lines(tmp_path) + "external_url: https://localhost\n"
    with RunningServer(write_config(tmp_path, registry.url, more=more)) as server:
        yield server


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
    )


def serial(sock: ssl.SSLSocket) -> object:
    """Tells one certificate from the next."""
    return (sock.getpeercert() or {}).get("serialNumber")


def ask(port: int, context: ssl.SSLContext, path: str = "/-/health") -> bytes:
    connection = http.client.HTTPSConnection("localhost", port, context=context)
    connection.request("GET", path)
    with connection.getresponse() as response:
        assert response.status == 200
        body = response.read()
    connection.close()
    return body


def test_a_client_that_trusts_the_authority_is_served(
    server: RunningServer, trusting: ssl.SSLContext, registry: FakeRegistry
) -> None:
    """Small answers and large ones, a miss and a hit."""
    assert ask(server.port, trusting) == b'{"status": "ok"}'
    layer = os.urandom(3 * 2**20)
    digest = registry.add_blob("library/hello", layer)
    for _ in range(2):
        assert ask(server.port, trusting, f"{PREFIX}/hello/blobs/{digest}") == layer


def test_a_file_that_shrinks_while_it_is_sent_cuts_its_client_and_is_no_fault_of_ours(
    server: RunningServer, trusting: ssl.SSLContext, registry: FakeRegistry
) -> None:
    digest = registry.add_blob("library/hello", bytes(64 * 2**20))
    path = f"{PREFIX}/hello/blobs/{digest}"
    ask(server.port, trusting, path)
    server.settle()
    [file] = server.blob_files()
    connection = http.client.HTTPSConnection("localhost", server.port, context=trusting)
    connection.request("GET", path)
    with connection.getresponse() as response:
        assert len(response.read(2**20)) == 2**20
        os.truncate(file, 2**20)
        with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
            response.read()
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken_and_http_1_1_is_chosen(
    server: RunningServer, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with connect(server.port, trusting) as sock:
        assert sock.version() == version.name.replace("_", ".")
        assert sock.selected_alpn_protocol() == "http/1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused(server: RunningServer, trusting: ssl.SSLContext) -> None:
    trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        connect(server.port, trusting)


def test_who_speaks_plain_http_to_it_is_told_so(server: RunningServer) -> None:
    reply = server.ask("/-/health")
    assert reply.status == 400
    assert b"begin the URL with https" in reply.body


def test_a_handshake_that_fails_is_one_line_and_no_warning(
    server: RunningServer, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server.port, ssl.create_default_context())
    server.ask("/-/health")
    ask(server.port, trusting)
    server.stop()
    lines = [r for r in caplog.records if "no TLS handshake" in r.getMessage()]
    assert {(line.levelname, line.getMessage()) for line in lines} == {
        ("INFO", "127.0.0.1: no TLS handshake: HTTP_REQUEST"),
        ("INFO", "127.0.0.1: no TLS handshake: TLSV1_ALERT_UNKNOWN_CA"),
    }
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.INFO] == []


def test_who_leaves_in_the_middle_of_a_handshake_does_no_harm(
    server: RunningServer, trusting: ssl.SSLContext
) -> None:
    for beginning in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(beginning)
    assert ask(server.port, trusting)


def test_a_client_that_takes_no_byte_is_cut(
    server: RunningServer,
    trusting: ssl.SSLContext,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depproxy.serving.streams.SLOWEST_CLIENT", 0.3)
    digest = registry.add_blob("library/large", os.urandom(16 * 2**20))
    path = f"{PREFIX}/large/blobs/{digest}"
    ask(server.port, trusting, path)
    with connect(server.port, trusting) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while server.running_requests == 0:
            time.sleep(0.001)
        while server.running_requests:
            time.sleep(0.001)


def test_a_reload_brings_a_new_certificate_and_breaks_no_connection(
    server: RunningServer, trusting: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    request = b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server.port, trusting) as old:
        write_certificate(tmp_path, authority)
        server.reload(load_config(tmp_path / "depproxy.yml"))
        with connect(server.port, trusting) as new:
            assert serial(new) != serial(old)
            for sock in (old, new):
                sock.sendall(request)
                assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_tls_neither_comes_nor_goes_while_the_server_runs(
    server: RunningServer,
    trusting: ssl.SSLContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "depproxy.yml"
    file.write_text(file.read_text().replace("tls:", "#").replace("  other:", "  another:"))
    for pem in tmp_path.glob("*.pem"):
        pem.unlink()
    server.reload(load_config(file))
    assert "another" in server.config.groups
    assert "tls: it cannot change while the server runs" in caplog.text
    assert ask(server.port, trusting)


def test_a_certificate_changes_by_sighup_under_load(
    tmp_path: Path, registry: FakeRegistry, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """The program, as an administrator does it after a renewal; no request fails meanwhile."""
    write_certificate(tmp_path, authority)
    proxy = Depproxy(tmp_path, registry.url, more=tls_lines(tmp_path))
    registry.add_blob("library/hello", b"a blob")
    stop = threading.Event()
    failures: list[int] = []
    done: list[int] = []

    def work() -> None:
        connection = http.client.HTTPSConnection("localhost", proxy.port, context=trusting)
        while not stop.is_set():
            connection.request("GET", "/-/health")
            with connection.getresponse() as response:
                (done if response.read() and response.status == 200 else failures).append(1)
        connection.close()

    with proxy.serving(trust=trusting) as process:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            with connect(proxy.port, trusting) as sock:
                before = serial(sock)
            write_certificate(tmp_path, authority)
            process.send_signal(signal.SIGHUP)
            after = before
            while after == before:
                with connect(proxy.port, trusting) as sock:
                    after = serial(sock)
        stop.set()
        for thread in threads:
            thread.join()
    assert done
    assert not failures
    assert process.returncode == 0


# -- what is wrong with certificates ---------------------------------------------------------


def check(
    folder: Path, lines: str = "", url: str = "https://localhost"
) -> tuple[list[str], list[str]]:
    """Problems and warnings."""
    file = folder / "check.yml"
    file.write_text((lines or tls_lines(folder)) + f"external_url: {url}\n")
    config = load_config(file)
    found = problems(config)
    return found, [] if found else warnings(config)


def test_a_good_certificate_has_no_problem(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(tmp_path, authority)
    assert check(tmp_path) == ([], [])


def test_without_tls_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert check(tmp_path, "data_dir: x\n") == ([], [])
    assert make_context(TlsConfig()) is None


def test_files_that_cannot_be_read_are_told_both(tmp_path: Path) -> None:
    found, _ = check(tmp_path)
    assert [problem.partition(":")[0] for problem in found] == ["tls.certificate", "tls.key"]
    assert "No such file" in found[0]


def test_the_key_of_another_certificate_is_told(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(tmp_path, authority)
    other = authority.issue_cert("localhost")
    (tmp_path / "key.pem").write_bytes(other.private_key_pem.bytes())
    [problem] = check(tmp_path)[0]
    assert problem.startswith("tls.key: expected the key of ")


@pytest.mark.parametrize("broken", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nx"])
def test_what_is_no_pem_is_told_of_the_right_file(
    tmp_path: Path, authority: trustme.CA, broken: str, content: str
) -> None:
    write_certificate(tmp_path, authority)
    (tmp_path / broken).write_text(content)
    [problem] = check(tmp_path)[0]
    assert problem.startswith("tls.certificate:" if broken == "cert.pem" else "tls.key:")


def test_a_key_with_a_password_is_a_problem_and_no_question(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    [problem] = check(tmp_path)[0]
    assert "without a password" in problem


@pytest.mark.parametrize(
    ("ends", "warning"),
    [
        (-HOUR, "has expired"),
        (24 * 3 * HOUR, "expires in 3.0 days"),
        (24 * 13 * HOUR, "expires in 13.0 days"),
    ],
)
def test_an_expired_certificate_is_a_warning_and_so_is_one_that_will_be_soon(
    tmp_path: Path, authority: trustme.CA, ends: datetime.timedelta, warning: str
) -> None:
    write_certificate(tmp_path, authority, ends=ends)
    [told] = check(tmp_path)[1]
    assert told.startswith("tls.certificate: ")
    assert warning in told


def test_an_external_url_without_tls_is_a_warning(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(tmp_path, authority)
    [told] = check(tmp_path, url="http://localhost")[1]
    assert told.startswith("external_url: ")
