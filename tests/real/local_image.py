"""Parts of a container image that this machine has: its own Python as the base, and wheels for it.
With them an image can be built where no registry can be reached."""

import io
import os
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.real.programs import ROOT, run

PYTHON = "/usr/bin/python3"

_NEEDED = ("/bin/sh", "/usr/bin/install", PYTHON, "/tmp")

_LEFT_OUT = ("__pycache__", "test", "idlelib", "lib2to3", "config-")
"""Of the standard library: nothing of it is needed, and every layer is a copy of all below."""


def write_base(file: Path) -> None:
    """A tar of a file system with Python, pip, a shell, and what they need."""
    stdlib, packages = run(
        PYTHON,
        "-c",
        "import site, sysconfig; print(sysconfig.get_path('stdlib'), site.getsitepackages()[0])",
    ).stdout.split()
    system = run("dpkg", "--listfiles", "libc6", "libgcc-s1").stdout.split()
    files = {*_followed([*_NEEDED, *filter(_is_elf, system)]), *_library(Path(stdlib))}
    files |= set(_followed(_linked(files)))
    with tarfile.open(file, "w") as tar:
        for link in ("bin", "lib", "lib64"):
            if os.path.islink(f"/{link}"):
                tar.add(f"/{link}", link)
        folders = {str(folder) for file in files for folder in Path(file).parents}
        for path in sorted(folders | files):  # folders, too, or only root could look into them
            tar.add(path, path.lstrip("/"), recursive=False)
        with zipfile.ZipFile(_pip()) as wheel:
            for name in wheel.namelist():
                entry = tarfile.TarInfo(f"{packages.lstrip('/')}/{name}")
                entry.size = wheel.getinfo(name).file_size
                tar.addfile(entry, io.BytesIO(wheel.read(name)))


def write_context(folder: Path) -> None:
    """What `docker build` is given: all that `.dockerignore` lets in, and wheels."""
    folder.mkdir()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = [line[1:] for line in lines if line.startswith("!")]
    for name in ("Dockerfile", ".dockerignore", *(name for name in wanted if name != "wheels")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, folder / name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    pip = [PYTHON, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    done = subprocess.run(
        [*pip, "--dest", str(folder / "wheels"), *needed],
        env={**os.environ, "PYTHONPATH": str(_pip())},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"no wheels for {PYTHON}: {done.stderr}")


def _pip() -> Path:
    """The wheel from which Debian's `python3 -m venv` takes pip; it can also be run as it is."""
    return next(Path("/usr/share/python-wheels").glob("pip-*.whl"))


def _library(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_LEFT_OUT)]
        yield from (f"{root}/{name}" for name in files)


def _linked(files: Iterable[str]) -> set[str]:
    """The shared libraries that programs and libraries are linked to, and the loader."""
    binaries = filter(_is_elf, files)
    words = run("ldd", *binaries, check=False).stdout.split()
    return {word for word in words if word.startswith("/") and not word.endswith(":")}


def _is_elf(file: str) -> bool:
    if os.path.islink(file) or not os.path.isfile(file):
        return False
    with open(file, "rb") as head:
        return head.read(4) == b"\x7fELF"


def _followed(paths: Iterable[str]) -> Iterator[str]:
    """Each file, and what it is a link to, by folders that are no links."""
    for path in paths:
        while True:
            folder, name = os.path.split(path)
            path = os.path.join(os.path.realpath(folder), name)
            yield path
            if not os.path.islink(path):
                break
            path = os.path.join(os.path.dirname(path), os.readlink(path))
