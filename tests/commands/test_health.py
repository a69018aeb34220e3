"""`depproxy health`: whether the running server is alive, or ready; supervisors ask by it."""

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from depproxy.commands.command import CommandFailed
from depproxy.commands.own_server import own_address, own_url
from depproxy.config import Address, Config, load_config
from tests.commands.command_line import CommandLine
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy, free_port, run
from tests.running import RunningServer


@pytest.fixture
def aimed(command: CommandLine, server: RunningServer) -> CommandLine:
    """Knows where ``server`` listens."""
    command.aim_at(server)
    return command


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


def listen_on(proxy: Depproxy, *addresses: str) -> None:
    listed = ", ".join(f"'{address}'" for address in addresses)
    text = proxy.config.read_text()
    proxy.config.write_text(text.replace(f"listen: {proxy.host}\n", f"listen: [{listed}]\n"))


def ask(proxy: Depproxy, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(*proxy.command, "health", *arguments, check=False)


# -- what it says ----------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "said"), [([], "ok"), (["--ready"], "ready")])
def test_a_server_that_does_well_is_one_line_and_0(
    server: RunningServer, aimed: CommandLine, option: list[str], said: str
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    done = aimed("health", *option)
    assert (done.code, done.out, done.err) == (0, f"{url}: {said}\n", "")
    document = aimed("health", *option, "--json").json
    assert document == {"url": url, "status": said, "reason": None}


def test_where_no_server_answers_it_says_so(server: RunningServer, aimed: CommandLine) -> None:
    server.stop()
    done = aimed("health")
    assert (done.code, done.out) == (1, "")
    assert f"no server answers at http://127.0.0.1:{server.port}: " in done.err
    assert "Connection refused" in done.err


@contextmanager
def other_program(status: int, body: bytes) -> Iterator[str]:
    """The URL of something else that speaks HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{other.server_address[1]}"
        other.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "said", "reason", "exit_code"),
    [
        (503, "unavailable", "the server is shutting down", 1),
        (200, "degraded", "the disk is full", 0),
    ],
)
def test_a_server_that_does_not_do_well_is_told_with_the_reason(
    server: RunningServer,
    command: CommandLine,
    code: int,
    said: str,
    reason: str,
    exit_code: int,
) -> None:
    """A degraded one serves what it has: to start another one would not help."""
    body = json.dumps({"status": said, "reason": reason}).encode()
    with other_program(code, body) as url:
        done = command("health", "--ready", "--url", url)
        assert (done.code, done.out, done.err) == (exit_code, f"{url}: {said}: {reason}\n", "")
        asked = command("health", "--ready", "--url", url, "--json")
        assert (asked.code, asked.json) == (
            exit_code,
            {"url": url, "status": said, "reason": reason},
        )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"<h1>nothing</h1>", "404 Not Found"),
        (200, b"", "200 OK"),
        (200, b"\xff", "200 OK"),
        (200, b'["status"]', "200 OK"),
        (502, b'{"errors": []}', "502 Bad Gateway"),
    ],
)
def test_another_program_is_not_taken_for_the_server(
    server: RunningServer, command: CommandLine, status: int, body: bytes, said: str
) -> None:
    with other_program(status, body) as url:
        done = command("health", "--url", url)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"depproxy: {url} answers {said}, not as depproxy does\n"


# -- where it asks ---------------------------------------------------------------------------


def test_the_first_address_of_the_configuration_is_asked(proxy: Depproxy, tmp_path: Path) -> None:
    """A unix socket, an IPv6 address and every address, each of them first."""
    unix, port = f"unix:{tmp_path / 's'}", free_port()
    listen_on(proxy, unix, proxy.host, f"[::1]:{port}")
    with proxy.serving():
        assert ask(proxy).stdout == f"{unix}: ok\n"
        for first, asked in (
            (f"[::1]:{port}", f"http://[::1]:{port}"),
            (f"[::]:{port}", f"http://[::1]:{port}"),
            (f"0.0.0.0:{proxy.port}", proxy.url),
            (f"localhost:{proxy.port}", f"http://localhost:{proxy.port}"),
        ):
            text = proxy.config.read_text().splitlines()
            proxy.config.write_text("\n".join([f"listen: ['{first}', '{unix}']", *text[1:]]))
            assert ask(proxy).stdout == f"{asked}: ok\n"


def test_a_certificate_for_another_name_and_of_any_authority_is_no_illness(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("cache.example.org", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = f"tls: {{certificate: {tmp_path / 'both.pem'}, key: {tmp_path / 'both.pem'}}}\n"
    url = "https://cache.example.org"
    proxy = Depproxy(tmp_path, registry.url, more=both, external_url=url)
    unix = tmp_path / "s"
    listen_on(proxy, proxy.host, f"unix:{unix}")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with proxy.serving(trust=trust):
        assert ask(proxy).stdout == f"https://{proxy.host}: ok\n"
        assert ask(proxy, "--url", f"unix:{unix}").stdout == f"unix:{unix}: ok\n"
        refused = ask(proxy, "--url", f"https://{proxy.host}")
        assert refused.returncode == 1
        assert "certificate verify failed" in refused.stderr


def test_another_server_can_be_named(server: RunningServer, command: CommandLine) -> None:
    for url in (f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}/"):
        assert command("health", "--url", url).code == 0


@pytest.mark.parametrize(
    "url", ["", "here:80", "ftp://here", "http://", "http://x/y", "http://a b", "unix:s"]
)
def test_what_is_no_url_of_a_server_is_a_wrong_argument(
    server: RunningServer, command: CommandLine, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    with pytest.raises(SystemExit) as exit_with:
        command("health", "--url", url)
    assert exit_with.value.code == 2
    assert "expected http://host:port, https://host:port or unix:/path" in capsys.readouterr().err


def test_a_port_that_the_system_chooses_has_to_be_told(
    server: RunningServer, command: CommandLine
) -> None:
    done = command("health")
    assert (done.code, done.out) == (1, "")
    assert "127.0.0.1:0: name it by --url" in done.err


def config_with(tmp_path: Path, *listen: str) -> Config:
    (tmp_path / "depproxy.yml").write_text(
        f"listen: {list(listen)}\nexternal_url: https://cache.example.org\n"
    )
    return load_config(tmp_path / "depproxy.yml")


@pytest.mark.parametrize(
    ("listen", "address", "url"),
    [
        (["0.0.0.0:80", "[::]:80"], Address("127.0.0.1", 80), "http://127.0.0.1:80"),
        (["[::]:80", "0.0.0.0:80"], Address("::1", 80), "http://[::1]:80"),
        (["cache:80"], Address("cache", 80), "http://cache:80"),
        (["unix:/s", "[::]:80"], Address(unix="/s"), "http://[::1]:80"),
        (["unix:/s"], Address(unix="/s"), "https://cache.example.org"),
    ],
)
def test_who_asks_for_a_url_gets_the_first_address_that_has_one(
    tmp_path: Path, listen: list[str], address: Address, url: str
) -> None:
    config = config_with(tmp_path, *listen)
    assert (own_address(config), own_url(config)) == (address, url)


def test_a_port_that_the_system_chooses_has_no_url(tmp_path: Path) -> None:
    config = config_with(tmp_path, "127.0.0.1:0")
    with pytest.raises(CommandFailed):
        own_url(config)
