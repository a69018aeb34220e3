"""Ready lines: they name the prefix, the host that clients know, and the right upstream."""

import tomllib
from dataclasses import replace

import pytest

from depproxy.config import GroupConfig
from depproxy.handlers.pages import snippets
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName

URL = "https://cache.example.org:8443"
PREFIX = "cache.example.org:8443/acme/platform/dependency_proxy/containers"


def group(*upstreams: str, visibility: str = "public") -> GroupConfig:
    return GroupConfig(GroupName("acme/platform"), visibility=visibility, upstreams=upstreams)


def texts(found: GroupConfig) -> dict[str, str]:
    return {snippet.key: snippet.text for snippet in snippets.snippets(URL, found)}


def test_each_client_has_its_lines() -> None:
    found = texts(group("docker.io"))
    assert found["docker"] == f"docker pull {PREFIX}/alpine:latest"
    assert found["dockerfile"] == f"FROM {PREFIX}/alpine:latest"
    assert found["gitlab"] == f"image: {PREFIX}/alpine:latest"
    hosts = tomllib.loads(found["containerd"])
    assert hosts["server"] == "https://registry-1.docker.io"
    [(host, settings)] = hosts["host"].items()
    assert host == f"{URL}/v2/acme/platform/dependency_proxy/containers"
    assert settings == {"capabilities": ["pull", "resolve"], "override_path": True}


def test_containerds_file_is_that_of_the_groups_first_upstream() -> None:
    found = snippets.snippets(URL, group("quay.io", "docker.io"))[-1]
    assert found.where.endswith("/certs.d/quay.io/hosts.toml")
    assert 'server = "https://quay.io"' in found.text


@pytest.mark.parametrize(
    ("upstreams", "image"),
    [
        (("docker.io", "quay.io"), "alpine:latest"),
        (("quay.io", "docker.io"), "docker.io/alpine:latest"),
        (("quay.io",), "IMAGE:TAG"),
    ],
)
def test_the_example_is_an_image_that_the_group_can_have(
    upstreams: tuple[str, ...], image: str
) -> None:
    assert snippets.first_command(URL, group(*upstreams)) == f"docker pull {PREFIX}/{image}"


@pytest.mark.parametrize(
    ("allow", "image"),
    [
        (("library/hello",), "hello:latest"),
        (("acme/*", "quay.io/acme/tool"), "quay.io/acme/tool:latest"),
        (("library/*", "library/[ab]*", "librar?/x"), "alpine:latest"),
    ],
)
def test_the_example_is_an_image_that_the_group_names(allow: tuple[str, ...], image: str) -> None:
    found = replace(group("docker.io", "quay.io"), allow=allow)
    assert snippets.first_command(URL, found) == f"docker pull {PREFIX}/{image}"


def test_a_private_group_is_signed_in_to_first() -> None:
    lines = texts(group("docker.io", visibility="private"))["docker"].splitlines()
    assert lines[0] == "docker login cache.example.org:8443"


def test_a_full_name_has_a_colon_before_a_tag_and_an_at_before_a_digest() -> None:
    digest = Digest.of(b"")
    assert snippets.full_name("p", "alpine", "3.22") == "p/alpine:3.22"
    assert snippets.full_name("p", "alpine", digest) == f"p/alpine@{digest}"
