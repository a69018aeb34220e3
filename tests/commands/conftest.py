"""Fixtures of commands: the command line, and images that share a layer."""

from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from tests.commands.command_line import CommandLine
from tests.fakes.registry import FakeRegistry


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Works on the data folder of the servers that ``start`` starts, running or not; at least one
    must have been started, since it brings the configuration."""
    return CommandLine(tmp_path / "depproxy.yml", capsys)


@pytest.fixture
def twin(registry: FakeRegistry, image: Image) -> Image:
    """``library/twin:latest``, which shares a layer with ``hello``."""
    other = make_image("A twin speaks.", {"file": b"of a layer of its own"})
    registry.add_image("library/twin", "latest", other)
    assert set(other.blobs) & set(image.blobs)
    return other
