"""`kill -9` in the middle of image purges: what was begun is finished, and nothing else goes."""

import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.lifecycle.killing import environment, kill
from tests.real.programs import Depproxy
from tests.running import PREFIX
from tests.waiting import PATIENCE, undisturbed, wait_for

KILLS = 20
SEED = 11
API = "/api/v4/groups/mygroup/dependency_proxy"
PURGED = [f"acme/app-{number}" for number in range(3)]
KEPT = "acme/kept"
"""An image that nobody clears, and that shares layers with all others."""

TAGS = ("v0", "v1")
SHARED = 8
OWN = 8
"""Layers that all images have, and that a tag has alone: removing them takes a while."""


@dataclass
class Upstream:
    """What the registry has: for each image and tag its manifest, and the bytes of everything."""

    tags: dict[tuple[str, str], Digest] = field(default_factory=dict)
    bodies: dict[Digest, bytes] = field(default_factory=dict)


@pytest.fixture
def upstream(registry: FakeRegistry) -> Upstream:
    known = Upstream()
    shared = [layer(number, 500) for number in range(SHARED)]
    for position, name in enumerate((*PURGED, KEPT)):
        for tag in TAGS:
            first = 1000 * (1 + position) + 100 * TAGS.index(tag)
            own = [layer(first + number, 500) for number in range(OWN)]
            digest = add_manifest(registry, name, *shared, *own, tag=tag)
            body = registry.content(f"/v2/{name}/manifests/{digest}").body
            known.tags[name, tag] = digest
            known.bodies[digest] = body
            for part in contents_of(body).parts:
                known.bodies[part.digest] = registry.blob(part.digest)
    return known


class Client:
    """Asks over one connection, and judges every answer."""

    def __init__(self, proxy: Depproxy, upstream: Upstream) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        headers = {"PRIVATE-TOKEN": self._proxy.token} if path.startswith("/api/") else {}
        self._connection.request(method, path, headers=headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def pull(self, name: str, tag: str) -> None:
        digest = self._upstream.tags[name, tag]
        body = self._upstream.bodies[digest]
        assert self.ask(f"{PREFIX}/{name}/manifests/{tag}") == (200, body)
        assert self.ask(f"{PREFIX}/{name}/manifests/{digest}") == (200, body)
        for part in contents_of(body).parts:
            expected = self._upstream.bodies[part.digest]
            assert self.ask(f"{PREFIX}/{name}/blobs/{part.digest}") == (200, expected)

    def pull_everything(self) -> None:
        for name, tag in self._upstream.tags:
            self.pull(name, tag)

    def purge(self, name: str, reference: str = "") -> None:
        query = {"image": name, **({"reference": reference} if reference else {})}
        assert self.ask(f"{API}/cache?{urlencode(query)}", "DELETE")[0] == 202

    def purge_something(self, dice: random.Random) -> None:
        name, tag = dice.choice(PURGED), dice.choice(TAGS)
        self.purge(name, dice.choice(("", "", tag, self._upstream.tags[name, tag])))

    def is_counted(self) -> bool:
        return "exact" not in json.loads(self.ask(API)[1])


@dataclass
class Load:
    """Clients that go on until the server is gone."""

    killed: threading.Event = field(default_factory=threading.Event)
    purges: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    wrong: list[BaseException] = field(default_factory=list)

    @contextmanager
    def running(self, *acts: Callable[[], None]) -> Iterator[None]:
        with ThreadPoolExecutor(len(acts)) as pool:
            for act in acts:
                pool.submit(self._repeat, act)
            try:
                yield
            finally:
                self.killed.set()

    def _repeat(self, act: Callable[[], None]) -> None:
        while not self.killed.is_set():
            try:
                act()
            except (OSError, http.client.HTTPException) as exc:
                if not self.killed.wait(PATIENCE):
                    self.wrong.append(exc)
            except AssertionError as exc:
                self.wrong.append(exc)
                return


# -- the disk ------------------------------------------------------------------------------------


def tree_of(proxy: Depproxy) -> Path:
    return proxy.folder / "data" / "groups" / "mygroup" / "-"


def leftovers(proxy: Depproxy) -> list[Path]:
    """What is on its way: in, or out."""
    tree = tree_of(proxy)
    trash = proxy.folder / "data" / "trash"
    return [*tree.glob("partial/*"), *tree.glob("removed/*"), *trash.glob("*")]


def wait_until_settled(proxy: Depproxy, client: Client) -> None:
    """All is counted, and all that was begun is finished."""
    wait_for(lambda: client.is_counted() and not undisturbed(lambda: leftovers(proxy)))


def blobs_of(proxy: Depproxy) -> dict[Digest, bytes]:
    """Every blob on disk; each must be what its name says."""
    found = {}
    for path in (tree_of(proxy) / "blobs").glob("*/*/*"):
        body = path.read_bytes()
        assert hashlib.sha256(body).hexdigest() == path.name
        found[Digest(f"sha256:{path.name}")] = body
    return found


def meant_by(proxy: Depproxy) -> dict[str, Digest]:
    """Every pointer, and the manifest that it means; none may be unreadable."""
    top = tree_of(proxy) / "manifests"
    found = {}
    for path in top.rglob("*.json"):
        digest = json.loads(path.read_bytes())["digest"]
        if digest:
            found[str(path.relative_to(top))] = Digest(digest)
    return found


def check_nothing_is_lost_or_left(proxy: Depproxy) -> None:
    """Just what pointers lead to is there, and all of that: everything had been pulled."""
    blobs, manifests = blobs_of(proxy), set(meant_by(proxy).values())
    assert manifests <= set(blobs)
    parts = {part.digest for digest in manifests for part in contents_of(blobs[digest]).parts}
    assert set(blobs) == manifests | parts


# -- the rules -----------------------------------------------------------------------------------


@pytest.fixture
def proxy(tmp_path: Path, registry: FakeRegistry) -> Depproxy:
    return Depproxy(tmp_path, registry.url)


Connect = Callable[[], Client]


@pytest.fixture
def connect(proxy: Depproxy, upstream: Upstream) -> Iterator[Connect]:
    """Clients, closed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Client(proxy, upstream)))


def purging(connect: Connect, dice: random.Random, load: Load) -> Callable[[], None]:
    client, own = connect(), random.Random(dice.random())

    def act() -> None:
        client.purge_something(own)
        load.purges.release()

    return act


def keeping(connect: Connect) -> Callable[[], None]:
    client = connect()
    return lambda: client.pull(KEPT, "v0")


def pulling(connect: Connect, dice: random.Random) -> Callable[[], None]:
    client, own = connect(), random.Random(dice.random())
    return lambda: client.pull(own.choice(PURGED), own.choice(TAGS))


def test_purges_that_a_kill_interrupts_are_finished_and_take_nothing_else(
    proxy: Depproxy, connect: Connect
) -> None:
    dice = random.Random(SEED)
    interrupted = 0
    for _ in range(KILLS):
        with proxy.serving(env=environment()) as process:
            client = connect()
            wait_until_settled(proxy, client)
            check_nothing_is_lost_or_left(proxy)
            client.pull_everything()
            wait_until_settled(proxy, client)
            load = Load()
            purges = [purging(connect, dice, load) for _ in range(3)]
            with load.running(*purges, keeping(connect), keeping(connect)):
                for _ in range(dice.randrange(3)):
                    load.purges.acquire()
                time.sleep(dice.uniform(0, 0.006))
                load.killed.set()
                kill(process)
            assert not load.wrong
        interrupted += any(path.parent.name == "removed" for path in leftovers(proxy))
        blobs_of(proxy)
    print(f"{interrupted} of {KILLS} kills came in the middle of a removal")
    assert interrupted >= KILLS // 4
    with proxy.serving(env=environment()):
        wait_until_settled(proxy, connect())
        check_nothing_is_lost_or_left(proxy)
    assert "Traceback" not in proxy.log.read_text()


def test_kills_amid_purges_and_pulls_leave_what_can_be_pulled_and_cleared(
    proxy: Depproxy, upstream: Upstream, connect: Connect
) -> None:
    """A blob that arrives after its image was cleared stays: the next pull finds it. When all was
    pulled again, clearing all leaves nothing."""
    dice = random.Random(SEED)
    for _ in range(KILLS // 2):
        with proxy.serving(env=environment()) as process:
            wait_until_settled(proxy, connect())
            load = Load()
            purges = [purging(connect, dice, load) for _ in range(2)]
            pulls = [pulling(connect, dice) for _ in range(4)]
            with load.running(*purges, *pulls):
                for _ in range(dice.randrange(10)):
                    load.purges.acquire()
                time.sleep(dice.uniform(0, 0.02))
                load.killed.set()
                kill(process)
            assert not load.wrong
        assert set(blobs_of(proxy)) <= set(upstream.bodies)
    with proxy.serving(env=environment()):
        client = connect()
        wait_until_settled(proxy, client)
        client.pull_everything()
    check_nothing_is_lost_or_left(proxy)
    with proxy.serving(env=environment()):
        client = connect()
        wait_until_settled(proxy, client)
        for name in (*PURGED, KEPT):
            client.purge(name)
        wait_until_settled(proxy, client)
    assert not blobs_of(proxy)
    assert not meant_by(proxy)
    assert "Traceback" not in proxy.log.read_text()


def test_a_kill_right_after_the_answer_loses_no_purge(proxy: Depproxy, connect: Connect) -> None:
    """What was answered with 202 is gone, whatever comes."""
    for name in PURGED[:2]:
        with proxy.serving(env=environment()) as process:
            client = connect()
            wait_until_settled(proxy, client)
            client.pull_everything()
            wait_until_settled(proxy, client)
            client.purge(name)
            kill(process)
        assert not [path for path in meant_by(proxy) if f"/{name}/-/" in path]
        with proxy.serving(env=environment()):
            wait_until_settled(proxy, connect())
            assert not [path for path in meant_by(proxy) if f"/{name}/-/" in path]
            check_nothing_is_lost_or_left(proxy)
