"""What the demo leaves of a configuration: where it listens, and nothing that a pull could miss."""

from dataclasses import replace
from pathlib import Path

import pytest

from depproxy.config import Address, AuthConfig, Config, MirrorConfig, TlsConfig, load_config
from depproxy.demo.plan import DEMO_GROUP, demo_config, demo_lines
from depproxy.demo.registry import DEMO_IMAGE, DEMO_TAG
from depproxy.handlers.pages.snippets import first_command
from depproxy.oci.names import GroupName

UPSTREAM = "http://127.0.0.1:5000"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "depproxy.yml"
    file.write_text(
        "listen: [unix:/run/depproxy.sock, 127.0.0.1:9090]\n"
        "groups: {mygroup: {visibility: private}, acme: {upstreams: [quay.io]}}\n"
        "upstreams: {quay.io: {}}\n"
        "mirror: {group: acme}\n"
    )
    read = load_config(file)
    return replace(
        read,
        tls=TlsConfig(tmp_path / "certificate", tmp_path / "key"),
        auth=AuthConfig(users_file=tmp_path / "users"),
    )


def test_the_demo_needs_no_users_no_certificate_and_no_other_registry(config: Config) -> None:
    demo = demo_config(config, UPSTREAM, Path("/tmp/demo"))
    assert (demo.tls, demo.auth, demo.mirror) == (TlsConfig(), AuthConfig(), MirrorConfig())
    assert [group.visibility for group in demo.groups.values()] == ["public"]
    assert [upstream.url for upstream in demo.upstreams.values()] == [UPSTREAM]
    assert demo.data_dir == Path("/tmp/demo")


def test_the_demo_listens_where_docker_can_pull(config: Config) -> None:
    assert demo_config(config, UPSTREAM, Path()).listen == (Address("127.0.0.1", 9090),)
    by_socket = replace(config, listen=(Address(unix="/run/depproxy.sock"),))
    assert demo_config(by_socket, UPSTREAM, Path()).listen == (Address("127.0.0.1", 8080),)


def test_pages_and_terminal_name_the_image_that_there_is(config: Config) -> None:
    demo = demo_config(config, UPSTREAM, Path())
    command = first_command("http://localhost:9090", demo.groups[GroupName(DEMO_GROUP)])
    assert command in demo_lines("localhost:9090", Path())
    assert command.endswith(f"/{DEMO_IMAGE.removeprefix('library/')}:{DEMO_TAG}")
