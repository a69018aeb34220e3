"""What a configuration says. Durations are in seconds, sizes in bytes; None is "no limit"."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depproxy.oci.names import GroupName


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    unix: str = ""

    def __str__(self) -> str:
        if self.unix:
            return f"unix:{self.unix}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files: both, or none where clients come without TLS."""

    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    """``text`` or ``json``; ``level`` is one of Python's, in lower case."""

    format: str = "text"
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are at an upstream. The password itself is never part of the configuration."""

    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """A registry that images come from; ``name`` is its public host."""

    name: str
    url: str
    aliases: tuple[str, ...] = ()
    credentials: Credentials = Credentials()
    ca_file: Path | None = None
    proxy: str | None = None
    trusted_realms: tuple[str, ...] = ()
    redirect_hosts: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    revalidate_timeout: float = 2.0
    stall_timeout: float = 30.0
    max_connections: int = 64


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """A group and its policy. The first of its upstreams is the one that is meant where none is
    named; ``credentials`` are its own, by upstream."""

    name: GroupName
    visibility: str = "public"
    readers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ("docker.io",)
    credentials: Mapping[str, Credentials] = field(default_factory=_empty)
    revalidate_after: float = 0.0
    stale_for: float | None = None
    refused_stale_for: float = 86400.0
    not_found_ttl: float = 10.0
    expire_after: float | None = None
    max_size: int | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    """The group of what is asked for without one; None: nothing is."""

    group: GroupName | None = None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Without a file of users, there are none, and everybody may pull."""

    users_file: Path | None = None
    token_lifetime: float = 900.0


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """None: metrics are told on the addresses that clients come to."""

    listen: Address | None = None


@dataclass(frozen=True, slots=True)
class HousekeepingConfig:
    """``grace`` is for how long nothing goes that somebody was given."""

    interval: float = 3600.0
    grace: float = 3600.0
    min_free: int = 2**30


@dataclass(frozen=True, slots=True)
class Config:
    """All of a file; upstreams and groups are found by their names."""

    listen: tuple[Address, ...]
    external_url: str
    data_dir: Path
    upstreams: Mapping[str, UpstreamConfig]
    groups: Mapping[str, GroupConfig]
    tls: TlsConfig = TlsConfig()
    log: LogConfig = LogConfig()
    trusted_proxies: tuple[str, ...] = ()
    shutdown_timeout: float = 30.0
    mirror: MirrorConfig = MirrorConfig()
    auth: AuthConfig = AuthConfig()
    metrics: MetricsConfig = MetricsConfig()
    housekeeping: HousekeepingConfig = HousekeepingConfig()
