"""Commands as an administrator gives them, and pulls whose traces they find."""

import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from depproxy.demo.image import Image
from depproxy.main import main
from depproxy.oci.digest import Digest
from tests.images import amd64_of
from tests.real.programs import ROOT
from tests.running import RunningServer
from tests.waiting import wait_for

_SERVER = " INFO depproxy.access: "
"""What is in each line that the server of a test logs, in the same process, whenever it comes to
it: no word of the command's."""


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Gives commands in this process, with the configuration of the test's servers."""

    def __init__(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = file
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        code = main(["--config", str(self.file), *arguments])
        printed = self._capsys.readouterr()
        lines = printed.err.splitlines(keepends=True)
        return Done(code, printed.out, "".join(line for line in lines if _SERVER not in line))

    def aim_at(self, server: RunningServer) -> None:
        """Let the file say where the server has come to listen."""
        text = self.file.read_text()
        self.file.write_text(text.replace("127.0.0.1:0\n", f"127.0.0.1:{server.port}\n"))

    @contextmanager
    def on_terminal(self, *arguments: str) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
        """In a process of its own, with a terminal for standard error, of which the other end is
        given."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        command = [sys.executable, str(ROOT / "server.py"), "--config", str(self.file), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        try:
            with process:
                yield process, ours
        finally:
            os.close(ours)


def read_to_end(terminal: int) -> bytes:
    """What a terminal shows until nobody writes to it any more."""
    seen = b""
    try:
        while piece := os.read(terminal, 1024):
            seen += piece
    except OSError:  # EIO: the process has ended
        pass
    return seen


def pull(
    server: RunningServer,
    image: Image,
    name: str = "hello",
    tag: str = "latest",
    group: str = "mygroup",
) -> None:
    """All of an image for one platform; waits until it is on disk."""
    prefix = f"/v2/{group}/dependency_proxy/containers/{name}"
    amd64 = amd64_of(image)
    for reference in (tag, image.index, amd64):
        assert server.ask(f"{prefix}/manifests/{reference}").status == 200
    manifest = json.loads(image.manifests[amd64][1])
    for descriptor in (manifest["config"], *manifest["layers"]):
        digest = descriptor["digest"]
        assert server.ask(f"{prefix}/blobs/{digest}").body == image.blobs[digest]
    server.settle()
    wait_for(lambda: not any((server.data / "groups" / group / "-" / "partial").iterdir()))


def size_of(image: Image) -> int:
    """Bytes of what `pull` leaves on disk."""
    amd64 = amd64_of(image)
    manifest = json.loads(image.manifests[amd64][1])
    blobs = {part["digest"] for part in (manifest["config"], *manifest["layers"])}
    manifests = (image.index, amd64)
    return sum(len(image.blobs[d]) for d in blobs) + sum(
        len(image.manifests[d][1]) for d in manifests
    )


def ask_usage(server: RunningServer, group: str = "mygroup") -> Any:
    """What the API says that a group holds, when it has counted."""
    path = f"/api/v4/groups/{quote(group, safe='')}/dependency_proxy"
    while "exact" in (document := server.ask(path).json):
        time.sleep(0.001)
    return document


def ask_list(server: RunningServer, group: str = "mygroup") -> list[str]:
    """``image:reference`` of what the API lists."""
    path = f"/api/v4/groups/{quote(group, safe='')}/dependency_proxy/manifests"
    return [f"{item['image']}:{item['reference']}" for item in server.ask(path).json]


def counts_of(document: Any) -> tuple[int, int, int]:
    """Manifests, other blobs, and the bytes of both: of a command, or of an answer of the API."""
    return document["manifests"], document["blobs"], document["bytes"]


def blob_name(digest: str) -> str:
    """Relative to a tree."""
    algorithm, _, name = digest.partition(":")
    return f"blobs/{algorithm}/{name[:2]}/{name}"


def layer_of(image: Image) -> Digest:
    """The first layer of the one platform that is pulled."""
    return Digest(json.loads(image.manifests[amd64_of(image)][1])["layers"][0]["digest"])
