"""What is shipped for administrators holds together: the examples and the recipe of the image."""

import re
from pathlib import Path

from depproxy import __version__
from depproxy.config import Address, load_config

ROOT = Path(__file__).parents[1]


def test_the_image_has_the_version_of_the_package() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r'image\.version="(.*)"', text) == [__version__]


def test_the_configuration_of_the_image_fits_the_image() -> None:
    config = load_config(ROOT / "conf" / "container.yml")
    text = (ROOT / "Dockerfile").read_text()
    assert config.listen == (Address("0.0.0.0", 8080),)
    assert "EXPOSE 8080\n" in text
    assert f"VOLUME {config.data_dir}\n" in text
