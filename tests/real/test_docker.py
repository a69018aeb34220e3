"""The real docker pulls from a real registry through the proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from tests.real.programs import Depproxy, Docker, DockerRegistry, need

pytestmark = pytest.mark.real

SENTENCE = "Pulled through the proxy."


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    need("dockerd", "docker", "docker-registry", root=True)
    with Docker(tmp_path_factory.mktemp("docker")).serving() as docker:
        yield docker


@pytest.fixture
def image() -> Image:
    return make_image(SENTENCE, {"etc/hello": b"a layer of its own"})


def test_a_multi_platform_image_is_pulled_run_and_outlives_its_upstream(
    docker: Docker, image: Image, tmp_path: Path
) -> None:
    upstream = DockerRegistry(tmp_path)
    proxy = Depproxy(tmp_path, upstream.url)
    name = f"{proxy.prefix}/hello:latest"
    with upstream.serving():
        upstream.push("library/hello", "latest", image)
        upstream.forget()
        with proxy.serving() as process:
            docker.run("pull", name)
            assert docker.run("run", "--net=none", "--rm", name).stdout == f"{SENTENCE}\n"
            asked = upstream.asked()
            assert len([path for method, path in asked if _is_get(method, path, "manifests")]) == 2
            assert len([path for method, path in asked if _is_get(method, path, "blobs")]) == 3

            docker.forget(name)
            upstream.forget()
            docker.run("pull", name)
            assert upstream.asked() == [("HEAD", "/v2/library/hello/manifests/latest")]
        assert process.returncode == 0
    docker.forget(name)
    with proxy.serving():
        docker.run("pull", name)
        assert docker.run("run", "--net=none", "--rm", name).stdout == f"{SENTENCE}\n"
        docker.forget(name)
        assert b'"manifests": 2, "blobs": 3' in proxy.purge()
        refused = docker.run("pull", name, check=False)
        assert refused.returncode != 0
        assert "502 Bad Gateway" in refused.stderr  # docker shows no body of a HEAD


def test_a_single_platform_image_is_pulled_by_digest_and_by_tag(
    docker: Docker, image: Image, tmp_path: Path
) -> None:
    upstream = DockerRegistry(tmp_path)
    proxy = Depproxy(tmp_path, upstream.url)
    with upstream.serving(), proxy.serving():
        upstream.push("acme/tool", "v1", _single(image))
        docker.run("pull", f"{proxy.prefix}/acme/tool:v1")
        digest = _single(image).index
        docker.forget(f"{proxy.prefix}/acme/tool:v1")
        docker.run("pull", f"{proxy.prefix}/acme/tool@{digest}")
        docker.forget(f"{proxy.prefix}/acme/tool@{digest}")


def test_what_does_not_exist_is_told_in_words(docker: Docker, image: Image, tmp_path: Path) -> None:
    upstream = DockerRegistry(tmp_path)
    proxy = Depproxy(tmp_path, upstream.url)
    with upstream.serving(), proxy.serving():
        refused = docker.run("pull", f"{proxy.prefix}/nothing:here", check=False)
        assert "docker.io/library/nothing" in refused.stderr
        strange = docker.run("pull", proxy.prefix.replace("mygroup", "nobody") + "/x", check=False)
        assert "there is no group" in strange.stderr


def _is_get(method: str, path: str, kind: str) -> bool:
    return method == "GET" and f"/{kind}/" in path


def _single(image: Image) -> Image:
    """The image without its index: one platform's manifest."""
    digest = next(d for d in image.manifests if d != image.index)
    return Image(digest, {digest: image.manifests[digest]}, image.blobs)
