"""One download for a hundred clients, in little memory: everybody in a process of his own."""

import hashlib
import http.client
import multiprocessing
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from depproxy.oci.digest import Digest
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy

MIB = 2**20
LIMIT_KIB = 100_000
PATH = "/v2/mygroup/dependency_proxy/containers/acme/big/blobs/"


def upstream(layer: Path, pipe: Connection) -> None:
    """A registry with one layer; tells its port and, at the end, what it sent."""
    with FakeRegistry() as registry:
        digest = registry.add_blob("acme/big", layer.read_bytes())
        pipe.send(registry.port)
        pipe.recv()
        pipe.send((len(registry.asked("GET")), registry.sent[f"/v2/acme/big/blobs/{digest}"]))


def client(port: int, digest: str, start: int, leave_after: int | None) -> str:
    """The digest of what came from ``start`` on; empty for one who leaves."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Range": f"bytes={start}-"} if start else {}
    connection.request("GET", PATH + digest, headers=headers)
    response = connection.getresponse()
    hasher, seen = hashlib.sha256(), 0
    while piece := response.read(MIB):
        hasher.update(piece)
        seen += len(piece)
        if leave_after is not None and seen >= leave_after:
            connection.close()
            return ""
    connection.close()
    return hasher.hexdigest()


def clients(
    port: int, digest: str, plans: "list[tuple[int, int | None]]", pipe: Connection
) -> None:
    with ThreadPoolExecutor(len(plans)) as pool:
        asked = [pool.submit(client, port, digest, *plan) for plan in plans]
        pipe.send([future.result() for future in asked])


def peak_memory(pid: int) -> int:
    """VmHWM in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1])


@pytest.mark.parametrize(
    ("size", "plans"),
    [
        (
            100 * MIB,
            [(0, None)] * 60 + [(0, 20 * MIB)] * 20 + [(n * 3 * MIB + 1, None) for n in range(20)],
        ),
        (1024 * MIB, [(0, None)]),
    ],
    ids=["a hundred clients", "one gibibyte"],
)
def test_the_upstream_sends_once_and_memory_stays_small(
    tmp_path: Path, size: int, plans: "list[tuple[int, int | None]]"
) -> None:
    layer = tmp_path / "layer"
    piece = random.Random(5).randbytes(MIB)
    hasher = hashlib.sha256()
    with layer.open("wb") as file:
        for number in range(size // MIB):
            file.write(changed := number.to_bytes(8, "big") + piece[8:])
            hasher.update(changed)
    digest = Digest(f"sha256:{hasher.hexdigest()}")
    spawn = multiprocessing.get_context("spawn")
    registry_pipe, theirs = spawn.Pipe()
    registry = spawn.Process(target=upstream, args=(layer, theirs), daemon=True)
    registry.start()
    proxy = Depproxy(tmp_path, f"http://127.0.0.1:{registry_pipe.recv()}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    with proxy.serving(env=environment) as process:
        clients_pipe, theirs = spawn.Pipe()
        crowd = spawn.Process(target=clients, args=(proxy.port, digest, plans, theirs), daemon=True)
        crowd.start()
        results = clients_pipe.recv()
        crowd.join()
        memory = peak_memory(process.pid)
    registry_pipe.send("enough")
    requests, sent = registry_pipe.recv()
    registry.join()

    for (start, leave_after), result in zip(plans, results, strict=True):
        assert result == ("" if leave_after is not None else digest_from(layer, start))
    assert (requests, sent) == (1, size)
    print(f"VmHWM {memory} KiB; the upstream sent {sent / size:.2f} times the blob")
    assert memory < LIMIT_KIB


def digest_from(layer: Path, start: int) -> str:
    hasher = hashlib.sha256()
    with layer.open("rb") as file:
        file.seek(start)
        while piece := file.read(MIB):
            hasher.update(piece)
    return hasher.hexdigest()
