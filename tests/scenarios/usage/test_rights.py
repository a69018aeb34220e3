"""Who may ask for a group's numbers and its list, and how."""

from pathlib import Path

import pytest

from depproxy.demo.image import Image
from tests.group_api import API
from tests.running import RunningServer, Start
from tests.signing_in import basic, write_users

PATHS = ("", "/manifests")


@pytest.mark.parametrize("path", PATHS)
def test_a_private_group_tells_only_those_who_may_read(
    start: Start, hello: Image, tmp_path: Path, path: str
) -> None:
    users = tmp_path / "users"
    write_users(users, {"reader": "r", "stranger": "s"})
    group = "visibility: private\nreaders: [reader]"
    server = start(group=group, more=f"auth: {{users_file: {users}}}\n")
    admin = {"PRIVATE-TOKEN": server.token}
    for name in ("mygroup", "nobody"):
        asked = f"/api/v4/groups/{name}/dependency_proxy{path}"
        for headers in ({}, basic("reader", "wrong"), {"PRIVATE-TOKEN": "wrong"}):
            reply = server.ask(asked, headers=headers)
            assert (reply.status, reply.json) == (401, {"message": "401 Unauthorized"})
            assert reply.headers["WWW-Authenticate"] == 'Basic realm="depproxy"'
        assert server.ask(asked, headers=basic("stranger", "s")).status == 404
        readable = 200 if name == "mygroup" else 404
        assert server.ask(asked, headers=basic("reader", "r")).status == readable
        assert server.ask(asked, headers=admin).status == readable
    assert server.ask(f"/api/v4/groups/other/dependency_proxy{path}").status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("group", ["nobody", "no%2Fbody", "NO", "%ff"])
def test_without_users_an_unknown_group_is_404(
    server: RunningServer, path: str, group: str
) -> None:
    reply = server.ask(f"/api/v4/groups/{group}/dependency_proxy{path}")
    assert (reply.status, reply.json["message"]) == (404, "404 Group Not Found")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_verbs_are_405(server: RunningServer, path: str, verb: str) -> None:
    reply = server.ask(f"{API}{path}", verb)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
