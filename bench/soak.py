"""A soak: mixed pulls, purges and faults for minutes, and then a look at what is left.

``PYTHONPATH=. python bench/soak.py --minutes 10``, in an environment with the tests' dependencies.
Exits 1 if a client got wrong bytes, if anything wrong or unfinished is on the disk at the end, if
descriptors or tasks were lost, or if memory grew.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import random
import re
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from depproxy.demo.image import make_image
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy

CLIENTS = 6
IMAGES = 60
FAULT_EVERY = 5.0
"""Seconds between two changes of the upstream's behaviour; half of the time it is well."""

FEW = 3
"""Open files more than at the start: folders of purged generations that an error's traceback holds
until Python's collector runs."""

FAULTS: dict[str, Callable[[], behaviours.Behaviour]] = {
    "reset": behaviours.reset,
    "503": lambda: behaviours.status(503),
    "429": lambda: behaviours.status(429),
    "404": lambda: behaviours.status(404),
    "truncated": lambda: behaviours.blob_until(10_000, "close"),
    "wrong bytes": lambda: behaviours.blob_bytes(b"wrong" * 10_000),
    "stalled": lambda: behaviours.blob_until(10_000, "hang"),
}

Plan = list[tuple[str, str, dict[str, str]]]
"""For each image: name, digest of its index, and digest → path of all that can be asked for."""


def upstream(pipe: Connection) -> None:
    """The registry in a process of its own; told which fault to have next."""
    source = random.Random(1)
    with FakeRegistry() as registry:
        plan: Plan = []
        for number in range(IMAGES):
            name = f"acme/image-{number}"
            layer = source.randbytes(int(10 ** source.uniform(0, 6.6)))
            image = make_image(f"Image {number}.", {"file": layer})
            registry.add_image(name, "latest", image)
            paths = {str(digest): f"manifests/{digest}" for digest in image.manifests}
            paths |= {str(digest): f"blobs/{digest}" for digest in image.blobs}
            plan.append((name, str(image.index), paths))
        pipe.send((registry.port, plan))
        while fault := pipe.recv():
            registry.behave()
            registry.requests.clear()
            if fault != "well":
                registry.misbehave(FAULTS[fault](), ".*/blobs/.*" if "d" in fault else ".*")


class Crowd:
    """Clients in threads, and what they saw."""

    def __init__(self, proxy: Depproxy, plan: Plan) -> None:
        self.seen: Counter[str] = Counter()
        self.stop = threading.Event()
        self._proxy = proxy
        self._plan = plan
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        while not self.stop.is_set():
            if chance.random() < 0.002:
                self._proxy.purge()
                self.seen["purges"] += 1
                continue
            name, index, paths = chance.choice(self._plan)
            digest, path = chance.choice([*paths.items(), (index, "manifests/latest")])
            headers = {"Range": f"bytes={chance.randrange(1000)}-"} if chance.random() < 0.1 else {}
            leaves = chance.random() < 0.1
            try:
                self._ask(f"{name}/{path}", digest, headers, leaves)
            except (OSError, http.client.HTTPException):
                self.seen["cut"] += 1

    def _ask(self, path: str, digest: str, headers: dict[str, str], leaves: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=60)
        try:
            prefix = "/v2/mygroup/dependency_proxy/containers/"
            connection.request("GET", prefix + path, headers=headers)
            response = connection.getresponse()
            if leaves:
                response.read(100)
                self.seen["left"] += 1
                return
            body = response.read()
        finally:
            connection.close()
        self.seen[str(response.status)] += 1
        if response.status == 200 and f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            self.seen["WRONG BYTES"] += 1


def memory_of(pid: int) -> int:
    """Resident memory in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def descriptors_of(pid: int) -> tuple[int, int]:
    """Open files, and sockets: those to the upstream are kept for the next request."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = sum(1 for link in links if link.startswith("socket:"))
    return len(links) - sockets, sockets


def warm_up(proxy: Depproxy, plan: Plan) -> None:
    """One image, so that what is opened once and kept is open."""
    name, _, paths = plan[0]
    for path in paths.values():
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        connection.request("GET", f"/v2/mygroup/dependency_proxy/containers/{name}/{path}")
        connection.getresponse().read()
        connection.close()
    time.sleep(1)


def tasks_at_the_end(proxy: Depproxy) -> int:
    """What the server said of itself when it was told to stop."""
    said = re.findall(r"running, (\d+) tasks in all", proxy.log.read_text())
    return int(said[-1])


def leftovers(tree: Path) -> list[str]:
    """What is wrong on the disk."""
    blobs = [path for path in (tree / "blobs").rglob("*") if path.is_file()]
    wrong = [blob for blob in blobs if _hash(blob) != blob.name]
    return [str(path) for path in [*(tree / "partial").glob("*"), *wrong]]


def _hash(blob: Path) -> str:
    return hashlib.sha256(blob.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    seconds = 60 * parser.parse_args().minutes
    spawn = multiprocessing.get_context("spawn")
    pipe, theirs = spawn.Pipe()
    registry = spawn.Process(target=upstream, args=(theirs,), daemon=True)
    registry.start()
    port, plan = pipe.recv()
    chance = random.Random(2)
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        extra = "stall_timeout: 2s\nrevalidate_timeout: 500ms"
        proxy = Depproxy(Path(folder), f"http://127.0.0.1:{port}", extra=extra)
        with proxy.serving():
            time.sleep(1)
        first_tasks = tasks_at_the_end(proxy)
        with proxy.serving() as process:
            warm_up(proxy, plan)
            first_files, first_sockets = descriptors_of(process.pid)
            begun = time.monotonic()
            with Crowd(proxy, plan) as crowd:
                changed = 0.0
                while (passed := time.monotonic() - begun) < seconds:
                    if passed - changed > FAULT_EVERY:
                        changed = passed
                        well = chance.random() < 0.5
                        fault = "well" if well else chance.choice(list(FAULTS))
                        crowd.seen[f"upstream: {fault}"] += 1
                        pipe.send(fault)
                    memory.append(memory_of(process.pid))
                    time.sleep(1)
                pipe.send("well")
            time.sleep(20)  # fills under way end, idle upstream connections stay
            last_files, last_sockets = descriptors_of(process.pid)
            wrong = leftovers(proxy.folder / "data/groups/mygroup/-")
            wrong += [str(path) for path in (proxy.folder / "data/trash").iterdir()]
        last_tasks = tasks_at_the_end(proxy)
    pipe.send("")
    registry.join()
    second = statistics.median(memory[60:120] or memory)
    last = statistics.median(memory[-60:])
    for what, count in sorted(crowd.seen.items()):
        print(f"{what:30} {count}")
    print(f"memory, minute two -> last     {second} -> {last} KiB ({last / second:.2f}x)")
    print(f"open files, start -> end       {first_files} -> {last_files}")
    print(f"sockets, start -> end          {first_sockets} -> {last_sockets}")
    print(f"tasks, idle before -> after     {first_tasks} -> {last_tasks}")
    print(f"wrong or left over on disk     {wrong}")
    broken = crowd.seen["WRONG BYTES"] or wrong or last > 1.1 * second or last_tasks > first_tasks
    lost = last_files > first_files + FEW or last_sockets > first_sockets + 32
    return 1 if broken or lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
