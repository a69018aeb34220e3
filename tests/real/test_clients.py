"""Other clients than docker, and other ways of pulling: each gets its own registry's image."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from tests.real.programs import Containerd, Depproxy, Docker, DockerRegistry, need, run

pytestmark = pytest.mark.real

HUB = make_image("Docker Hub's image.")
QUAY = make_image("Quay's image.")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depproxy]:
    """Two registries under public names, with different images under the same name."""
    need("docker-registry", root=True)
    folder = tmp_path_factory.mktemp("proxy")
    hub, quay = DockerRegistry(folder, "hub"), DockerRegistry(folder, "quay")
    proxy = Depproxy(
        folder,
        hub.url,
        group="upstreams: [docker.io, quay.io]",
        more=f"  quay.io: {{url: {quay.url}}}\nmirror: {{group: mygroup}}\n",
    )
    with hub.serving(), quay.serving(), proxy.serving():
        for registry, image in ((hub, HUB), (quay, QUAY)):
            registry.push("library/hello", "latest", image)
            registry.push("acme/tool", "v1", image)
            registry.push("acme/tool", "v2", image)
        yield proxy


@pytest.fixture
def short_path() -> Iterator[Path]:
    """podman takes no run root of more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        yield Path(folder)


def digest_of(image: Image) -> str:
    return str(image.index)


def test_docker_with_registry_mirrors_gets_docker_hubs_image(
    proxy: Depproxy, tmp_path: Path
) -> None:
    need("dockerd", "docker", root=True)
    with Docker(tmp_path, mirror=proxy.url).serving() as docker:
        docker.run("pull", "hello:latest")
        said = docker.run("run", "--net=none", "--rm", "hello:latest").stdout
        assert said == "Docker Hub's image.\n"
        quay = f"{proxy.prefix}/quay.io/library/hello:latest"
        docker.run("pull", quay)
        assert docker.run("run", "--net=none", "--rm", quay).stdout == "Quay's image.\n"


@pytest.mark.parametrize("way", ["group path", "mirror path"])
def test_containerd_gets_each_registrys_own_image(
    proxy: Depproxy, tmp_path: Path, way: str
) -> None:
    """One host in `hosts.toml` for all registries: what tells them apart is ``ns``."""
    need("containerd", "ctr", root=True)
    if way == "group path":
        host = f"{proxy.url}/v2/mygroup/dependency_proxy/containers"
        options = 'capabilities = ["pull", "resolve"]\noverride_path = true\n'
    else:
        host, options = proxy.url, 'capabilities = ["pull", "resolve"]\n'
    for name in ("docker.io", "quay.io"):
        folder = tmp_path / "hosts" / name
        folder.mkdir(parents=True)
        toml = f'server = "https://{name}.invalid"\n[host."{host}"]\n{options}'
        (folder / "hosts.toml").write_text(toml)
    with Containerd(tmp_path).serving() as containerd:
        for name, image in (("docker.io", HUB), ("quay.io", QUAY)):
            reference = f"{name}/library/hello:latest"
            containerd.ctr(
                *("images", "pull", "--hosts-dir", str(tmp_path / "hosts")),
                *("--snapshotter", "native", reference),
            )
            listed = containerd.ctr("images", "list", f"name=={reference}").stdout
            assert digest_of(image) in listed


def test_podman_with_registries_conf_gets_each_registrys_own_image(
    proxy: Depproxy, tmp_path: Path, short_path: Path
) -> None:
    need("podman", root=True)
    conf = tmp_path / "registries.conf"
    conf.write_text(
        "".join(
            f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"\n'
            f'[[registry.mirror]]\nlocation = "{proxy.prefix}/{name}"\ninsecure = true\n'
            for name in ("docker.io", "quay.io")
        )
    )
    podman = ["podman", "--root", str(tmp_path / "root"), "--runroot", str(short_path / "run")]
    podman += ["--storage-driver", "vfs", "--registries-conf", str(conf)]
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    for name, image in (("docker.io", HUB), ("quay.io", QUAY)):
        reference = f"{name}/library/hello:latest"
        run(*podman, "pull", "--signature-policy", str(policy), reference)
        shown = json.loads(run(*podman, "image", "inspect", reference).stdout)
        assert any(digest_of(image) in digest for digest in shown[0]["RepoDigests"])


def test_skopeo_copies_inspects_and_lists(proxy: Depproxy, tmp_path: Path) -> None:
    need("skopeo")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    skopeo = ["skopeo", "--policy", str(policy)]
    for prefix, image in (("", HUB), ("quay.io/", QUAY)):
        source = f"docker://{proxy.prefix}/{prefix}acme/tool"
        target = tmp_path / (prefix.strip("/") or "hub")
        run(*skopeo, "copy", "--all", "--src-tls-verify=false", f"{source}:v1", f"dir:{target}")
        names = {path.name for path in target.iterdir()}
        assert {digest.hex for digest in image.blobs} <= names
        shown = json.loads(run(*skopeo, "inspect", "--tls-verify=false", f"{source}:v1").stdout)
        assert shown["Digest"] == digest_of(image)
        assert shown["RepoTags"] == ["v1", "v2"]
        listed = json.loads(run(*skopeo, "list-tags", "--tls-verify=false", source).stdout)
        assert listed["Tags"] == ["v1", "v2"]
