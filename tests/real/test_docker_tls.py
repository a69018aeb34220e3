"""The real docker pulls over TLS, with an authority of the organisation's own."""

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from depproxy.demo.image import make_image
from tests.real.programs import Depproxy, Docker, DockerRegistry, need

pytestmark = pytest.mark.real

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where dockerd looks for authorities, a folder for each registry. It has no option for it."""


def own_address() -> str:
    """An address of this machine but 127.0.0.0/8: docker checks no certificates there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError as exc:
            pytest.skip(f"this machine has no address but its own: {exc}")
        return str(sock.getsockname()[0])


def test_docker_pulls_over_tls_with_a_private_authority(tmp_path: Path) -> None:
    need("dockerd", "docker", "docker-registry", root=True)
    authority, sentence, host = trustme.CA(), "Pulled over TLS.", own_address()
    leaf = authority.issue_cert(host, "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = f"tls: {{certificate: {tmp_path / 'both.pem'}, key: {tmp_path / 'both.pem'}}}\n"
    upstream = DockerRegistry(tmp_path)
    proxy = Depproxy(tmp_path, upstream.url, more=both, external_url=f"https://{host}")
    text = proxy.config.read_text()
    proxy.config.write_text(text.replace(f"listen: {proxy.host}", f"listen: 0.0.0.0:{proxy.port}"))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    folder = CERTIFICATES / f"{host}:{proxy.port}"
    folder.mkdir(parents=True)
    try:
        with Docker(tmp_path).serving() as docker, upstream.serving(), proxy.serving(trust=trust):
            upstream.push("library/hello", "latest", make_image(sentence, {"file": b"a layer"}))
            name = f"{host}:{proxy.port}/mygroup/dependency_proxy/containers/hello:latest"
            (folder / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
            refused = docker.run("pull", name, check=False)
            assert refused.returncode != 0
            assert "certificate signed by unknown authority" in refused.stderr
            authority.cert_pem.write_to_path(folder / "ca.crt")
            docker.run("pull", name)
            assert docker.run("run", "--net=none", "--rm", name).stdout == f"{sentence}\n"
            docker.forget(name)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
