"""A server with a past: images of all kinds, and a month of hits and misses."""

import json
import os
import random
import time
from pathlib import Path

from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.fakes.registry import FakeRegistry
from tests.running import RunningServer

HOUR = 3600
DAY = 24 * HOUR

_MB = 1_000_000

IMAGES: tuple[tuple[str, str, float, float, float], ...] = (
    ("library/alpine", "3.22", 3.6, 12 * DAY, 4 * 60),
    ("library/alpine", "latest", 3.7, 3 * DAY, 50 * 60),
    ("library/nginx", "1.29-alpine", 20.1, 25 * DAY, 2 * DAY),
    ("library/node", "24-bookworm-slim", 31.4, 40 * DAY, 8 * HOUR),
    ("library/postgres", "17", 28.2, 90 * DAY, 6 * HOUR),
    ("library/python", "3.13-slim", 18.9, 6 * DAY, 12),
    ("grafana/grafana", "12.1.0", 24.0, 62 * DAY, 20 * DAY),
    ("linuxserver/nextcloud", "32.0", 26.5, 5 * HOUR, 5 * HOUR),
)
"""Name, tag, megabytes, and for how many seconds it is cached and was not pulled."""

MACHINES = (
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm64", "variant": "v8"},
)


def stock(registry: FakeRegistry) -> None:
    for name, tag, megabytes, _, _ in IMAGES:
        variants = [
            {**_manifest(registry, name, tag, machine, megabytes), "platform": machine}
            for machine in MACHINES
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": variants}
        registry.add_manifest(name, json.dumps(index).encode(), OCI_INDEX, tag=tag)


def _manifest(
    registry: FakeRegistry, name: str, tag: str, machine: dict[str, str], megabytes: float
) -> dict[str, object]:
    """One platform's, with a layer of bytes that are the same each time."""
    seed = random.Random(f"{name}:{tag} {machine}")
    parts = [
        {"mediaType": kind, "digest": registry.add_blob(name, data), "size": len(data)}
        for kind, data in (
            ("application/vnd.oci.image.config.v1+json", json.dumps(machine).encode()),
            ("application/vnd.oci.image.layer.v1.tar", seed.randbytes(int(megabytes * _MB / 8))),
        )
    ]
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": parts[0],
            "layers": parts[1:],
        }
    ).encode()
    digest = registry.add_manifest(name, body, OCI_MANIFEST)
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(body)}


def pull(server: RunningServer, name: str, reference: str, variants: int = 1) -> None:
    """The index, and the first platforms of it, as a client does."""
    index = server.manifest(name, reference).json
    for entry in index["manifests"][:variants]:
        manifest = server.manifest(name, entry["digest"]).json
        for part in (manifest["config"], *manifest["layers"]):
            assert server.blob(name, part["digest"]).status == 200
    server.settle()


def fill(server: RunningServer) -> None:
    for number, (name, tag, *_) in enumerate(IMAGES):
        pull(server, name, tag, 1 + number % 2)


def age(data: Path) -> None:
    """Let a stopped server's images be as old as `IMAGES` says, and give it a past."""
    now = time.time()
    tree = data / "groups" / "mygroup" / "-"
    for name, tag, _, cached, pulled in IMAGES:
        folder = tree / "manifests" / "docker.io" / name / "-"
        file = folder / "tags" / f"{tag}.json"
        os.utime(file, (now - cached, now - cached))
        times = {"checked": now - pulled, "pulled": now - pulled}
        file.with_suffix("").with_name(f"{tag}.times").write_text(json.dumps(times))
        for other in (folder / "digests").rglob("*.times"):
            other.write_text(json.dumps({"pulled": now - pulled}))
    for blob in (tree / "blobs").rglob("*"):
        os.utime(blob, ns=(int((now - 100 * DAY) * 1e9), blob.stat().st_mtime_ns))
    write_past(data / "groups" / "mygroup" / "-usage.json", now)


def write_past(file: Path, now: float) -> None:
    """A team that works by day, and pulls more of the same each week."""
    chance = random.Random(1)
    hours = []
    for back in range(30 * 24, -1, -1):
        start = int(now - back * HOUR) // HOUR * HOUR
        by_day = 1.0 if 7 <= start // HOUR % 24 <= 18 else 0.15
        asked = int(chance.uniform(200, 420) * by_day * (0.3 if start // DAY % 7 in (2, 3) else 1))
        misses = int(asked * chance.uniform(0.01, 0.05 + 0.35 * (back // 6 % 11 == 0)))
        fetched = misses * chance.randrange(2, 9) * _MB
        served = asked * chance.randrange(9, 16) * _MB
        hours.append(
            {
                "from": start,
                "hits": asked - misses,
                "misses": misses,
                "served": served,
                "fetched": min(fetched, served),
            }
        )
    total = {
        name: sum(hour[name] for hour in hours) for name in ("hits", "misses", "served", "fetched")
    }
    file.write_text(json.dumps({"since": now - 210 * DAY, "total": total, "hours": hours}))
