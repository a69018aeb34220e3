"""Files that come with the program: examples to begin with, units, dashboard and alerts.

They lie in ``conf/`` of the source tree; a wheel carries them inside the package.
"""

from pathlib import Path

EXAMPLE = "depproxy.yml"
"""The configuration that a newcomer begins with."""

_FOLDER = Path(__file__).parent / "conf"


def shipped_files() -> list[str]:
    """Their names, sorted; none where somebody has taken ``conf/`` away: nothing else needs it."""
    return sorted(file.name for file in _FOLDER.iterdir()) if _FOLDER.is_dir() else []


def shipped_file(name: str) -> Path:
    """Where the file of that name is, if there is one."""
    return _FOLDER / name
