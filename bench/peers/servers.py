"""The servers that are compared: how each is started, asked, emptied and ended."""

import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers.content import PREFIX, TAG, Content, Item
from tests.real.programs import ROOT, Depproxy, free_port, listens, running, wait_until

OURS = "depproxy"

_PATIENCE = 300.0
"""Seconds after which something on the disk will not come any more."""


class Server(ABC):
    """A program on a free port of 127.0.0.1, with all its files in ``folder``."""

    name: str
    prefix = PREFIX

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self._life = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def start(self) -> None:
        process = self.launch()
        wait_until(lambda: listens(self.port), process, self.log)

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start it, and do not wait until it listens."""
        command = running(self.command(), self.log, cwd=ROOT)
        self._process = self._life.enter_context(command)
        return self._process

    def stop(self) -> None:
        self._life.close()
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} does not run"
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, item: Item) -> str:
        return f"{self.url}{self.prefix}/{item.path}"

    def pause(self) -> None:
        """Hang: the kernel still takes connections, and nobody answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)


class Cache(Server):
    """A server that fetches from an upstream what it does not have."""

    @abstractmethod
    def is_hit(self, headers: dict[str, str]) -> bool:
        """Whether an answer came from the cache, where headers tell; their names are lower-case."""

    @abstractmethod
    def has(self, item: Item) -> bool:
        """Whether the blob is on disk under its own name."""

    @abstractmethod
    def purge(self) -> None:
        """Empty the cache; the disk is free when this returns."""

    def wait_for(self, item: Item) -> None:
        _wait(lambda: self.has(item))


class Ours(Cache):
    """This project's server, as it is started by users: with an access log, and all defaults."""

    name = OURS

    def __init__(self, folder: Path, upstream: str) -> None:
        super().__init__(folder)
        self._proxy = Depproxy(folder, upstream)
        self.port = self._proxy.port
        self.log = self._proxy.log
        self.prefix = f"/v2/{self._proxy.prefix.partition('/')[2]}{PREFIX.removeprefix('/v2')}"
        self.tree = folder / "data/groups/mygroup/-"

    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "server.py"), "--config", str(self._proxy.config)]

    def is_hit(self, headers: dict[str, str]) -> bool:
        return headers.get("cache-status") == "depproxy; hit"

    def has(self, item: Item) -> bool:
        return self.blob_file(item.digest).exists()

    def blob_file(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self.tree / "blobs" / algorithm / name[:2] / name

    def purge(self) -> None:
        self._proxy.purge()
        _wait(lambda: not any((self.folder / "data/trash").iterdir()))


class Registry(Server):
    """Debian's docker-registry, with an access log and the defaults of its package."""

    name = "Distribution"

    def __init__(self, folder: Path, remote: str = "") -> None:
        """With ``remote``, a pull-through cache of that registry."""
        super().__init__(folder)
        self._storage = folder / "storage"
        self._marked = 0
        self._config = folder / "config.yml"
        self._config.write_text(
            "version: 0.1\n"
            "storage:\n"
            "  cache: {blobdescriptor: inmemory}\n"
            f"  filesystem: {{rootdirectory: {self._storage}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n"
            "log: {accesslog: {disabled: false}, level: warn}\n"
            + (f"proxy: {{remoteurl: {remote}}}\n" if remote else "")
        )

    def command(self) -> list[str]:
        return ["docker-registry", "serve", str(self._config)]

    def push(self, content: Content, *, only_image: bool = False) -> None:
        blobs = [] if only_image else [content.small, content.medium, content.large]
        for item in [*blobs, *content.others]:
            if item.path.startswith("blobs/"):
                self._push_blob(item, content.file(item))
            else:
                self._put(f"{PREFIX}/{item.path}", item, content.file(item))
        self._put(f"{PREFIX}/manifests/{TAG}", content.index, content.file(content.index))

    def mark(self) -> None:
        """`downloads` counts from here on."""
        self._marked = self.log.stat().st_size

    def downloads(self, item: Item) -> int:
        """How often it was asked for by ``GET``, by the access log."""
        with self.log.open("rb") as log:
            log.seek(self._marked)
            return log.read().count(f'"GET {PREFIX}/{item.path} HTTP'.encode())

    def _push_blob(self, item: Item, file: Path) -> None:
        start = urllib.request.Request(f"{self.url}{PREFIX}/blobs/uploads/", method="POST")
        with urllib.request.urlopen(start) as reply:
            location = urlsplit(reply.headers["Location"])
        self._put(f"{location.path}?{location.query}&digest={item.digest}", item, file)

    def _put(self, path: str, item: Item, file: Path) -> None:
        headers = {"Content-Type": item.media_type, "Content-Length": str(item.size)}
        with file.open("rb") as body:
            request = urllib.request.Request(self.url + path, body, headers, method="PUT")
            with urllib.request.urlopen(request):
                pass


class Distribution(Registry, Cache):
    """docker-registry as a pull-through cache."""

    def is_hit(self, headers: dict[str, str]) -> bool:
        return True  # it does not tell: see `has`

    def has(self, item: Item) -> bool:
        name = item.digest.removeprefix("sha256:")
        blobs = self._storage / "docker/registry/v2/blobs/sha256"
        return (blobs / name[:2] / name / "data").exists()

    def purge(self) -> None:
        """It knows no other way than to begin anew."""
        self.stop()
        shutil.rmtree(self._storage, ignore_errors=True)
        self.start()


class Pieces(Server):
    """Tornado with nothing but the bytes, see `bench.peers.pieces`."""

    name = "1 MiB writes"

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder)
        self._root = root

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.pieces", str(self.port), str(self._root)]


class SlowUpstream(Server):
    """A line between a registry and those who ask it, see `bench.peers.relay`."""

    name = "upstream"

    def __init__(self, folder: Path, registry: Registry, rate: int) -> None:
        """``rate`` is in bytes per second."""
        super().__init__(folder)
        self._arguments = [str(self.port), str(registry.port), str(rate)]

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.relay", *self._arguments]


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the disk does not come to the state that was waited for")
        time.sleep(0.002)
