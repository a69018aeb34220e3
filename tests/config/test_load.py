"""The configuration file: its defaults, and what is set."""

from pathlib import Path

import pytest

from depproxy.config import (
    Address,
    AuthConfig,
    Config,
    Credentials,
    GroupConfig,
    HousekeepingConfig,
    LogConfig,
    MetricsConfig,
    MirrorConfig,
    TlsConfig,
    UpstreamConfig,
    load_config,
)
from depproxy.oci.names import GroupName
from tests.config.reading import Load

DOCKER_HUB = UpstreamConfig(
    name="docker.io",
    url="https://registry-1.docker.io",
    aliases=("index.docker.io", "registry-1.docker.io"),
    credentials=Credentials(username=None, password_file=None, password_env=None),
    ca_file=None,
    proxy=None,
    trusted_realms=("auth.docker.io",),
    redirect_hosts=(),
    connect_timeout=10,
    revalidate_timeout=2,
    stall_timeout=30,
    max_connections=64,
)

MYGROUP = GroupConfig(
    name=GroupName("mygroup"),
    visibility="public",
    readers=(),
    owners=(),
    upstreams=("docker.io",),
    credentials={},
    revalidate_after=0,
    stale_for=None,
    refused_stale_for=24 * 3600,
    not_found_ttl=10,
    expire_after=None,
    max_size=None,
    allow=(),
    deny=(),
)

DEFAULTS = Config(
    listen=(Address(host="127.0.0.1", port=8080),),
    external_url="http://localhost:8080",
    data_dir=Path("data"),
    tls=TlsConfig(certificate=None, key=None),
    log=LogConfig(format="text", level="info"),
    trusted_proxies=(),
    shutdown_timeout=30,
    upstreams={"docker.io": DOCKER_HUB},
    groups={},
    mirror=MirrorConfig(group=None),
    auth=AuthConfig(users_file=None, token_lifetime=15 * 60),
    metrics=MetricsConfig(listen=None),
    housekeeping=HousekeepingConfig(interval=3600, grace=3600, min_free=2**30),
)

WRITTEN_OUT = """
listen: 127.0.0.1:8080
external_url: http://localhost:8080
data_dir: data
tls: {certificate: null, key: null}
log: {format: text, level: info}
trusted_proxies: []
shutdown_timeout: 30s
upstreams:
  docker.io:
    url: https://registry-1.docker.io
    aliases: [index.docker.io, registry-1.docker.io]
    username: null
    password_file: null
    password_env: null
    ca_file: null
    proxy: null
    trusted_realms: [auth.docker.io]
    redirect_hosts: []
    connect_timeout: 10s
    revalidate_timeout: 2s
    stall_timeout: 30s
    max_connections: 64
groups:
  mygroup:
    visibility: public
    readers: []
    owners: []
    upstreams: [docker.io]
    credentials: {}
    revalidate_after: 0s
    stale_for: null
    refused_stale_for: 24h
    not_found_ttl: 10s
    expire_after: null
    max_size: null
    allow: []
    deny: []
mirror: {group: null}
auth: {users_file: null, token_lifetime: 15m}
metrics: {listen: null}
housekeeping:
  interval: 1h
  grace: 1h
  min_free: 1GiB
"""


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "---\n"])
def test_every_key_may_be_left_out(load: Load, text: str) -> None:
    assert load(text) == DEFAULTS


def test_the_defaults_written_out_are_the_defaults(load: Load) -> None:
    config = load(WRITTEN_OUT)
    assert config.groups == {"mygroup": MYGROUP}
    assert config == load("groups: {mygroup: {}}")


@pytest.mark.parametrize(
    "key",
    [
        "tls",
        "log",
        "upstreams",
        "groups",
        "mirror",
        "auth",
        "metrics",
        "housekeeping",
        "listen",
        "external_url",
        "data_dir",
        "trusted_proxies",
        "shutdown_timeout",
    ],
)
def test_a_key_without_a_value_is_a_key_left_out(load: Load, key: str) -> None:
    assert load(f"{key}:\n") == DEFAULTS


def test_a_group_or_an_upstream_without_a_value_has_the_defaults(load: Load) -> None:
    config = load("groups:\n  mygroup:\nupstreams:\n  docker.io:\n  quay.io:\n")
    assert config.groups == {"mygroup": MYGROUP}
    assert config.upstreams["docker.io"] == DOCKER_HUB
    assert config.upstreams["quay.io"].url == "https://quay.io"


def test_docker_io_exists_unnamed_and_keeps_what_its_entry_leaves_out(load: Load) -> None:
    config = load("upstreams: {docker.io: {stall_timeout: 5s}, quay.io: {}}")
    hub = config.upstreams["docker.io"]
    assert hub.stall_timeout == 5
    assert (hub.url, hub.aliases) == (DOCKER_HUB.url, DOCKER_HUB.aliases)
    assert hub.trusted_realms == DOCKER_HUB.trusted_realms
    assert list(load("upstreams: {quay.io: {}}").upstreams) == ["docker.io", "quay.io"]


def test_any_other_upstream_is_at_its_own_name_without_aliases_and_realms(load: Load) -> None:
    assert load("upstreams: {quay.io: {}}").upstreams["quay.io"] == UpstreamConfig(
        name="quay.io",
        url="https://quay.io",
        aliases=(),
        trusted_realms=(),
        connect_timeout=10,
        revalidate_timeout=2,
        stall_timeout=30,
        max_connections=64,
    )


def test_an_empty_list_is_a_value(load: Load) -> None:
    hub = load("upstreams: {docker.io: {aliases: [], trusted_realms: []}}").upstreams["docker.io"]
    assert (hub.aliases, hub.trusted_realms) == ((), ())


def test_what_is_set_is_in_force(load: Load) -> None:
    config = load(
        """
        listen: [0.0.0.0:5000]
        external_url: https://proxy.example.org/
        data_dir: /srv/depproxy
        log: {format: json, level: debug}
        shutdown_timeout: 1m
        upstreams: {quay.io: {url: 'http://10.0.0.1:5000', aliases: ['q:5000'], max_connections: 8}}
        groups: {acme/platform: {upstreams: [quay.io], revalidate_after: 5m, stale_for: 90d}}
        """
    )
    assert config.listen == (Address(host="0.0.0.0", port=5000),)
    assert (config.external_url, config.data_dir) == (
        "https://proxy.example.org",
        Path("/srv/depproxy"),
    )
    assert config.log == LogConfig("json", "debug")
    assert config.shutdown_timeout == 60
    quay = config.upstreams["quay.io"]
    assert (quay.url, quay.aliases, quay.max_connections) == (
        "http://10.0.0.1:5000",
        ("q:5000",),
        8,
    )
    group = config.groups["acme/platform"]
    assert (group.upstreams, group.revalidate_after, group.stale_for) == (
        ("quay.io",),
        300,
        90 * 86400,
    )


def test_only_groups_that_the_file_names_exist(load: Load) -> None:
    assert list(load("groups: {a: {}, a/b: {}}").groups) == ["a", "a/b"]


def test_a_group_inherits_nothing_from_its_parent(load: Load) -> None:
    groups = load("groups: {a: {stale_for: 1h}, a/b: {}}").groups
    assert groups["a/b"].stale_for is None


def test_the_file_that_comes_with_the_program_loads() -> None:
    config = load_config(Path(__file__).parents[2] / "conf" / "depproxy.yml")
    assert config == Config(
        listen=DEFAULTS.listen,
        external_url=DEFAULTS.external_url,
        data_dir=DEFAULTS.data_dir,
        upstreams=DEFAULTS.upstreams,
        groups={"mygroup": MYGROUP},
    )


def test_a_merged_key_may_be_overridden(load: Load) -> None:
    """YAML's ``<<``: what stands beside it counts."""
    config = load(
        "groups:\n"
        "  acme: &acme {max_size: 10GiB, expire_after: 90d}\n"
        "  team: {<<: *acme, max_size: 20GiB}\n"
    )
    team = config.groups["team"]
    assert (team.max_size, team.expire_after) == (20 * 2**30, 90 * 86400)
