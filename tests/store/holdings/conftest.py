"""Holdings that are empty, and two trees' that share files."""

import pytest

from depproxy.store.holdings import Holdings
from depproxy.store.shared import SharedFiles
from tests.store.holdings.files import new_holdings


@pytest.fixture
def holdings() -> Holdings:
    return new_holdings()


@pytest.fixture
def pair() -> tuple[Holdings, Holdings]:
    """Two trees of one data folder."""
    shared = SharedFiles()
    return Holdings(shared, exact=True), Holdings(shared, exact=True)
