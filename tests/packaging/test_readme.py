"""The README, as a newcomer follows it: each of its commands, in their order, in a fresh clone."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from depproxy.demo.image import make_image
from tests.docs.markdown import Page
from tests.packaging.conftest import LEFT_BEHIND, as_stranger
from tests.real.programs import (
    ROOT,
    Docker,
    DockerRegistry,
    free_port,
    is_healthy,
    need,
    running,
    wait_until,
)

_SERVES = ("server.py", "server.py --demo", "depproxy --config depproxy.yml")
"""How a command ends that goes on until somebody stops it."""

_IS_SHELL = r"(python3|pipx|docker|curl|depproxy|\.venv/bin/\S+|\.venv-test/bin/\S+) "
"""How a block for a shell begins; the others are files."""


def commands() -> list[str]:
    """One for each line, or for several that a backslash holds together."""
    blocks = [block for block in Page("README.md").blocks if re.match(_IS_SHELL, block)]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines]


class Newcomer:
    """A clone, a shell, and one server at a time."""

    def __init__(self, folder: Path, registry: DockerRegistry, docker: Docker) -> None:
        self._clone, self._log = folder / "clone", folder / "log"
        self._port = str(free_port())
        self._server = ExitStack()
        shutil.copytree(ROOT, self._clone, symlinks=True, ignore=LEFT_BEHIND)
        config = self._clone / "conf" / "depproxy.yml"
        at_home = self._at_home(config.read_text())
        config.write_text(at_home.replace("https://registry-1.docker.io", registry.url))
        programs = folder / "programs"
        programs.mkdir()
        for name, command in {
            "docker": " ".join([shutil.which("docker") or "", *docker.client()[1:]]),
            "pipx": f"{sys.executable} -m pipx",
        }.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        bin_dir = folder / "bin"
        self._environment = as_stranger() | {
            "PATH": os.pathsep.join((str(programs), str(bin_dir), os.environ["PATH"])),
            "PIPX_HOME": str(folder / "pipx"),
            "PIPX_BIN_DIR": str(bin_dir),
        }

    def _at_home(self, text: str) -> str:
        """With a free port in the place of the one that stands there."""
        return text.replace("8080", self._port)

    def do(self, command: str) -> str:
        """Returns what was printed."""
        shell = ["bash", "-euc", self._at_home(command)]
        if command.endswith(_SERVES):
            self._serve(shell)
            return ""
        done = subprocess.run(
            shell, capture_output=True, text=True, cwd=self._clone, env=self._environment
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}{self._log.read_text()}"
        return done.stdout

    def _serve(self, shell: list[str]) -> None:
        self.stop()
        # The last command of the line takes the shell's place, so that it hears of the end.
        shell[-1] = re.sub(
            r"(?:^|(?<=&& ))(?=\S+( server\.py( --demo)?| --config \S+)$)", "exec ", shell[-1]
        )
        process = self._server.enter_context(
            running(shell, self._log, cwd=self._clone, env=self._environment)
        )
        wait_until(lambda: is_healthy(f"http://127.0.0.1:{self._port}"), process, self._log)

    def stop(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    need("docker", "dockerd", "docker-registry", "curl", root=True)
    folder = tmp_path_factory.mktemp("newcomer")
    registry = DockerRegistry(folder)
    with registry.serving(), Docker(tmp_path_factory.mktemp("docker")).serving() as docker:
        registry.push(
            "library/alpine",
            "latest",
            make_image("Hello, newcomer.", {"etc/hello": b"a layer of its own"}),
        )
        newcomer = Newcomer(folder, registry, docker)
        yield newcomer
        newcomer.stop()


@pytest.mark.real
def test_every_command_of_the_readme_does_its_work(newcomer: Newcomer) -> None:
    said = {}
    for command in commands():
        if ".venv-test" in command:
            continue  # what runs this very test
        began = time.monotonic()
        said[command] = newcomer.do(command)
        print(f"{time.monotonic() - began:6.1f} s  {command}")
    [hit] = [text for command, text in said.items() if command.startswith("curl -I")]
    assert "Cache-Status: depproxy; hit" in hit
    [cleared] = [text for command, text in said.items() if command.startswith("curl --request")]
    assert '"message": "202 Accepted", "manifests": 2' in cleared
    [usage] = [text for command, text in said.items() if command.endswith("depproxy usage")]
    assert "mygroup" in usage


def test_the_commands_that_are_promised_are_there() -> None:
    """One runs the main job, one passes the tests."""
    first, *_, last = commands()
    assert re.fullmatch(r"python3 -m venv \.venv .*server\.py", first)
    assert re.fullmatch(r"python3 -m venv \.venv-test .*tox", last)
