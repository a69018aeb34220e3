"""What the fixtures of the folder give."""

from collections.abc import Callable

from depproxy.config import Config

Load = Callable[[str], Config]
Problems = Callable[[str], list[str]]
