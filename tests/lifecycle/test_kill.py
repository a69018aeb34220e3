"""`kill -9` at any moment under load: what has a name is right, and what has none goes away."""

import asyncio
import hashlib
import http.client
import json
import random
import stat
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from depproxy.demo.image import make_image
from depproxy.oci.digest import Digest
from tests.fakes.registry import Exchange, FakeRegistry
from tests.lifecycle.killing import environment, kill
from tests.real.programs import ROOT, Depproxy, running
from tests.running import PREFIX
from tests.waiting import PATIENCE, undisturbed, wait_for

KILLS = 100
KILLS_AT_THE_START = 10
CLIENTS = 6
SEED = 5
NAME = "acme/app"
SIZES = (
    *(1, 2, 100, 4095, 4096, 20_000, 65_535, 65_536, 65_537, 100_000, 131_072, 200_000),
    *(300_000, 400_001, 500_000, 700_000, 1_000_000, 1_048_576, 1_500_000, 2_097_152),
)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


def ask(port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """Raises OSError or HTTPException where no whole answer comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers={"Connection": "close", **(headers or {})})
        with connection.getresponse() as response:
            return Answer(response.status, response.read())
    finally:
        connection.close()


async def slowly(exchange: Exchange) -> None:
    """A blob with pauses between its pieces, so that kills come in the middle of some."""
    if "range" in exchange.seen.headers:
        await exchange.registry.answer_honestly(exchange)
        return
    data = exchange.registry.blob(exchange.seen.path.rpartition("/")[2])
    await exchange.send_head(200, {"Content-Length": str(len(data))})
    for start in range(0, len(data), 65_536):
        await exchange.send_body(data[start : start + 65_536])
        await asyncio.sleep(0.002)


class Upstream:
    """What the registry has, and thus what every answer must be."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[Digest, bytes] = {}
        self.tags: dict[str, Digest] = {}
        self._registry = registry
        self._indexes: list[Digest] = []
        for number, size in enumerate(SIZES):
            data = random.Random(number).randbytes(size)
            self.blobs[registry.add_blob(NAME, data)] = data
        for number in range(4):
            image = make_image(f"Image {number} speaks.", {"file": bytes([number]) * 1000})
            registry.add_image(NAME, f"tag-{number}", image)
            self.blobs.update(image.blobs)
            self.manifests.update({d: body for d, (_, body) in image.manifests.items()})
            self.tags[f"tag-{number}"] = image.index
            self._indexes.append(image.index)
        registry.misbehave(slowly, ".*/blobs/.*", "GET")

    def move_a_tag(self, dice: random.Random) -> None:
        tag = dice.choice(list(self.tags))
        self.tags[tag] = dice.choice(self._indexes)
        self._registry.tag(NAME, tag, self.tags[tag])


class Checks:
    """Requests whose answers are judged. Each raises as `ask` does, and AssertionError."""

    def __init__(self, proxy: Depproxy, upstream: Upstream) -> None:
        self._proxy = proxy
        self._upstream = upstream

    def blob(self, digest: Digest, start: int | None = None) -> None:
        data = self._upstream.blobs[digest]
        headers = {} if start is None else {"Range": f"bytes={start}-"}
        answer = ask(self._proxy.port, f"{PREFIX}/{NAME}/blobs/{digest}", headers=headers)
        assert answer.status == (200 if start is None else 206)
        assert answer.body == data[start:]

    def digest(self, digest: Digest) -> None:
        answer = ask(self._proxy.port, f"{PREFIX}/{NAME}/manifests/{digest}")
        assert answer == Answer(200, self._upstream.manifests[digest])

    def tag(self, tag: str) -> None:
        answer = ask(self._proxy.port, f"{PREFIX}/{NAME}/manifests/{tag}")
        assert answer == Answer(200, self._upstream.manifests[self._upstream.tags[tag]])

    def purge(self, token: str) -> None:
        path = "/api/v4/groups/mygroup/dependency_proxy/cache"
        assert ask(self._proxy.port, path, "DELETE", {"PRIVATE-TOKEN": token}).status == 202

    def anything(self, dice: random.Random) -> None:
        match dice.randrange(8):
            case 0:
                self.tag(dice.choice(list(self._upstream.tags)))
            case 1:
                self.digest(dice.choice(list(self._upstream.manifests)))
            case 2 | 3:
                digest, data = dice.choice(list(self._upstream.blobs.items()))
                self.blob(digest, dice.randrange(len(data)))
            case _:
                self.blob(dice.choice(list(self._upstream.blobs)))

    def everything(self) -> None:
        for tag in self._upstream.tags:
            self.tag(tag)
        for digest in self._upstream.manifests:
            self.digest(digest)
        for digest in self._upstream.blobs:
            self.blob(digest)
            self.blob(digest, len(self._upstream.blobs[digest]) // 2)


@dataclass
class Load:
    """Clients that ask for anything until the server is gone."""

    checks: Checks
    token: str
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    killed: threading.Event = field(default_factory=threading.Event)
    wrong: list[BaseException] = field(default_factory=list)

    def client(self, dice: random.Random) -> None:
        while not self.killed.is_set():
            try:
                if dice.random() < 0.01:
                    self.checks.purge(self.token)
                else:
                    self.checks.anything(dice)
            except (OSError, http.client.HTTPException) as exc:
                if not self.killed.is_set():
                    self.wrong.append(exc)
                return
            except AssertionError as exc:
                self.wrong.append(exc)
                return
            self.done.release()

    @contextmanager
    def running(self, dice: random.Random) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [
                pool.submit(self.client, random.Random(dice.random())) for _ in range(CLIENTS)
            ]
            yield
        for client in clients:
            client.result()

    def wait_for_the_moment(self, dice: random.Random) -> None:
        """After some answers, after some time, or in the middle of a purge."""
        match dice.randrange(4):
            case 0 | 1:
                for _ in range(dice.randrange(40)):
                    assert self.done.acquire(timeout=PATIENCE), self.wrong
            case 2:
                time.sleep(dice.uniform(0, 0.15))
            case 3:
                for _ in range(dice.randrange(20)):
                    assert self.done.acquire(timeout=PATIENCE), self.wrong
                self.checks.purge(self.token)
                time.sleep(dice.uniform(0, 0.003))


def leftovers(data: Path) -> list[Path]:
    """Unfinished files of all groups, and what was purged but not deleted."""
    return [*data.glob("groups/*/-/partial/*"), *data.glob("trash/*")]


def wait_until_settled(data: Path) -> None:
    wait_for(lambda: undisturbed(lambda: not leftovers(data)))


def check_disk(data: Path) -> list[Path]:
    """Judge the tree of a server that does not run; returns its blobs."""
    for path in data.rglob("*"):
        if len(path.name) == 64 and path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, path
    tree = data / "groups" / "mygroup" / "-"
    blobs = [path for path in (tree / "blobs").rglob("*") if path.is_file()]
    for path in blobs:
        assert path.relative_to(tree).parts == ("blobs", "sha256", path.name[:2], path.name)
        assert len(path.name) == 64
    kept = {f"sha256:{path.name}": path for path in blobs}
    for path in (tree / "manifests").rglob("*"):
        if path.is_dir():
            continue
        document = json.loads(path.read_bytes())
        if path.suffix == ".times":
            assert document.keys() <= {"checked", "pulled"}
            assert all(when > 0 for when in document.values())
            continue
        assert path.suffix == ".json"
        if document["digest"] is not None:
            assert kept[document["digest"]].stat().st_size == document["size"]
    return blobs


@pytest.fixture
def upstream(registry: FakeRegistry) -> Upstream:
    return Upstream(registry)


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


def test_a_server_that_is_killed_under_load_loses_nothing_that_has_a_name(
    proxy: Depproxy, upstream: Upstream
) -> None:
    data = proxy.folder / "data"
    dice = random.Random(SEED)
    checks = Checks(proxy, upstream)
    met = {"partial": 0, "trash": 0, "blobs": 0}
    for _ in range(KILLS):
        upstream.move_a_tag(dice)
        with proxy.serving(env=environment()) as process:
            wait_until_settled(data)
            checks.anything(dice)
            checks.tag(dice.choice(list(upstream.tags)))
            checks.blob(dice.choice(list(upstream.blobs)))
            load = Load(checks, proxy.token)
            with load.running(dice):
                try:
                    load.wait_for_the_moment(dice)
                finally:
                    load.killed.set()
                    kill(process)
            assert not load.wrong
        met["blobs"] += bool(check_disk(data))
        met["partial"] += any(path.parent.name == "partial" for path in leftovers(data))
        met["trash"] += any(path.parent.name == "trash" for path in leftovers(data))
    print(f"of {KILLS} kills so many met something on its way: {met}")
    assert all(count >= KILLS // 20 for count in met.values()), met

    with proxy.serving(env=environment()):
        checks.everything()
        wait_until_settled(data)
    blobs = {f"sha256:{path.name}" for path in check_disk(data)}
    assert blobs == {*upstream.blobs, *upstream.manifests}
    assert not leftovers(data)
    assert "Traceback" not in proxy.log.read_text()


def test_a_server_that_is_killed_at_its_first_start_starts_again(
    tmp_path: Path, registry: FakeRegistry, upstream: Upstream
) -> None:
    dice = random.Random(SEED)
    for number in range(KILLS_AT_THE_START):
        folder = tmp_path / str(number)
        folder.mkdir()
        proxy = Depproxy(folder, registry.url)
        command = [sys.executable, str(ROOT / "server.py"), "--config", str(proxy.config)]
        with running(command, proxy.log, cwd=ROOT, env=environment()) as process:
            if number % 2:
                time.sleep(dice.uniform(0.1, 0.5))
            else:
                while not (folder / "data").exists():
                    assert process.poll() is None
                time.sleep(dice.uniform(0, 0.005))
            kill(process)
        with proxy.serving(env=environment()):
            Checks(proxy, upstream).anything(dice)
            Checks(proxy, upstream).purge(proxy.token)
            wait_until_settled(folder / "data")
        for name in ("admin_token", "token_key"):
            file = folder / "data" / name
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert len(file.read_text().strip()) >= 32
