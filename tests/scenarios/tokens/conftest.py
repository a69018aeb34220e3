"""A private group, a public one, and users."""

from pathlib import Path

import pytest

from depproxy.demo.image import Image
from tests.running import RunningServer, Start
from tests.scenarios.tokens.clients import PASSWORDS, StartWithUsers
from tests.signing_in import write_users


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    file = tmp_path / "htpasswd"
    write_users(file, PASSWORDS)
    return file


@pytest.fixture
def start_with_users(start: Start, users_file: Path) -> StartWithUsers:
    """``mygroup`` is private, ``other`` is not."""

    def start_one(mirror: str = "null", auth: str = "", readers: str = "reader") -> RunningServer:
        return start(
            group=f"visibility: private\nreaders: [{readers}]",
            more=f"auth: {{users_file: {users_file}{auth}}}\nmirror: {{group: {mirror}}}\n",
        )

    return start_one


@pytest.fixture
def guarded(start_with_users: StartWithUsers, hello: Image) -> RunningServer:
    return start_with_users()
