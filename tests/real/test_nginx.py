"""nginx with the site that is shipped, in front of the server's unix socket, and docker in front of
nginx."""

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
import trustme

from depproxy.demo.image import make_image
from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.real.programs import (
    ROOT,
    Depproxy,
    Docker,
    DockerRegistry,
    docker_certificates,
    free_port,
    listens,
    need,
    own_address,
    running,
    wait_until,
)
from tests.running import PREFIX
from tests.signing_in import write_users

pytestmark = pytest.mark.real

SENTENCE = "Pulled through nginx."

USER, PASSWORD = "ann", "anns-word"


class Nginx:
    """Debian's nginx in a folder of its own, with `conf/nginx.conf`: only addresses and paths are
    other ones."""

    def __init__(self, folder: Path, unix: Path) -> None:
        self.address, self.port = own_address(), free_port()
        self.host = f"{self.address}:{self.port}"
        self.authority = trustme.CA()
        self.folder = folder / "nginx"
        self.folder.mkdir()
        self.log = folder / "nginx.log"
        leaf = self.authority.issue_cert(self.address)
        leaf.private_key_pem.write_to_path(self.folder / "privkey.pem")
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(self.folder / "fullchain.pem", append=True)
        self._write(unix)

    def _write(self, unix: Path) -> None:
        site = (ROOT / "conf" / "nginx.conf").read_text()
        for shipped, ours in (
            ("unix:/run/depproxy/depproxy.sock", f"unix:{unix}"),
            ("listen 443 ", f"listen {self.host} "),
            ("listen [::]:443 ", f"listen [::1]:{self.port} "),
            ("cache.example.org", self.address),
            ("/etc/nginx/tls/", f"{self.folder}/"),
        ):
            assert shipped in site
            site = site.replace(shipped, ours)
        (self.folder / "site.conf").write_text(site)
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        (self.folder / "nginx.conf").write_text(
            # A user that may reach the folders of a test.
            "daemon off;\nuser root;\npid nginx.pid;\nerror_log stderr info;\n"
            "events {}\nhttp {\naccess_log off;\n"
            + "".join(f"{name}_temp_path {name}_temp;\n" for name in paths)
            + "include site.conf;\n}\n"
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        command = ["nginx", "-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr"]
        with running(command, self.log) as process:
            wait_until(lambda: listens(self.port, self.address), process, self.log)
            yield

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.address, self.port, context=self.trust)

    def head(self, path: str) -> http.client.HTTPMessage:
        """The headers of an answer, whatever it is."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                return response.headers
        finally:
            connection.close()


@contextmanager
def in_front(
    folder: Path, upstream: str, *, group: str = "", more: str = ""
) -> Iterator[tuple[Nginx, Depproxy]]:
    """nginx and, by a unix socket, the server."""
    need("nginx", root=True)
    nginx = Nginx(folder, folder / "s")
    proxy = Depproxy(
        folder,
        upstream,
        group=group,
        more=f"trusted_proxies: [unix]\n{more}",
        external_url=f"https://{nginx.host}",
    )
    # The port is only asked whether the server is there.
    both = f"listen: ['unix:{folder / 's'}', '{proxy.host}']\n"
    proxy.config.write_text(proxy.config.read_text().replace(f"listen: {proxy.host}\n", both))
    with proxy.serving(), nginx.serving():
        yield nginx, proxy


def clients(proxy: Depproxy) -> set[str]:
    """Who has asked for something below ``/v2/``, by the server's log."""
    lines = [line.split() for line in proxy.log.read_text().splitlines() if " /v2/" in line]
    return {words[3] for words in lines if words[2] == "depproxy.access:"}


def test_docker_pulls_through_nginx_with_the_servers_users(tmp_path: Path) -> None:
    need("dockerd", "docker", "docker-registry", "nginx", root=True)
    upstream, users = DockerRegistry(tmp_path), tmp_path / "users"
    write_users(users, {USER: PASSWORD})
    private = f"visibility: private\nreaders: [{USER}]\n"
    with (
        upstream.serving(),
        in_front(
            tmp_path, upstream.url, group=private, more=f"auth: {{users_file: {users}}}\n"
        ) as (nginx, proxy),
        docker_certificates(nginx.host) as folder,
        Docker(tmp_path).serving() as docker,
    ):
        nginx.authority.cert_pem.write_to_path(folder / "ca.crt")
        upstream.push("library/hello", "latest", make_image(SENTENCE, {"file": b"a layer"}))
        name = f"{nginx.host}/mygroup/dependency_proxy/containers/hello:latest"
        assert docker.run("pull", name, check=False).returncode != 0
        login = ("login", "--username", USER, "--password-stdin", nginx.host)
        docker.run(*login, stdin=PASSWORD)
        docker.run("pull", name)
        assert docker.run("run", "--net=none", "--rm", name).stdout == f"{SENTENCE}\n"
        docker.forget(name)
        upstream.forget()
        docker.run("pull", name)
        assert upstream.asked() == [("HEAD", "/v2/library/hello/manifests/latest")]
        docker.forget(name)
        assert clients(proxy) == {nginx.address}


def test_addresses_that_the_server_tells_lead_back_to_nginx(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    users = tmp_path / "users"
    write_users(users, {USER: PASSWORD})
    registry.add_image("library/hello", "1", image := make_image(SENTENCE))
    registry.add_image("library/hello", "2", image)
    more = f"auth: {{users_file: {users}}}\n"
    with in_front(tmp_path, registry.url, more=more) as (nginx, _):
        own = f"https://{nginx.host}/"
        challenge = nginx.head("/v2/")["WWW-Authenticate"]
        assert f'realm="{own}jwt/auth"' in challenge
        page = "mygroup/dependency_proxy/containers"
        location = nginx.head(f"/{page}")["Location"]
        assert urljoin(f"{own}{page}", location) == f"{own}groups/mygroup/-/dependency_proxy"
        tags = f"{PREFIX}/hello/tags/list?n=1"
        link = nginx.head(tags)["Link"].partition(">")[0].lstrip("<")
        assert urljoin(f"{own}{tags}", link).startswith(f"{own}v2/mygroup/")


def test_a_layer_is_not_kept_on_the_disk_of_nginx(tmp_path: Path, registry: FakeRegistry) -> None:
    """While one client takes nothing of a layer, another one pulls the whole of it."""
    blob = bytes(range(256)) * 2**18
    digest = registry.add_blob("library/hello", blob)
    path = f"{PREFIX}/hello/blobs/{digest}"
    with in_front(tmp_path, registry.url) as (nginx, _):
        slow = nginx.connect()
        slow.request("GET", path)
        with slow.getresponse() as waiting:
            quick = nginx.connect()
            quick.request("GET", path)
            with quick.getresponse() as response:
                assert Digest.of(response.read()) == digest
            quick.close()
            assert Digest.of(waiting.read()) == digest
        slow.close()
        assert "buffered to a temporary file" not in nginx.log.read_text()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{PREFIX}/hello/manifests/latest", b'"UNSUPPORTED"'),
        ("/api/v4/groups/mygroup/dependency_proxy", b'"405 Method Not Allowed"'),
    ],
)
def test_a_body_is_refused_in_the_servers_words(
    tmp_path: Path, registry: FakeRegistry, path: str, said: bytes
) -> None:
    """nginx refuses bodies of more than 1 MB by itself, if it is not told otherwise."""
    with in_front(tmp_path, registry.url) as (nginx, _):
        for _ in range(20):
            connection = nginx.connect()
            connection.request("PUT", path, bytes(2**21))
            with connection.getresponse() as response:
                assert response.status == 405
                assert said in response.read()
            connection.close()
