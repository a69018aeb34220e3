"""A clock that is told, and an executor that does its work at once."""

import pytest

from tests.access.fakes import Clock, InlineExecutor


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool() -> InlineExecutor:
    return InlineExecutor()
