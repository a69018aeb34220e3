"""The project as it is given away: a wheel, and an environment that has nothing else."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.programs import ROOT

LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "data", "node_modules"
)


def as_stranger() -> dict[str, str]:
    """The environment of somebody whose Python knows nothing of this source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def said_by(*command: str | Path, cwd: Path) -> str:
    """What a program prints; fails with all of it where it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=as_stranger()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """An environment into which the wheel was installed, and an empty folder to start it in."""

    environment: Path
    folder: Path

    @property
    def program(self) -> Path:
        return self.environment / "bin" / "depproxy"

    def run(self, *arguments: str) -> str:
        return said_by(self.program, *arguments, cwd=self.folder)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's wheel and those that it needs."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    shutil.copytree(ROOT, source, symlinks=True, dirs_exist_ok=True, ignore=LEFT_BEHIND)
    said_by(sys.executable, "-m", "pip", "wheel", "--quiet", "-w", wheels, source, cwd=source)
    return wheels


@pytest.fixture(scope="session")
def wheel(wheels: Path) -> Path:
    [wheel] = wheels.glob("depproxy-*.whl")
    return wheel


@pytest.fixture(scope="session")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """From the wheels alone, without an index."""
    environment, folder = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty")
    said_by(sys.executable, "-m", "venv", environment, cwd=folder)
    pip = (environment / "bin" / "pip", "install", "--quiet", "--no-index")
    said_by(*pip, "--find-links", wheels, "depproxy", cwd=folder)
    return Installed(environment, folder)
