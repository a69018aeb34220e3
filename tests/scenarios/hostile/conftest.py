"""A blob that no buffer holds, and a server that cuts who takes nothing of it."""

import pytest

from tests.fakes.registry import FakeRegistry
from tests.images import layer
from tests.scenarios.hostile.wire import MIB


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    patience = 0.3
    monkeypatch.setattr("depproxy.serving.streams.SLOWEST_CLIENT", patience)
    return patience


@pytest.fixture
def large(registry: FakeRegistry) -> bytes:
    """A blob that no socket's buffers can hold."""
    data = layer(1, 16 * MIB)
    registry.add_blob("library/large", data)
    return data
