"""Real programs as the tests use them: started on free ports, ended by their process ids."""

import contextlib
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest

ROOT = Path(__file__).resolve().parents[2]


def need(*programs: str, root: bool = False) -> None:
    """Skip where a program is missing; fail instead where CI says that none may be."""
    missing = [program for program in programs if not shutil.which(program)]
    if root and os.geteuid() != 0:
        missing.append("root's rights")
    if missing and os.environ.get("DEPPROXY_SKIP_NOTHING"):
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


def free_port() -> int:
    """Below those that the kernel gives to connections: none of these may take it before the
    program does that it is meant for."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for a program to be ready; fail with its log if it ends before."""
    while not ready():
        if process.poll() is not None:
            pytest.fail(f"{process.args!r} ended:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)


def own_address() -> str:
    """An address of this machine but 127.0.0.0/8: docker checks no certificates there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError as exc:
            pytest.skip(f"this machine has no address but its own: {exc}")
        return str(sock.getsockname()[0])


@contextmanager
def docker_certificates(host: str) -> Iterator[Path]:
    """Where dockerd looks for the authority of a registry, ``ca.crt``. It has no option for it."""
    folder = Path("/etc/docker/certs.d") / host
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port)):
        return True
    return False


def is_healthy(url: str, trust: ssl.SSLContext | None = None) -> bool:
    """Whether our server answers there; ``trust`` is for one with TLS."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"{url}/-/health", context=trust),
    ):
        return True
    return False


@contextmanager
def running(
    arguments: list[str], log: Path, **options: object
) -> "Iterator[subprocess.Popen[bytes]]":
    """A program, its output in ``log``; ended by SIGTERM."""
    with log.open("ab") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait()


class Depproxy:
    """The program as users start it, in a process of its own."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        *,
        extra: str = "",
        group: str = "",
        more: str = "",
        groups: str = "",
        external_url: str = "",
    ) -> None:
        """``groups`` are those beside ``mygroup``. Clients come straight to the port, if
        ``external_url`` does not say how else."""
        self.folder = folder
        self.port = free_port()
        self.log = folder / "depproxy.log"
        self.config = folder / "depproxy.yml"
        self.config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"external_url: {external_url or self.url}\n"
            f"data_dir: {folder / 'data'}\n"
            f"upstreams:\n  docker.io:\n    url: {upstream}\n"
            + "".join(f"    {line}\n" for line in extra.splitlines())
            + more
            + "groups:\n  mygroup:\n"
            + ("" if "upstreams:" in group else "    upstreams: [docker.io]\n")
            + "".join(f"    {line}\n" for line in group.splitlines())
            + "".join(f"  {line}\n" for line in groups.splitlines())
        )

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def prefix(self) -> str:
        return self.prefix_of("mygroup")

    def prefix_of(self, group: str) -> str:
        return f"{self.host}/{group}/dependency_proxy/containers"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def token(self) -> str:
        return (self.folder / "data" / "admin_token").read_text().strip()

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "server.py"), "--config", str(self.config)]

    @contextmanager
    def serving(
        self, trust: ssl.SSLContext | None = None, **options: object
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """``trust`` is for a server with TLS."""
        url = f"{'https' if trust else 'http'}://{self.host}"
        with running(self.command, self.log, cwd=ROOT, **options) as process:
            wait_until(lambda: is_healthy(url, trust), process, self.log)
            yield process

    def set_password(self, user: str, password: str) -> None:
        """By the command that an administrator uses; it makes the file."""
        run(*self.command, "passwd", user, stdin=password)

    def purge(self) -> bytes:
        request = urllib.request.Request(
            f"{self.url}/api/v4/groups/mygroup/dependency_proxy/cache",
            method="DELETE",
            headers={"PRIVATE-TOKEN": self.token},
        )
        with urllib.request.urlopen(request) as reply:
            return bytes(reply.read())


class DockerRegistry:
    """Debian's docker-registry, with a log that shows what it was asked."""

    def __init__(self, folder: Path, name: str = "registry") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self._config = folder / f"{name}.yml"
        self._config.write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / name}}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n"
            "log: {accesslog: {disabled: false}, level: warn}\n"
        )

    @contextmanager
    def serving(self) -> "Iterator[subprocess.Popen[bytes]]":
        with running(["docker-registry", "serve", str(self._config)], self.log) as process:
            wait_until(lambda: listens(self.port), process, self.log)
            yield process

    def asked(self) -> list[tuple[str, str]]:
        """Method and path of every request so far, by the access log."""
        lines = [line.split('"') for line in self.log.read_text().splitlines()]
        requests = [
            parts[1].split(" ") for parts in lines if len(parts) > 2 and "HTTP/" in parts[1]
        ]
        return [(request[0], request[1]) for request in requests]

    def forget(self) -> None:
        self.log.write_text("")

    def push(self, name: str, tag: str, image: Image) -> None:
        for digest, blob in image.blobs.items():
            self._push_blob(name, digest, blob)
        for digest, (media_type, body) in image.manifests.items():
            if digest != image.index:
                self._put(f"/v2/{name}/manifests/{digest}", body, media_type)
        media_type, body = image.manifests[image.index]
        self._put(f"/v2/{name}/manifests/{tag}", body, media_type)

    def _push_blob(self, name: str, digest: Digest, blob: bytes) -> None:
        start = urllib.request.Request(f"{self.url}/v2/{name}/blobs/uploads/", method="POST")
        with urllib.request.urlopen(start) as reply:
            location = urlsplit(reply.headers["Location"])
        self._put(
            f"{location.path}?{location.query}&digest={digest}", blob, "application/octet-stream"
        )

    def _put(self, path: str, body: bytes, media_type: str) -> None:
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": media_type}, method="PUT"
        )
        with urllib.request.urlopen(request):
            pass


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has 107 bytes at most, and the folder of a
    test leaves few of them. Whatever is still mounted in it in the end goes."""
    with tempfile.TemporaryDirectory(prefix="tests-") as name:
        try:
            yield Path(name)
        finally:
            mounts = Path("/proc/self/mounts").read_text().splitlines()
            for point in reversed([mount.split()[1] for mount in mounts]):
                if point.startswith(f"{name}/"):
                    run("umount", "--lazy", point)


class Docker:
    """A dockerd of the tests' own, and the client that talks to it."""

    def __init__(self, folder: Path, *, mirror: str = "") -> None:
        self._folder = folder
        self._mirror = mirror
        self._socket = f"unix://{folder / 'docker.sock'}"
        self.log = folder / "dockerd.log"

    @contextmanager
    def serving(self) -> Iterator["Docker"]:
        command = ["dockerd", "--storage-driver", "vfs", "--iptables=false", "--bridge=none"]
        command += ["--host", self._socket, "--pidfile", str(self._folder / "docker.pid")]
        if self._mirror:
            command += ["--registry-mirror", self._mirror]
        with short_folder() as folder:
            command += ["--data-root", str(folder / "root"), "--exec-root", str(folder / "exec")]
            with running(command, self.log) as process:
                wait_until(
                    lambda: self.run("version", check=False).returncode == 0, process, self.log
                )
                yield self

    def run(
        self, *arguments: str, check: bool = True, stdin: str = "", config: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """The client; ``config`` is the folder where it keeps its logins, never the user's own."""
        return run(*self.client(config), *arguments, check=check, stdin=stdin)

    def client(self, config: Path | None = None) -> list[str]:
        """How the client is called."""
        return ["docker", "--host", self._socket, "--config", str(config or self._folder / "cli")]

    def forget(self, name: str) -> None:
        """Remove an image with its layers."""
        self.run("image", "rm", "--force", name)


class Containerd:
    """A containerd of the tests' own, and ``ctr`` that talks to it."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "containerd.sock")
        self.log = folder / "containerd.log"
        self._config = folder / "containerd.toml"
        self._config.write_text(
            f'version = 2\nroot = "{folder / "root"}"\nstate = "{folder / "state"}"\n'
            f'[grpc]\naddress = "{self._socket}"\n'
            '[plugins."io.containerd.internal.v1.opt"]\n'
            f'path = "{folder / "opt"}"\n'
        )

    @contextmanager
    def serving(self) -> Iterator["Containerd"]:
        with running(["containerd", "--config", str(self._config)], self.log) as process:
            wait_until(lambda: self.ctr("version", check=False).returncode == 0, process, self.log)
            yield self

    def ctr(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return run("ctr", "--address", self._socket, *arguments, check=check)


def run(*command: str, check: bool = True, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """A program to its end; one that fails fails the test."""
    done = subprocess.run(command, capture_output=True, text=True, input=stdin)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr}\n{done.stdout}")
    return done
