"""Real clients at a server with users: what they get, and what a person reads who gets nothing."""

import base64
import contextlib
import json
import re
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from depproxy.demo.image import make_image
from tests.real.programs import (
    Containerd,
    Depproxy,
    Docker,
    DockerRegistry,
    free_port,
    need,
    run,
)

pytestmark = pytest.mark.real

SENTENCE = "Pulled by who may."
IMAGE = make_image(SENTENCE)

ANN = ("ann", "anns-word")
"""May read the private group."""

BOB = ("bob", "bobs-word")
"""Exists, and may not."""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    need("docker-registry")
    upstream = DockerRegistry(tmp_path_factory.mktemp("upstream"))
    with upstream.serving():
        upstream.push("library/hello", "latest", IMAGE)
        yield upstream


@pytest.fixture(scope="module")
def proxy(upstream: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depproxy]:
    """``mygroup`` is private, ``open`` is public."""
    folder = tmp_path_factory.mktemp("proxy")
    proxy = with_users(folder, upstream, folder / "users")
    proxy.set_password(*ANN)
    proxy.set_password(*BOB)
    with proxy.serving():
        yield proxy


def with_users(
    folder: Path, upstream: DockerRegistry, users: Path, external_url: str = ""
) -> Depproxy:
    return Depproxy(
        folder,
        upstream.url,
        more=f"auth: {{users_file: {users}}}\nmirror: {{group: open}}\n",
        group="visibility: private\nreaders: [ann]\n",
        groups="open: {}\n",
        external_url=external_url,
    )


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    need("dockerd", "docker", root=True)
    with Docker(tmp_path_factory.mktemp("docker")).serving() as docker:
        yield docker


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    need("containerd", "ctr", root=True)
    with Containerd(tmp_path_factory.mktemp("containerd")).serving() as containerd:
        yield containerd


class Tap(socketserver.ThreadingTCPServer):
    """Hands connections on to another port, and keeps what clients say there."""

    daemon_threads = True  # clients keep connections open

    def __init__(self, port: int, target: int) -> None:
        super().__init__(("127.0.0.1", port), _TappedConnection)
        self.target = target
        self.heard = bytearray()


class _TappedConnection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Tap)
        with socket.create_connection(("127.0.0.1", self.server.target)) as server:
            arguments = (server, self.request, bytearray())
            answers = threading.Thread(target=_copy, args=arguments, daemon=True)
            answers.start()
            _copy(self.request, server, self.server.heard)
            answers.join()


def _copy(source: socket.socket, target: socket.socket, heard: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            heard += piece
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def tapped(
    proxy: Depproxy, upstream: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Depproxy, Tap]]:
    """A second server with the same users, whose clients are listened to; nobody gives it a wrong
    password."""
    port = free_port()
    folder = tmp_path_factory.mktemp("tapped")
    second = with_users(folder, upstream, proxy.folder / "users", f"http://127.0.0.1:{port}")
    with second.serving(), Tap(port, second.port) as tap:
        threading.Thread(target=tap.serve_forever).start()
        yield second, tap
        tap.shutdown()


def auths(registry: str, user: tuple[str, str]) -> str:
    """What `docker login` writes into its configuration."""
    return json.dumps({"auths": {registry: {"auth": basic(user)}}})


def basic(user: tuple[str, str]) -> str:
    return base64.b64encode(":".join(user).encode()).decode()


def login(
    docker: Docker, registry: str, user: tuple[str, str], config: Path, *, check: bool = True
) -> str:
    """What a person sees who signs in."""
    name, password = user
    arguments = ("login", "--username", name, "--password-stdin", registry)
    done = docker.run(*arguments, stdin=password, config=config, check=check)
    return done.stdout + done.stderr


def refusal(docker: Docker, image: str, config: Path) -> str:
    """What a person sees whose pull fails."""
    done = docker.run("pull", image, config=config, check=False)
    assert done.returncode != 0
    return done.stderr


# docker


def test_docker_without_login_is_told_to_log_in(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    said = refusal(docker, f"{proxy.prefix}/hello", tmp_path)
    assert "unauthorized: sign in, as by 'docker login'" in said


def test_a_group_that_does_not_exist_is_refused_in_the_same_words(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    nobody = refusal(docker, f"{proxy.prefix_of('nobody')}/hello", tmp_path)
    assert nobody == refusal(docker, f"{proxy.prefix}/hello", tmp_path)


def test_docker_pulls_from_a_private_group_between_login_and_logout(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    image = f"{proxy.prefix}/hello:latest"
    assert "Login Succeeded" in login(docker, proxy.host, ANN, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auths"].keys() == {proxy.host}
    docker.run("pull", image, config=tmp_path)
    assert docker.run("run", "--net=none", "--rm", image).stdout == f"{SENTENCE}\n"
    docker.forget(image)

    docker.run("logout", proxy.host, config=tmp_path)
    assert "docker login" in refusal(docker, image, tmp_path)


def test_a_wrong_password_at_docker_login_is_named_and_not_kept(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    for user in ((ANN[0], "wrong"), ("nobody", "wrong")):
        said = login(docker, proxy.host, user, tmp_path, check=False)
        assert "unauthorized: the user or the password is wrong" in said
        assert "Succeeded" not in said
    assert not (tmp_path / "config.json").exists()


def test_a_user_without_the_right_logs_in_and_finds_no_such_group(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    assert "Login Succeeded" in login(docker, proxy.host, BOB, tmp_path)
    said = refusal(docker, f"{proxy.prefix}/hello", tmp_path)
    assert "name unknown: there is no group 'mygroup' on this server" in said


def test_a_public_group_needs_no_login_where_there_are_users(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    image = f"{proxy.prefix_of('open')}/hello:latest"
    docker.run("pull", image, config=tmp_path)
    assert docker.run("run", "--net=none", "--rm", image).stdout == f"{SENTENCE}\n"
    docker.forget(image)


def test_a_stored_password_that_has_become_wrong_is_named_at_every_pull(
    docker: Docker, proxy: Depproxy, tmp_path: Path
) -> None:
    """At a public group's, too: docker sends it for a token, and goes no further without one."""
    (tmp_path / "config.json").write_text(auths(proxy.host, (ANN[0], "old-word")))
    for group in ("mygroup", "open"):
        said = refusal(docker, f"{proxy.prefix_of(group)}/hello", tmp_path)
        assert "unauthorized: the user or the password is wrong" in said
    docker.run("logout", proxy.host, config=tmp_path)
    image = f"{proxy.prefix_of('open')}/hello:latest"
    docker.run("pull", image, config=tmp_path)
    docker.forget(image)


def test_who_is_taken_from_the_readers_is_refused_in_spite_of_his_login(
    docker: Docker, proxy: Depproxy, upstream: DockerRegistry, tmp_path: Path
) -> None:
    own = with_users(tmp_path, upstream, proxy.folder / "users")
    image = f"{own.prefix}/hello:latest"
    config = tmp_path / "docker"
    with own.serving():
        login(docker, own.host, ANN, config)
        docker.run("pull", image, config=config)
        docker.forget(image)
    text = own.config.read_text()
    own.config.write_text(text.replace("readers: [ann]", "readers: []"))
    upstream.forget()
    with own.serving():
        assert "there is no group 'mygroup'" in refusal(docker, image, config)
    assert upstream.asked() == []


def test_docker_pulls_through_a_mirror_that_leaves_its_docker_hub_password_alone(
    tapped: tuple[Depproxy, Tap], tmp_path: Path
) -> None:
    need("dockerd", "docker", root=True)
    proxy, tap = tapped
    hub_user = ("hub-user", "hub-password")
    config = tmp_path / "hub"
    config.mkdir()
    (config / "config.json").write_text(auths("https://index.docker.io/v1/", hub_user))
    with Docker(tmp_path, mirror=f"http://127.0.0.1:{tap.server_address[1]}").serving() as docker:
        docker.run("pull", "hello:latest")
        assert basic(hub_user).encode() not in tap.heard
        docker.forget("hello:latest")
        docker.run("pull", "hello:latest", config=config)
        said = docker.run("run", "--net=none", "--rm", "hello:latest").stdout
    assert said == f"{SENTENCE}\n"
    assert basic(hub_user).encode() in tap.heard  # dockerd did send it
    log = proxy.log.read_text()
    assert "GET /v2/library/hello/blobs/" in log
    assert not any(word in log for word in (*hub_user, basic(hub_user), "WARNING", "ERROR"))


# podman and skopeo


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return policy


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """The command with storage of its own; it takes no run root of more than 50 characters."""
    need("podman", root=True)
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        command = ["podman", "--root", str(tmp_path / "root"), "--runroot", f"{short}/run"]
        yield [*command, "--storage-driver", "vfs"]


def test_podman_pulls_from_a_private_group_after_login_only(
    podman: list[str], proxy: Depproxy, policy: Path, tmp_path: Path
) -> None:
    authfile = tmp_path / "auth.json"
    authfile.write_text("{}")
    there = ["--authfile", str(authfile), "--tls-verify=false"]
    sign_in = [*podman, "login", *there, "--username", ANN[0], "--password-stdin", proxy.host]
    image = f"{proxy.prefix}/hello:latest"
    pull = [*podman, "pull", *there, "--signature-policy", str(policy), image]

    assert "unauthorized: sign in, as by 'docker login'" in run(*pull, check=False).stderr
    assert "invalid username/password" in run(*sign_in, stdin="wrong", check=False).stderr

    assert "Login Succeeded" in run(*sign_in, stdin=ANN[1]).stdout
    run(*pull)
    shown = json.loads(run(*podman, "image", "inspect", image).stdout)
    assert shown[0]["RepoDigests"]


def test_skopeo_copies_from_a_private_group_with_credentials_only(
    proxy: Depproxy, policy: Path, tmp_path: Path
) -> None:
    need("skopeo")
    skopeo = ["skopeo", "--policy", str(policy)]
    source = f"docker://{proxy.prefix}/hello:latest"
    target = tmp_path / "copied"
    credentials = ["--src-tls-verify=false", "--src-creds", ":".join(ANN)]
    run(*skopeo, "copy", "--all", *credentials, source, f"dir:{target}")
    assert {digest.hex for digest in IMAGE.blobs} <= {path.name for path in target.iterdir()}

    inspect = [*skopeo, "inspect", "--tls-verify=false"]
    refused = run(*inspect, "--no-creds", source, check=False)
    assert refused.returncode != 0
    assert "unauthorized: sign in, as by 'docker login'" in refused.stderr
    wrong = run(*inspect, "--creds", "ann:wrong", source, check=False)
    assert "unauthorized: the user or the password is wrong" in wrong.stderr


def test_an_auths_entry_written_by_hand_is_as_good_as_a_login(
    docker: Docker, proxy: Depproxy, policy: Path, tmp_path: Path
) -> None:
    """The form of GitLab's ``DOCKER_AUTH_CONFIG`` and of Kubernetes' secrets."""
    need("skopeo")
    file = tmp_path / "config.json"
    file.write_text(auths(proxy.host, ANN))
    image = f"{proxy.prefix}/hello:latest"
    docker.run("pull", image, config=tmp_path)
    docker.forget(image)
    skopeo = ["skopeo", "--policy", str(policy), "inspect", "--tls-verify=false"]
    shown = json.loads(run(*skopeo, "--authfile", str(file), f"docker://{image}").stdout)
    assert shown["RepoTags"] == ["latest"]


# containerd


def test_ctr_pulls_from_a_private_group_with_a_user_only(
    containerd: Containerd, proxy: Depproxy
) -> None:
    image = f"{proxy.prefix}/hello:latest"
    pull = ["images", "pull", "--snapshotter", "native", "--plain-http"]
    refused = containerd.ctr(*pull, image, check=False)
    assert refused.returncode != 0
    assert "401 Unauthorized" in refused.stderr  # containerd shows no body of a HEAD
    wrong = containerd.ctr(*pull, "--user", "ann:wrong", image, check=False)
    assert "401 Unauthorized" in wrong.stderr
    strange = containerd.ctr(*pull, "--user", ":".join(BOB), image, check=False)
    assert f"{image}: not found" in strange.stderr

    containerd.ctr(*pull, "--user", ":".join(ANN), image)
    check_stored(containerd, image)


def test_containerd_gets_a_token_for_a_private_group_in_spite_of_its_second_scope(
    containerd: Containerd, tapped: tuple[Depproxy, Tap], tmp_path: Path
) -> None:
    """With `hosts.toml` it asks for the repository of the image's name and for the challenge's."""
    _, tap = tapped
    image = "docker.io/library/hello:latest"
    hosts = write_hosts(tmp_path, f"http://127.0.0.1:{tap.server_address[1]}")
    pull = ["images", "pull", "--snapshotter", "native", "--hosts-dir", str(hosts)]
    assert "401 Unauthorized" in containerd.ctr(*pull, image, check=False).stderr

    containerd.ctr(*pull, "--user", ":".join(ANN), image)
    check_stored(containerd, image)
    asked = re.findall(rb"grant_type=password&\S*?scope=([^&\s]+)", tap.heard)
    assert asked
    for scopes in (set(unquote_plus(found.decode()).split(" ")) for found in asked):
        assert scopes == {
            "repository:library/hello:pull",
            "repository:mygroup/dependency_proxy/containers/library/hello:pull",
        }


def test_containerd_pulls_from_a_private_group_with_a_header_of_hosts_toml(
    containerd: Containerd, proxy: Depproxy, tmp_path: Path
) -> None:
    image = "docker.io/library/hello:latest"
    hosts = write_hosts(tmp_path, proxy.url, ANN)
    pull = ["images", "pull", "--snapshotter", "native", "--hosts-dir", str(hosts)]
    containerd.ctr(*pull, image)
    check_stored(containerd, image)


def write_hosts(folder: Path, url: str, user: tuple[str, str] | None = None) -> Path:
    """The folder of a `hosts.toml` that has Docker Hub's images in the private group."""
    host = f'host."{url}/v2/mygroup/dependency_proxy/containers"'
    lines = ['server = "https://docker.io.invalid"', f"[{host}]"]
    lines += ['capabilities = ["pull", "resolve"]', "override_path = true"]
    if user:
        lines += [f"[{host}.header]", f'Authorization = "Basic {basic(user)}"']
    file = folder / "hosts" / "docker.io" / "hosts.toml"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines))
    return folder / "hosts"


def check_stored(containerd: Containerd, image: str) -> None:
    """containerd has the image; forget it with its layers."""
    assert str(IMAGE.index) in containerd.ctr("images", "list", f"name=={image}").stdout
    containerd.ctr("images", "remove", "--sync", image)
