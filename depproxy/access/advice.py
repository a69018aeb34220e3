"""What is wrong, or strange, about users and groups in a configuration."""

import ipaddress
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from depproxy.access.htpasswd import parse_users
from depproxy.access.users_file import read_users_file
from depproxy.config import Config
from depproxy.errors import UsersFileError


def problems(config: Config) -> list[str]:
    """What stops the start, in the form of `depproxy.config`'s own problems."""
    file = config.auth.users_file
    if file is None:
        return list(_needing_users(config))
    try:
        users = parse_users(read_users_file(file))
    except UsersFileError as exc:
        advice = "" if os.path.exists(file) else "; 'depproxy passwd USER' makes it"
        return [f"auth.users_file: {exc}{advice}"]
    found = [f"auth.users_file: {file}: {problem}" for problem in users.problems]
    for path, user in _named(config):
        if user not in users.hashes:
            found.append(f"{path}: {user} is not in {file}; 'depproxy passwd {user}' adds him")
    return found


def warnings(config: Config) -> list[str]:
    """What is allowed and seldom meant."""
    found = []
    mirror = config.groups.get(config.mirror.group) if config.mirror.group else None
    if mirror and mirror.visibility == "private":
        found.append(
            f"mirror.group: {mirror.name} is private: dockerd drops a mirror that asks for a"
            " password other than its user's for Docker Hub"
        )
    host = urlsplit(config.external_url).hostname or ""
    if _is_loopback(host) and any(_is_public(address.host) for address in config.listen):
        found.append(
            f"external_url: {config.external_url} leads clients on other machines to themselves,"
            " for pages and tokens, though listen is open to them: set it to this server's name"
        )
    return found


def _needing_users(config: Config) -> Iterator[str]:
    for name, group in config.groups.items():
        needing = {
            "visibility": group.visibility == "private",
            "readers": bool(group.readers),
            "owners": bool(group.owners),
        }
        for key, is_set in needing.items():
            if is_set:
                yield f"groups.{name}.{key}: expected auth.users_file, which says who the users are"


def _named(config: Config) -> Iterator[tuple[str, str]]:
    for name, group in config.groups.items():
        for key, users in (("readers", group.readers), ("owners", group.owners)):
            for user in users:
                yield f"groups.{name}.{key}", user


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    """Whether other machines can come to an address that is listened on; unix sockets have none."""
    return bool(host) and not _is_loopback(host)
