"""A clock that is told, an executor that does its work at once, and a file of two users."""

from pathlib import Path

import pytest

from depproxy.access.users import Users
from tests.access.fakes import ALICES_HASH, BOBS_HASH, Clock, InlineExecutor, users_file


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool() -> InlineExecutor:
    return InlineExecutor()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of users, with ``alice`` and ``bob``."""
    return users_file(tmp_path, alice=ALICES_HASH, bob=BOBS_HASH)


@pytest.fixture
def users(file: Path, pool: InlineExecutor, clock: Clock) -> Users:
    return Users(file, pool, clock)
