"""How a test waits for what happens beside it."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Seen = TypeVar("Seen")

PATIENCE = 60.0
"""Seconds after which what has not happened never will, on a busy machine too."""

CHANCE = 0.5
"""Seconds that others get in the middle of something; it is right that they wait longer for it."""


def wait_for(what: Callable[[], object]) -> None:
    """Wait until it is so; a test fails where that never comes."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def undisturbed(look: Callable[[], Seen]) -> Seen:
    """What is seen on a disk when nothing goes from it amid the look: a walk fails under that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            return look()
        time.sleep(0.002)
    return look()
