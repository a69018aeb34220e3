"""Purges, as owners ask for them, and what their answers say."""

from collections.abc import Collection
from urllib.parse import urlencode

from depproxy.oci.digest import Digest
from tests.on_disk import held, wait_until_removed
from tests.running import Reply, RunningServer

ZEROS = {"message": "202 Accepted", "manifests": 0, "blobs": 0, "bytes": 0}


def clear(server: RunningServer, image: str, reference: str = "") -> Reply:
    """Purge, and let the disk follow."""
    reply = purge(server, image, reference)
    wait_until_removed(server)
    return reply


def purge(server: RunningServer, image: str, reference: str = "") -> Reply:
    named = {"image": image, "reference": reference}
    return server.purge(query=f"?{urlencode({name: to for name, to in named.items() if to})}")


def check_told(
    server: RunningServer, reply: Reply, before: dict[Digest, int], manifests: Collection[Digest]
) -> set[Digest]:
    """The answer counts just what has gone from disk, and that is returned."""
    gone = set(before) - set(held(server))
    assert (reply.status, reply.json) == (
        202,
        {
            "message": "202 Accepted",
            "manifests": len(gone & set(manifests)),
            "blobs": len(gone - set(manifests)),
            "bytes": sum(before[digest] for digest in gone),
        },
    )
    return gone
