"""The configuration: a YAML file becomes frozen dataclasses, or a list of problems."""

from depproxy.config.load import load_config
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

__all__ = [
    "Address",
    "AuthConfig",
    "Config",
    "Credentials",
    "GroupConfig",
    "HousekeepingConfig",
    "LogConfig",
    "MetricsConfig",
    "MirrorConfig",
    "TlsConfig",
    "UpstreamConfig",
    "load_config",
]
