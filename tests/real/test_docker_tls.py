"""The real docker pulls over TLS, with an authority of the organisation's own."""

import ssl
from pathlib import Path

import pytest
import trustme

from depproxy.demo.image import make_image
from tests.real.programs import (
    Depproxy,
    Docker,
    DockerRegistry,
    docker_certificates,
    need,
    own_address,
)

pytestmark = pytest.mark.real


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
    with (
        docker_certificates(f"{host}:{proxy.port}") as folder,
        Docker(tmp_path).serving() as docker,
        upstream.serving(),
        proxy.serving(trust=trust),
    ):
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
