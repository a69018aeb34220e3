"""Servers of scenarios that are about more than one group."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from depproxy.config import load_config
from tests.fakes.registry import FakeRegistry
from tests.running import RunningServer, StartGroups


@pytest.fixture
def start_groups(registry: FakeRegistry, tmp_path: Path) -> Iterator[StartGroups]:
    """Start a server with these groups; a second start works on the same data folder."""
    with ExitStack() as stack:

        def start_one(groups: str, upstreams: str) -> RunningServer:
            file = tmp_path / "groups.yml"
            file.write_text(
                f"listen: 127.0.0.1:0\ndata_dir: {tmp_path / 'data'}\n"
                f"upstreams:\n  docker.io: {{url: {registry.url}}}\n{upstreams}groups:\n{groups}"
            )
            return stack.enter_context(RunningServer(load_config(file)))

        yield start_one
