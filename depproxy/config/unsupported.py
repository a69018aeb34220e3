"""Keys that are understood but not in force yet: set to other than their default they stop the
start, since a policy that is silently ignored is worse than none."""

from dataclasses import fields
from typing import Any

from depproxy.config.model import Config, MetricsConfig
from depproxy.config.section import Problems

_WHOLE: dict[str, type[Any]] = {
    "metrics": MetricsConfig,
}


def report_unsupported(config: Config, problems: Problems) -> None:
    """Add a problem for every key that is set and has no effect yet."""
    for key, kind in _WHOLE.items():
        names = tuple(field.name for field in fields(kind))
        _compare(key, getattr(config, key), kind(), names, problems)


def _compare(
    path: str, value: Any, default: Any, keys: tuple[str, ...], problems: Problems
) -> None:
    for key in keys:
        if getattr(value, key) != getattr(default, key):
            problems.add(f"{path}.{key}", "not supported yet")
