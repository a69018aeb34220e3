"""Servers with users, whose pages are looked at."""

from pathlib import Path

import pytest

from tests.running import RunningServer, Start
from tests.scenarios.pages.people import PASSWORDS
from tests.signing_in import write_users

PRIVATE = "visibility: private\nreaders: [reader]\nowners: [owner]"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    write_users(file, PASSWORDS)
    return file


@pytest.fixture
def private(start: Start, users: Path) -> RunningServer:
    """``mygroup`` is private, ``other`` is public."""
    return start(group=PRIVATE, more=f"auth: {{users_file: {users}}}\n")


@pytest.fixture
def public(start: Start, users: Path) -> RunningServer:
    """``mygroup`` is public, and has an owner."""
    return start(group="owners: [owner]", more=f"auth: {{users_file: {users}}}\n")
