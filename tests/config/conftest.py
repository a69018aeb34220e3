"""A configuration that is written and read."""

from pathlib import Path

import pytest

from depproxy.config import Config, load_config
from depproxy.errors import ConfigError
from tests.config.reading import Load, Problems


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str) -> Config:
        file = tmp_path / "depproxy.yml"
        file.write_text(text, encoding="utf-8")
        return load_config(file)

    return from_text


@pytest.fixture
def problems(load: Load) -> Problems:
    def of_text(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return list(caught.value.problems)

    return of_text
