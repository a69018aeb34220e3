"""Tokens, and a clock that goes when it is told to."""

import pytest

from depproxy.upstream.tokens import TokenJar
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jar(clock: Clock) -> TokenJar:
    return TokenJar(clock)
