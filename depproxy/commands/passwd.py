"""``depproxy passwd USER``: set a user's password in the file of users."""

import getpass
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from depproxy.access.htpasswd import has_user, is_of_another_kind, with_user
from depproxy.access.users import hash_password
from depproxy.access.users_file import change_users_file
from depproxy.commands.command import CommandFailed
from depproxy.config import Config
from depproxy.config.values import is_user


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER")
    parser.add_argument(
        "--remove", action="store_true", help="take the user out of the file instead"
    )


def run(config: Config, options: Namespace) -> int:
    """Raises `CommandFailed` and `UsersFileError`."""
    file, user = config.auth.users_file, options.user
    if file is None:
        raise CommandFailed("the configuration names no auth.users_file: add it, then come again")
    if not is_user(user):
        raise CommandFailed(f"{user!r} is no user's name: no spaces, colons, commas or slashes")
    if options.remove:
        change_users_file(file, lambda text: _without(_checked(file, text), user))
        print(f"{user} was removed from {file}")
    else:
        stored = _new_hash(user)
        change_users_file(file, lambda text: with_user(_checked(file, text), user, stored))
        print(f"the password of {user} was set in {file}")
    return 0


def _checked(file: Path, text: str) -> str:
    """A mistaken name must not cost anybody his ``/etc/passwd``."""
    if is_of_another_kind(text):
        raise CommandFailed(f"{file} is no htpasswd file: nothing was changed")
    return text


def _without(text: str, user: str) -> str:
    if not has_user(text, user):
        raise CommandFailed(f"there is no user {user}: nothing was changed")
    return with_user(text, user, None)


def _new_hash(user: str) -> str:
    """Ask for the password: twice on a terminal, else the first line of standard input."""
    try:
        return hash_password(_asked(user))
    except EOFError as exc:
        raise CommandFailed("no password came: nothing was changed") from exc
    except ValueError as exc:
        raise CommandFailed(f"{exc}: nothing was changed") from exc


def _asked(user: str) -> str:
    if sys.stdin.isatty():
        password = getpass.getpass(f"New password of {user}: ")
        if getpass.getpass("Once more: ") != password:
            raise CommandFailed("the two passwords differ: nothing was changed")
        return password
    return sys.stdin.readline().rstrip("\r\n")
