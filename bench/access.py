"""What it costs a hit to ask who comes: the same manifest by digest, interleaved, by wrk.

    PYTHONPATH=. python bench/access.py [--rounds 7] [--seconds 3]

Needs Debian's `wrk`. Prints medians of requests per second and of CPU time per request, and both as
ratios to a server without users.
"""

import argparse
import base64
import json
import os
import re
import statistics
import subprocess
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import bcrypt

from depproxy.demo.image import make_image
from tests.fakes.registry import FakeRegistry
from tests.real.programs import Depproxy

BASELINE = "no users"
CONNECTIONS = "16"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        registry = stack.enter_context(FakeRegistry())
        image = make_image("A benchmark speaks.")
        registry.add_image("library/hello", "latest", image)
        users = folder / "users"
        users.write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
        auth = f"auth: {{users_file: {users}}}\n"
        open_one = _serve(stack, folder / "open", registry.url, "", "")
        public = _serve(stack, folder / "public", registry.url, "", auth)
        private = _serve(
            stack, folder / "private", registry.url, "visibility: private\nreaders: [ann]", auth
        )
        basic = "Basic " + base64.b64encode(b"ann:secret").decode()
        scope = "repository:mygroup/dependency_proxy/containers/hello:pull"
        token = "Bearer " + _token(private[0].url, scope, basic)
        cases = {
            BASELINE: (*open_one, ""),
            "users, public group": (*public, ""),
            "private group, token": (*private, token),
            "private group, Basic": (*private, basic),
        }
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, (proxy, pid, header) in cases.items():
                results[name].append(_measure(proxy, pid, header, image.index, options.seconds))
        _print(results)


def _serve(
    stack: ExitStack, folder: Path, upstream: str, group: str, more: str
) -> tuple[Depproxy, int]:
    folder.mkdir()
    proxy = Depproxy(folder, upstream, group=group, more=more)
    return proxy, stack.enter_context(proxy.serving()).pid


def _token(url: str, scope: str, basic: str) -> str:
    asked = urllib.request.Request(
        f"{url}/jwt/auth?scope={scope}", headers={"Authorization": basic}
    )
    with urllib.request.urlopen(asked) as reply:
        return str(json.load(reply)["token"])


def _measure(
    proxy: Depproxy, pid: int, header: str, digest: str, seconds: int
) -> tuple[float, float]:
    """Requests per second, and CPU microseconds of the server for each."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    command += ["-H", f"Authorization: {header}"] if header else []
    url = f"{proxy.url}/v2/mygroup/dependency_proxy/containers/hello/manifests/{digest}"
    before = _cpu(pid)
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    spent = _cpu(pid) - before
    assert "Non-2xx" not in said, said
    rate = re.search(r"Requests/sec: +([0-9.]+)", said)
    count = re.search(r"([0-9]+) requests in", said)
    assert rate
    assert count
    return float(rate[1]), spent / int(count[1]) * 1e6


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(results: dict[str, list[tuple[float, float]]]) -> None:
    medians = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True))
        for name, runs in results.items()
    }
    base = medians[BASELINE]
    print(f"{'':24}{'req/s':>8}{'ratio':>8}{'CPU µs':>8}{'ratio':>8}")
    for name, (rate, cpu) in medians.items():
        print(f"{name:24}{rate:8.0f}{rate / base[0]:8.2f}{cpu:8.0f}{cpu / base[1]:8.2f}")


if __name__ == "__main__":
    main()
