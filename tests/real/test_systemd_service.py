"""The service as the documentation installs it, on a machine that is booted for it."""

import http.client
import json
import re
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from tests.fakes.registry import FakeRegistry
from tests.real.machine import Machine
from tests.real.programs import ROOT, Depproxy, Docker, need, run
from tests.real.steady_client import SteadyClient
from tests.running import PREFIX

pytestmark = pytest.mark.real

HIT = "depproxy; hit"


@dataclass(frozen=True)
class Service:
    """Where it runs, where it is reached, and what its upstream has as ``library/hello``."""

    machine: Machine
    proxy: Depproxy
    hello: Image

    @property
    def pid(self) -> str:
        """Of the server, as it is numbered there."""
        shown = self.machine.run("systemctl show --property=MainPID --value depproxy.service")
        return shown.stdout.strip()

    def says(self, property: str) -> str:
        return self.machine.run(f"systemctl show --value --property={property} depproxy").stdout


def documented(page: str, chapter: str) -> list[str]:
    """What root types, as it stands there: each block of commands."""
    text = (ROOT / "docs" / page).read_text().partition(f"\n## {chapter}\n")[2]
    blocks = re.findall(r"(?:^    .*\n)+", text.partition("\n## ")[0], re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Only the port, and what the configuration says, are other ones than are shipped."""
    need("systemctl", "unshare", "nsenter", "dpkg", root=True)
    folder, hello = tmp_path_factory.mktemp("machine"), make_image("Served by a service.")
    with FakeRegistry() as registry:
        registry.add_image("library/hello", "latest", hello)
        machine, proxy = Machine(folder), Depproxy(folder, registry.url)
        shipped = machine.checkout / "conf"
        text = proxy.config.read_text().replace(f"{folder / 'data'}\n", "data\n")
        (shipped / "depproxy.yml").write_text(text)
        addresses = (shipped / "depproxy.socket").read_text()
        (shipped / "depproxy.socket").write_text(addresses.replace(":8080\n", f":{proxy.port}\n"))
        with machine.booted():
            machine.run(documented("deployment.md", "Run it under systemd")[0])
            yield Service(machine, proxy, hello)


@pytest.fixture(autouse=True)
def _unhurried(service: Service) -> None:
    """systemd starts a service five times in ten seconds, and tests are quicker than people."""
    service.machine.run("systemctl reset-failed depproxy.service")


def test_docker_pulls_through_it(service: Service, tmp_path: Path) -> None:
    need("dockerd", "docker")
    assert service.says("StatusText") == "Serving 1 groups\n"
    healthy = service.machine.run("/opt/depproxy/bin/depproxy health --ready").stdout
    assert healthy == f"{service.proxy.url}: ready\n"
    name = f"{service.proxy.prefix}/hello:latest"
    with Docker(tmp_path).serving() as docker:
        docker.run("pull", name)
        assert docker.run("run", "--net=none", "--rm", name).stdout == "Served by a service.\n"
        docker.forget(name)
    as_user = "runuser -u depproxy -- /opt/depproxy/bin/depproxy"
    # In root's folder, which that user cannot look into.
    usage = json.loads(service.machine.run(f"cd /root && {as_user} usage --json").stdout)
    assert (usage[0]["manifests"], usage[0]["blobs"]) == (2, 2)


def test_it_has_no_rights_and_can_write_its_data_only(service: Service) -> None:
    process = service.machine.process(service.pid)
    status = (process / "status").read_text()
    assert "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\nSeccomp:\t2\n" in status
    assert "Uid:\t0" not in status
    for path, may in (("/var/lib/depproxy/x", True), ("/etc/x", False), ("/usr/x", False)):
        # As root, whom only the mount stands in the way of.
        done = run("nsenter", f"--target={process.name}", "--mount", "touch", path, check=False)
        assert (done.returncode == 0) == may, done.stderr


def test_a_reload_puts_another_configuration_in_force(service: Service) -> None:
    before, page = service.pid, "/groups/added/-/dependency_proxy"
    assert ask(service, page) == 404
    service.machine.run("echo '  added: {}' >> /etc/depproxy/depproxy.yml")
    service.machine.run("systemctl reload depproxy")
    while service.says("StatusText") != "Serving 2 groups; reloaded\n":
        time.sleep(0.05)
    assert (ask(service, page), service.pid) == (200, before)


def test_a_restart_refuses_no_connection(service: Service) -> None:
    layer, body = next(iter(service.hello.blobs.items()))
    stop, before = threading.Event(), service.pid
    path = f"{PREFIX}/hello/blobs/{layer}"
    clients = [
        SteadyClient(service.proxy.port, path, stop, keeps=number % 2 == 0) for number in range(4)
    ]
    for client in clients:
        client.start()
    wait_for_answers(clients, 200)
    service.machine.run("systemctl restart depproxy.service")
    wait_for_answers(clients, 200)
    stop.set()
    for client in clients:
        client.join()
    outcomes = sum((client.outcomes for client in clients), Counter[str]())
    assert set(outcomes) == {f"200, {len(body)} bytes"}
    assert service.pid != before


def wait_for_answers(clients: list[SteadyClient], more: int) -> None:
    wanted = sum(client.outcomes.total() for client in clients) + more
    while sum(client.outcomes.total() for client in clients) < wanted:
        time.sleep(0.01)


def test_an_upgrade_and_the_way_back_keep_the_cache(service: Service) -> None:
    upgrade, back = documented("operations.md", "Upgrade and roll back")
    path = f"{PREFIX}/hello/manifests/{service.hello.index}"
    before = answer(service, path).headers["Server"]
    for version in ("7.0.0", "8.0.0"):
        text = f'__version__ = "{version}"'
        service.machine.run(f"sed -i 's/^__version__ = .*/{text}/' depproxy/__init__.py")
        service.machine.run(upgrade)
        new = answer(service, path).headers
        assert (new["Server"], new["Cache-Status"]) == (f"depproxy/{version}", HIT)
    service.machine.run(back)
    old = answer(service, path).headers
    assert (old["Server"], old["Cache-Status"]) == ("depproxy/7.0.0", HIT)
    assert before not in ("depproxy/7.0.0", "depproxy/8.0.0")


def test_what_a_backup_has_comes_back(service: Service) -> None:
    need("rsync")
    save, restore = documented("operations.md", "Back up and move")
    path = f"{PREFIX}/hello/manifests/{service.hello.index}"
    assert ask(service, path) == 200
    service.machine.run(save)
    assert answer(service, path).headers["Cache-Status"] == HIT
    service.machine.run("rm -rf /var/lib/depproxy/groups/mygroup /var/lib/depproxy/token_key")
    assert "nothing wrong" in service.machine.run(restore).stdout
    assert answer(service, path).headers["Cache-Status"] == HIT


def test_it_ends_well(service: Service) -> None:
    service.machine.run("systemctl stop depproxy.service")
    ended = service.says("ActiveState,Result,ExecMainStatus")
    assert sorted(ended.split()) == ["0", "inactive", "success"]
    assert ask(service, "/-/health") == 200  # the socket has started it anew


def answer(service: Service, path: str) -> http.client.HTTPResponse:
    """Read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", service.proxy.port)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def ask(service: Service, path: str) -> int:
    return answer(service, path).status
