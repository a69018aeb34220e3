"""What is shipped for administrators holds together: the examples and the recipe of the image."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from depproxy import __version__
from depproxy.config import Address, Config, load_config
from tests.docs.markdown import Page

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()


def yaml_blocks() -> Iterator[list[Any]]:
    """The documents of each indented block that begins with a key, and is no message of ours."""
    for block in Page("docs/deployment.md").blocks:
        if re.match(r"(?!depproxy: )[A-Za-z_]+:( |\n)", block):
            yield list(yaml.safe_load_all(block))


CONFIGURATIONS = [found[0] for found in yaml_blocks() if not {"services", "kind"} & set(found[0])]
KUBERNETES = {
    document["kind"]: document
    for found in yaml_blocks()
    if "kind" in found[0]
    for document in found
}


def loaded(folder: Path, text: str) -> Config:
    (folder / "depproxy.yml").write_text(text)
    return load_config(folder / "depproxy.yml")


def user_of_the_image() -> int:
    user = re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert user
    return int(user[1])


def test_the_image_has_the_version_of_the_package() -> None:
    assert re.findall(r'image\.version="(.*)"', DOCKERFILE) == [__version__]
    assert re.findall(r"image: \S+/depproxy:(\S+)", DEPLOYMENT) == [__version__]


def test_the_configuration_of_the_image_fits_the_image() -> None:
    config = load_config(ROOT / "conf" / "container.yml")
    assert config.listen == (Address("0.0.0.0", 8080),)
    assert "EXPOSE 8080\n" in DOCKERFILE
    assert f"VOLUME {config.data_dir}\n" in DOCKERFILE
    assert f"-o {user_of_the_image()} " in DOCKERFILE


@pytest.mark.parametrize("document", CONFIGURATIONS, ids=lambda document: ",".join(document))
def test_a_configuration_that_is_shown_is_right(tmp_path: Path, document: object) -> None:
    loaded(tmp_path, yaml.safe_dump(document))


def test_configurations_are_shown() -> None:
    """Or the rule above would hold of nothing."""
    assert [set(document) for document in CONFIGURATIONS] == [
        {"tls", "external_url"},
        {"listen", "trusted_proxies", "external_url"},
    ]


def test_compose_gives_the_image_what_it_needs() -> None:
    service = next(found[0] for found in yaml_blocks() if "services" in found[0])
    depproxy = service["services"]["depproxy"]
    assert depproxy["read_only"] is True
    assert {volume.split(":")[1] for volume in depproxy["volumes"]} == {
        "/var/lib/depproxy",
        "/etc/depproxy",
    }
    assert depproxy["volumes"][0].split(":")[0] in service["volumes"]


def test_kubernetes_gives_the_image_what_it_needs(tmp_path: Path) -> None:
    config = loaded(tmp_path, KUBERNETES["ConfigMap"]["data"]["depproxy.yml"])
    pod = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ids = {pod["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert ids == {user_of_the_image()}
    assert container["ports"][0]["containerPort"] == config.listen[0].port
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"data": str(config.data_dir), "config": "/etc/depproxy"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == KUBERNETES["PersistentVolumeClaim"]["metadata"]["name"]
    assert pod["terminationGracePeriodSeconds"] > config.shutdown_timeout
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
