"""Who we are at an upstream. The password is read when it is needed, and kept nowhere."""

import base64
import os
from pathlib import Path

from depproxy.config import Credentials

_MAX_PASSWORD = 64 * 1024
"""Bytes of a password file: some registries' passwords are tokens of several KiB."""


class Login:
    """A user name, and where its password lies: a new one counts from the next request on."""

    def __init__(self, username: str, file: Path | None, variable: str | None) -> None:
        self.username = username
        self._file = file
        self._variable = variable

    def basic(self) -> str:
        """The value of ``Authorization`` (RFC 7617). Raises OSError where there is no password."""
        pair = f"{self.username}:{self._password()}"
        return "Basic " + base64.b64encode(pair.encode()).decode("ascii")

    def _password(self) -> str:
        if self._file:
            with self._file.open("rb") as file:
                return file.read(_MAX_PASSWORD).decode("utf-8", "replace").rstrip("\r\n")
        password = os.environ.get(self._variable or "")
        if password is None:
            raise FileNotFoundError(f"the environment variable {self._variable} is not set")
        return password

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


def open_login(credentials: Credentials) -> Login | None:
    """None where the upstream is asked anonymously."""
    if credentials.username is None:
        return None
    return Login(credentials.username, credentials.password_file, credentials.password_env)
