"""What the API says of a group: its numbers, and the list of what is cached."""

from typing import Any
from urllib.parse import urlencode

from tests.running import Reply, RunningServer

API = "/api/v4/groups/mygroup/dependency_proxy"


def usage(server: RunningServer, group: str = "mygroup") -> dict[str, Any]:
    reply = server.ask(f"/api/v4/groups/{group}/dependency_proxy")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    told: dict[str, Any] = reply.json
    return told


def counts(server: RunningServer) -> tuple[int, int, int]:
    told = usage(server)
    return told["manifests"], told["blobs"], told["bytes"]


def asked_list(server: RunningServer, **query: object) -> Reply:
    return server.ask(f"{API}/manifests?{urlencode(query)}")


def listed(server: RunningServer, **query: object) -> list[dict[str, Any]]:
    reply = asked_list(server, **query)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json
    return found
