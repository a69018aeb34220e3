"""The rows of the table: who takes part in each, and what measures it."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.lab import Lab
from bench.peers.measure import Values


@dataclass(frozen=True)
class Row:
    """One thing that every round does once with each of the servers."""

    key: str
    """For ``--rows``."""
    title: str
    servers: tuple[str, ...]
    measure: Callable[[Lab, str], Values]
    prepare: Callable[[Lab], object]
    """Sets up, and checks, what `measure` needs."""
