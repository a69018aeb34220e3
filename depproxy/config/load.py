"""YAML → `Config`. Every problem is reported at once, with its dotted path."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from depproxy.config import values
from depproxy.config.model import (
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
)
from depproxy.config.section import Problems, Section
from depproxy.errors import ConfigError

T = TypeVar("T")

DOCKER_HUB = UpstreamConfig(
    name="docker.io",
    url="https://registry-1.docker.io",
    aliases=("index.docker.io", "registry-1.docker.io"),
    trusted_realms=("auth.docker.io",),
)
"""Exists even if the file does not name it."""

_YAML_SOURCE = 'in "<byte string>", '
"""What PyYAML says in front of a line, since it is given bytes and not a name."""


def load_config(
    file: Path,
    more_problems: Callable[[Config], Iterable[str]] = lambda _: (),
    *,
    looks_around: bool = True,
) -> Config:
    """Raises `ConfigError` with every problem of the file.

    ``more_problems`` finds those that the file alone does not show; what is wrong in the
    configuration that it gets has its default. Without ``looks_around``, files and variables that
    hold secrets need not be there: commands use none, and have another environment.
    """
    problems = Problems(looks_around=looks_around)
    config = _read_config(Section(problems, "", _read_yaml(file)), problems)
    problems += more_problems(config)
    if problems:
        raise ConfigError(str(file), problems)
    return config


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word; here that is a problem."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before merge keys (``<<``) are resolved: what stands beside one overrides what it brings.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if (key_node.tag, key_node.value) in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key_node.value!r} stands here twice", key_node.start_mark
                )
            seen.add((key_node.tag, key_node.value))
        return node


def _read_yaml(file: Path) -> Any:
    try:
        return yaml.load(file.read_bytes(), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as exc:
        raise ConfigError(str(file), [f"cannot be read: {exc.strerror}"]) from exc
    except Exception as exc:  # values that belie their tag raise all kinds
        why = " ".join(str(exc).split()).replace(_YAML_SOURCE, "at ")
        raise ConfigError(str(file), [f"is not YAML: {why}"]) from exc


def _read_config(root: Section, problems: Problems) -> Config:
    upstreams = _read_upstreams(root.section("upstreams"))
    groups = _read_groups(root.section("groups"), upstreams)
    listen = _read_listen(root)
    config = Config(
        listen=listen,
        external_url=root.take("external_url", values.external_url, "http://localhost:8080"),
        data_dir=root.take("data_dir", values.path, Path("data")),
        tls=_read_tls(root.section("tls")),
        log=_read_log(root.section("log")),
        trusted_proxies=root.take_list("trusted_proxies", values.trusted_proxy),
        shutdown_timeout=root.take("shutdown_timeout", values.duration, 30.0),
        upstreams=upstreams,
        groups=groups,
        mirror=_read_mirror(root.section("mirror"), groups),
        auth=_read_auth(root.section("auth")),
        metrics=_read_metrics(root.section("metrics"), listen),
        housekeeping=_read_housekeeping(root.section("housekeeping")),
    )
    root.close()
    return config


def _read_listen(root: Section) -> tuple[Address, ...]:
    default = (Address(host="127.0.0.1", port=8080),)

    def parse(value: Any) -> tuple[Address, ...]:
        if isinstance(value, list) and value:
            return tuple(values.listen_address(item) for item in value)
        return (values.listen_address(value),)

    return root.take("listen", parse, default)


def _read_tls(section: Section) -> TlsConfig:
    tls = TlsConfig(
        certificate=section.take("certificate", values.path, None),
        key=section.take("key", values.path, None),
    )
    if (tls.certificate is None) != (tls.key is None):
        missing = "key" if tls.key is None else "certificate"
        section.problem(missing, "expected a path, since certificate and key go together")
    section.close()
    return tls


def _read_log(section: Section) -> LogConfig:
    log = LogConfig(
        format=section.one_of("format", ("text", "json")),
        level=section.one_of("level", ("info", "debug", "warning", "error")),
    )
    section.close()
    return log


def _read_credentials(section: Section) -> Credentials:
    file, variable = values.readable_file, values.set_variable
    if not section.looks_around:
        file, variable = values.path, values.variable
    credentials = Credentials(
        username=section.take("username", values.text, None),
        password_file=section.take("password_file", file, None),
        password_env=section.take("password_env", variable, None),
    )
    if section.has("password_file") and section.has("password_env"):
        section.problem(
            "password_env", "expected one of password_file and password_env, found both"
        )
    has_password = section.has("password_file") or section.has("password_env")
    if section.has("username") and not has_password:
        section.problem("password_file", "expected password_file or password_env beside username")
    if has_password and not section.has("username"):
        section.problem("username", "expected a text, since there is a password")
    return credentials


def _read_upstreams(section: Section) -> Mapping[str, UpstreamConfig]:
    upstreams = {DOCKER_HUB.name: DOCKER_HUB}
    for name, entry in section.entries(values.registry_host):
        preset = DOCKER_HUB if name == DOCKER_HUB.name else UpstreamConfig(name, f"https://{name}")
        upstreams[name] = _read_upstream(entry, preset)
    owners = {name: name for name in upstreams}
    for upstream in upstreams.values():
        for alias in upstream.aliases:
            owner = owners.setdefault(alias.removesuffix(":443"), upstream.name)
            if owner != upstream.name:
                section.problem(
                    f"{upstream.name}.aliases",
                    f"expected names of this upstream only, found {alias!r}, which is {owner}",
                )
    return MappingProxyType(upstreams)


def _read_upstream(section: Section, preset: UpstreamConfig) -> UpstreamConfig:
    upstream = UpstreamConfig(
        name=preset.name,
        url=section.take("url", values.http_url, preset.url),
        aliases=section.take_list("aliases", values.registry_alias, preset.aliases),
        credentials=_read_credentials(section),
        ca_file=section.take(
            "ca_file", values.certificates if section.looks_around else values.path, None
        ),
        proxy=section.take("proxy", values.http_url, None),
        trusted_realms=section.take_list("trusted_realms", values.host, preset.trusted_realms),
        redirect_hosts=section.take_list("redirect_hosts", values.host, preset.redirect_hosts),
        connect_timeout=section.take(
            "connect_timeout", values.positive_duration, preset.connect_timeout
        ),
        revalidate_timeout=section.take(
            "revalidate_timeout", values.positive_duration, preset.revalidate_timeout
        ),
        stall_timeout=section.take("stall_timeout", values.positive_duration, preset.stall_timeout),
        max_connections=section.take("max_connections", values.connections, preset.max_connections),
    )
    section.close()
    return upstream


def _read_groups(
    section: Section, upstreams: Mapping[str, UpstreamConfig]
) -> Mapping[str, GroupConfig]:
    groups: dict[str, GroupConfig] = {}
    for name, entry in section.entries(values.group_name):
        groups[name] = _read_group(entry, GroupConfig(name), upstreams)
    return MappingProxyType(groups)


def _read_group(
    section: Section, preset: GroupConfig, upstreams: Mapping[str, UpstreamConfig]
) -> GroupConfig:
    names = section.take_list("upstreams", values.registry_host, preset.upstreams)
    for name in names:
        if name not in upstreams:
            section.problem(
                "upstreams", f"expected keys of upstreams ({', '.join(upstreams)}), found {name!r}"
            )
    if not names:
        section.problem("upstreams", "expected at least one upstream")
    elif len(set(names)) < len(names):
        section.problem("upstreams", "expected every upstream once")
    group = GroupConfig(
        name=preset.name,
        visibility=section.one_of("visibility", ("public", "private")),
        readers=section.take_list("readers", values.user),
        owners=section.take_list("owners", values.user),
        upstreams=names,
        credentials=_read_group_credentials(section.section("credentials"), names),
        revalidate_after=section.take("revalidate_after", values.duration, preset.revalidate_after),
        stale_for=section.take("stale_for", values.duration, None),
        refused_stale_for=section.take(
            "refused_stale_for", values.duration, preset.refused_stale_for
        ),
        not_found_ttl=section.take("not_found_ttl", values.duration, preset.not_found_ttl),
        expire_after=section.take("expire_after", values.positive_duration, None),
        max_size=section.take("max_size", values.size, None),
        allow=section.take_list("allow", values.image_pattern),
        deny=section.take_list("deny", values.image_pattern),
    )
    section.close()
    return group


def _read_group_credentials(
    section: Section, upstreams: tuple[str, ...]
) -> Mapping[str, Credentials]:
    credentials = {}
    for name, entry in section.entries(values.registry_host):
        if name not in upstreams:
            section.problem(name, f"expected an upstream of this group ({', '.join(upstreams)})")
        credentials[name] = _read_credentials(entry)
        entry.close()
    return MappingProxyType(credentials)


def _read_mirror(section: Section, groups: Mapping[str, GroupConfig]) -> MirrorConfig:
    group = section.take("group", values.group_name, None)
    if group is not None and group not in groups:
        section.problem("group", f"expected one of the groups, found {str(group)!r}")
    section.close()
    return MirrorConfig(group)


def _read_auth(section: Section) -> AuthConfig:
    preset = AuthConfig()
    auth = AuthConfig(
        users_file=section.take("users_file", values.path, None),
        token_lifetime=section.take("token_lifetime", values.token_lifetime, preset.token_lifetime),
    )
    section.close()
    return auth


def _read_metrics(section: Section, others: tuple[Address, ...]) -> MetricsConfig:
    metrics = MetricsConfig(listen=section.take("listen", values.listen_address, None))
    if metrics.listen in others and (metrics.listen.port or metrics.listen.unix):
        section.problem("listen", "expected an address that is not in listen, too")
    section.close()
    return metrics


def _read_housekeeping(section: Section) -> HousekeepingConfig:
    preset = HousekeepingConfig()
    housekeeping = HousekeepingConfig(
        interval=section.take("interval", values.positive_duration, preset.interval),
        grace=section.take("grace", values.duration, preset.grace),
        min_free=section.take("min_free", values.size, preset.min_free),
    )
    section.close()
    return housekeeping
