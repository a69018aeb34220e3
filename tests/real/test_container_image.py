"""The container image: built here, from the parts of this machine, and run as the documentation
tells. Nothing comes from a network."""

import http.client
import json
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from depproxy import __version__
from depproxy.demo.image import Image
from tests.fakes import behaviours
from tests.fakes.behaviours import Gate
from tests.fakes.registry import FakeRegistry
from tests.real.local_image import write_base, write_context
from tests.real.programs import Docker, free_port, need
from tests.running import PREFIX

pytestmark = pytest.mark.real

USER = 10001

HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A dockerd that has the image ``depproxy``."""
    need("dockerd", "docker", "dpkg", "ldd", root=True)
    folder = tmp_path_factory.mktemp("docker")
    write_base(folder / "base.tar")
    write_context(folder / "context")
    path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    wheels = ("--build-arg=PIP_NO_INDEX=1", "--build-arg=PIP_FIND_LINKS=wheels")
    with Docker(folder).serving() as docker:
        docker.run("import", "--change", path, str(folder / "base.tar"), "python:local")
        arguments = ("--network=none", "--build-arg=PYTHON=python:local", *wheels)
        docker.run("build", *arguments, "--tag=depproxy", str(folder / "context"))
        yield docker
        docker.run("system", "prune", "--all", "--force")  # with vfs, gigabytes


class Container:
    """A container that serves in the network of this machine."""

    def __init__(self, docker: Docker, folder: Path, upstream: str) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.id = ""
        self._docker = docker
        self.config = folder / "conf" / "depproxy.yml"
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(
            f"listen: {self.host}\n"
            f"external_url: http://{self.host}\n"
            "data_dir: /var/lib/depproxy\n"
            f"upstreams:\n  docker.io:\n    url: {upstream}\n"
            "groups:\n  mygroup:\n    upstreams: [docker.io]\n"
        )

    @contextmanager
    def serving(self, volume: str) -> Iterator[None]:
        mounts = (
            f"--volume={self.config.parent}:/etc/depproxy:ro",
            f"--volume={volume}:/var/lib/depproxy",
        )
        command = ("run", "--detach", "--net=host", "--health-interval=1s", *HARDENED, *mounts)
        self.id = self._docker.run(*command, "depproxy").stdout.strip()
        try:
            wait_until_healthy(self._docker, self.id)
            yield
        finally:
            self._docker.run("rm", "--force", self.id)

    @property
    def image(self) -> str:
        return f"{self.host}/mygroup/dependency_proxy/containers/hello:latest"

    @property
    def log(self) -> str:
        done = self._docker.run("logs", self.id)
        return done.stdout + done.stderr


def wait_until_healthy(docker: Docker, container: str) -> None:
    while (health := inspect(docker, container, "State.Health.Status")) != "healthy":
        if inspect(docker, container, "State.Running") != "true":
            pytest.fail(f"{health}: {docker.run('logs', container).stderr}")
        time.sleep(0.05)


def inspect(docker: Docker, what: str, field: str) -> str:
    return docker.run("inspect", "--format", f"{{{{.{field}}}}}", what).stdout.strip()


def test_the_image_says_what_it_is(docker: Docker) -> None:
    config = json.loads(docker.run("inspect", "--format", "{{json .Config}}", "depproxy").stdout)
    assert config["User"] == f"{USER}:{USER}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["depproxy"]
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert list(config["Volumes"]) == ["/var/lib/depproxy"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    said = docker.run("run", "--rm", "--net=none", "depproxy", "--version").stdout
    assert said == f"depproxy {__version__}\n"


def test_it_serves_without_anything_being_told(docker: Docker) -> None:
    """By the configuration in the image, on a volume that nobody has named."""
    container = docker.run("run", "--detach", "--net=none", *HARDENED, "depproxy").stdout.strip()
    try:
        while docker.run("exec", container, "depproxy", "health", check=False).returncode:
            assert inspect(docker, container, "State.Running") == "true"
        ready = docker.run("exec", container, "depproxy", "health", "--ready").stdout
        assert ready == "http://127.0.0.1:8080: ready\n"
        checked = docker.run("exec", container, "depproxy", "--check-config")
        assert checked.stdout == "/etc/depproxy/depproxy.yml: right\n"
        assert "mygroup" in docker.run("exec", container, "depproxy", "usage").stdout
    finally:
        docker.run("rm", "--force", "--volumes", container)


def test_docker_pulls_through_it_and_the_next_container_has_what_was_cached(
    docker: Docker, registry: FakeRegistry, hello: Image, tmp_path: Path
) -> None:
    first = Container(docker, tmp_path, registry.url)
    with first.serving("cache"):
        docker.run("pull", first.image)
        assert docker.run("run", "--net=none", "--rm", first.image).stdout == "A test speaks.\n"
        docker.forget(first.image)
        process = Path("/proc", inspect(docker, first.id, "State.Pid"), "status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in process
        assert "CapEff:\t0000000000000000\n" in process
        assert docker.run("diff", first.id).stdout == ""
        docker.run("stop", first.id)
        assert inspect(docker, first.id, "State.ExitCode") == "0"
        assert first.log.endswith(" stopped\n")
        assert "ERROR" not in first.log
    volume = Path(docker.run("volume", "inspect", "--format={{.Mountpoint}}", "cache").stdout[:-1])
    assert {path.lstat().st_uid for path in (volume, *volume.rglob("*"))} == {USER}
    assert stat.S_IMODE((volume / "admin_token").stat().st_mode) == 0o600

    registry.go_down()
    second = Container(docker, tmp_path, registry.url)
    with second.serving("cache"):
        docker.run("pull", second.image)
        assert docker.run("run", "--net=none", "--rm", second.image).stdout == "A test speaks.\n"
        docker.forget(second.image)
    docker.run("volume", "rm", "cache")


def test_a_signal_makes_it_read_a_file_that_was_replaced(
    docker: Docker, registry: FakeRegistry, hello: Image, tmp_path: Path
) -> None:
    """Which it sees only because the folder is mounted."""
    container = Container(docker, tmp_path, registry.url)
    with container.serving("replaced"):
        new = container.config.with_name("new")
        new.write_text(container.config.read_text().replace("mygroup", "another"))
        new.rename(container.config)
        docker.run("kill", "--signal=HUP", container.id)
        while "the configuration was read again" not in container.log:
            time.sleep(0.05)
        name = container.image.replace("mygroup", "another")
        docker.run("pull", name)
        docker.forget(name)
    docker.run("volume", "rm", "replaced")


def test_docker_stop_lets_a_pull_end(
    docker: Docker, registry: FakeRegistry, tmp_path: Path
) -> None:
    blob, gate = bytes(range(256)) * 1024, Gate()
    digest = registry.add_blob("library/hello", blob)
    registry.misbehave(behaviours.blob_until(len(blob) // 2, "hold", gate=gate), f".*/{digest}")
    container = Container(docker, tmp_path, registry.url)
    with container.serving("drained"), ThreadPoolExecutor() as pool:
        connection = http.client.HTTPConnection("127.0.0.1", container.port)
        connection.request("GET", f"{PREFIX}/hello/blobs/{digest}")
        with connection.getresponse() as response:
            gate.reached.wait()
            stop = pool.submit(docker.run, "stop", "--time=60", container.id)
            while "shutting down: 1 requests" not in container.log:
                time.sleep(0.05)
            gate.open()
            assert response.read() == blob
        connection.close()
        stop.result()
        assert inspect(docker, container.id, "State.ExitCode") == "0"
    docker.run("volume", "rm", "drained")
