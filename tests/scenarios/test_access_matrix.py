"""Who may do what, in groups of each kind.

Rows are data; ``docs/access.md`` shows the same table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import pytest

from tests.fakes.registry import FakeRegistry
from tests.running import Reply, RunningServer, write_config
from tests.scenarios.visitors import (
    BLOB,
    GROUPS,
    IMAGE,
    PASSWORDS,
    READERS,
    URL,
    Present,
    World,
    admin_token,
    altered_token,
    asked,
    expired_token,
    forged_token,
    fresh_token,
    login_token,
    malformed_password,
    name_in,
    no_token_at_all,
    nothing,
    old_token_of,
    password_of,
    token_for_another,
    token_for_another_service,
    token_of,
    token_of_another_server,
    unsigned_token,
    wrong_admin_token,
    wrong_password,
)
from tests.signing_in import basic, bearer, token_for, write_users
from tests.tables import assert_documented


@dataclass(frozen=True)
class Row:
    """Statuses of a pull, of usage and of a purge, in a group of each kind.

    ``reason`` is the ``error`` of the challenge, where a pull is 401.
    """

    visitor: str
    present: Present
    public: str
    private: str
    unknown: str
    reason: str = ""

    def status(self, kind: str, what: str) -> int:
        statuses: str = getattr(self, kind)
        return int(statuses.split()[["pull", "usage", "purge"].index(what)])


BAD = "invalid_token"
NOT_FOR_THIS = "insufficient_scope"
ROWS = [
    Row("nobody", nothing, "200 200 401", "401 401 401", "401 401 401"),
    Row("an anonymous token", token_of(""), "200 200 401", "401 401 401", "401 401 401"),
    Row("a reader's password", password_of("reader"), "200 200 403", "200 200 403", "404 404 404"),
    Row("a reader's token", token_of("reader"), "200 200 401", "200 401 401", "404 401 401"),
    Row("an owner's password", password_of("owner"), "200 200 403", "200 200 202", "404 404 404"),
    Row("an owner's token", token_of("owner"), "200 200 401", "200 401 401", "404 401 401"),
    Row(
        "another user's password",
        password_of("stranger"),
        "200 200 403",
        "404 404 404",
        "404 404 404",
    ),
    Row("another user's token", token_of("stranger"), "200 200 401", "404 401 401", "404 401 401"),
    Row("the admin token", admin_token, "200 200 202", "401 200 202", "401 404 404"),
    Row("a wrong admin token", wrong_admin_token, "200 200 401", "401 401 401", "401 401 401"),
    Row("a wrong password", wrong_password, "200 200 401", "401 401 401", "401 401 401"),
    Row(
        "credentials that cannot be read",
        malformed_password,
        "200 200 401",
        "401 401 401",
        "401 401 401",
    ),
    Row(
        "the password of a user who was removed",
        password_of("removed"),
        "200 200 401",
        "401 401 401",
        "401 401 401",
    ),
    Row(
        "the token of a user who was removed since",
        old_token_of("removed"),
        "200 200 401",
        "401 401 401",
        "401 401 401",
        BAD,
    ),
    Row(
        "the token of a user whose password was changed since",
        old_token_of("changed"),
        "200 200 401",
        "401 401 401",
        "401 401 401",
        BAD,
    ),
    Row("an expired token", expired_token, "200 200 401", "401 401 401", "401 401 401", BAD),
    Row("a forged token", forged_token, "200 200 401", "401 401 401", "401 401 401", BAD),
    Row("an altered token", altered_token, "200 200 401", "401 401 401", "401 401 401", BAD),
    Row(
        "a token without a signature (`alg: none`)",
        unsigned_token,
        "200 200 401",
        "401 401 401",
        "401 401 401",
        BAD,
    ),
    Row(
        "a token for another service",
        token_for_another_service,
        "200 200 401",
        "401 401 401",
        "401 401 401",
        BAD,
    ),
    Row(
        "a token of another server",
        token_of_another_server,
        "200 200 401",
        "401 401 401",
        "401 401 401",
        BAD,
    ),
    Row("no token at all", no_token_at_all, "200 200 401", "401 401 401", "401 401 401", BAD),
    Row(
        "a reader's token for other images and groups",
        token_for_another("reader"),
        "200 200 401",
        "401 401 401",
        "404 401 401",
        NOT_FOR_THIS,
    ),
    Row(
        "a reader's token of `docker login`, for nothing",
        login_token,
        "200 200 401",
        "401 401 401",
        "404 401 401",
        NOT_FOR_THIS,
    ),
    Row(
        "another user's token for other images and groups",
        token_for_another("stranger"),
        "200 200 401",
        "404 401 401",
        "404 401 401",
    ),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Users, one of whom was removed and one of whom has a new password, after both got tokens."""
    folder = tmp_path_factory.mktemp("access")
    users_file = folder / "htpasswd"
    write_users(users_file, PASSWORDS)
    with FakeRegistry() as registry:
        registry.add_image("library/hello", "latest", IMAGE)
        registry.referrers[IMAGE.index] = b'{"schemaVersion":2,"manifests":[]}'
        config = write_config(
            folder,
            registry.url,
            group="visibility: private\nowners: [owner]\nreaders: " + f"[{', '.join(READERS)}]",
            more=f"external_url: {URL}\nauth: {{users_file: {users_file}}}\n",
        )
        with RunningServer(config) as server:
            world = World(registry, server, users_file)
            names = [name_in(group) for group in GROUPS.values()]
            for user in ("removed", "changed"):
                credentials = basic(user, PASSWORDS[user])
                world.old_tokens[user] = token_for(server, *names, headers=credentials)
                reply = server.ask(f"/v2/{names[1]}/manifests/latest", "GET", credentials)
                assert reply.status == 200
            left = {user: word for user, word in PASSWORDS.items() if user != "removed"}
            write_users(users_file, left | {"changed": "another secret"})
            yield world


def pulls(group: str) -> list[tuple[str, str]]:
    """Every way to read an image."""
    name = f"/v2/{name_in(group)}"
    return [
        (f"{name}/manifests/latest", "GET"),
        (f"{name}/manifests/latest", "HEAD"),
        (f"{name}/manifests/{IMAGE.index}", "GET"),
        (f"{name}/blobs/{BLOB}", "GET"),
        (f"{name}/blobs/{BLOB}", "HEAD"),
        (f"{name}/tags/list", "GET"),
        (f"{name}/referrers/{IMAGE.index}", "GET"),
    ]


def calls(group: str) -> list[tuple[str, str, str]]:
    """Every request below ``/api/``, by its column of the table."""
    path = f"/api/v4/groups/{group}/dependency_proxy"
    return [("usage", path, "GET"), ("usage", path, "HEAD"), ("purge", f"{path}/cache", "DELETE")]


EVERYTHING = [
    pytest.param(row, kind, id=f"{row.visitor}, {kind} group") for row in ROWS for kind in GROUPS
]


@pytest.mark.parametrize(("row", "kind"), EVERYTHING)
def test_who_pulls_gets_what_the_table_says(world: World, row: Row, kind: str) -> None:
    group = GROUPS[kind]
    for path, method in pulls(group):
        reply = world.ask(path, method, row.present(world, name_in(group)))
        assert reply.status == row.status(kind, "pull"), path
        assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert reply.headers["WWW-Authenticate"] == challenge(reply.status, group, row.reason)
        if method == "GET" and reply.status != 200:
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.error == {401: "UNAUTHORIZED", 404: "NAME_UNKNOWN"}[reply.status]


def challenge(status: int, group: str, reason: str) -> str | None:
    """What a pull is told to do."""
    if status != 401:
        return None
    error = f',error="{reason}"' if reason else ""
    return (
        f'Bearer realm="{URL}/jwt/auth",service="dependency_proxy",'
        f'scope="repository:{name_in(group)}:pull"{error}'
    )


@pytest.mark.parametrize(("row", "kind"), EVERYTHING)
def test_who_uses_the_api_gets_what_the_table_says(world: World, row: Row, kind: str) -> None:
    group = GROUPS[kind]
    for what, path, method in calls(group):
        reply = world.ask(path, method, row.present(world, name_in(group)))
        status = row.status(kind, what)
        assert reply.status == status, path
        expected = 'Basic realm="depproxy"' if status == 401 else None
        assert reply.headers["WWW-Authenticate"] == expected
        if method != "HEAD":
            assert reply.headers["Content-Type"] == "application/json"
        if method != "HEAD" and status >= 400:
            phrase = "Group Not Found" if status == 404 else HTTPStatus(status).phrase
            assert reply.json == {"message": f"{status} {phrase}"}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param(row, kind, id=f"{row.visitor}, {kind} group")
        for row in ROWS
        for kind in GROUPS
        if row.status(kind, "pull") != 200
    ],
)
def test_nothing_is_asked_of_the_upstream_for_who_may_not_pull(
    world: World, row: Row, kind: str
) -> None:
    group = GROUPS[kind]
    world.purge("mygroup")
    before = list(world.registry.requests)
    for path, method in pulls(group):
        world.ask(path, method, row.present(world, name_in(group)))
    for what, path, method in calls(group):
        if what == "usage":
            world.ask(path, method, row.present(world, name_in(group)))
    assert world.registry.requests == before


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.private == row.unknown], ids=lambda row: row.visitor
)
def test_a_private_group_and_an_unknown_one_look_the_same_to_who_may_see_neither(
    world: World, row: Row
) -> None:
    for known, unknown in zip(requests("mygroup"), requests("nobody"), strict=True):
        seen = [
            world.ask(path, method, row.present(world, name_in(group)))
            for group, (path, method) in (("mygroup", known), ("nobody", unknown))
        ]
        assert told(seen[0], "mygroup") == told(seen[1], "nobody")


def requests(group: str) -> list[tuple[str, str]]:
    """Pulls and calls."""
    return pulls(group) + [(path, method) for _, path, method in calls(group)]


def told(reply: Reply, group: str) -> tuple[int, dict[str, str], bytes]:
    """All that a reply tells, but for the group's name and the time of day."""
    headers = {
        name: value.replace(group, "<group>")
        for name, value in reply.headers.items()
        if name not in ("Date", "X-Request-Id", "Content-Length")
    }
    return reply.status, headers, reply.body.replace(group.encode(), b"<group>")


@pytest.mark.parametrize("group", ["No-Name", "my%20group", "a%2F%2Fb", "%ff", "mygroup%2F", "%00"])
def test_what_cannot_be_a_groups_name_is_an_unknown_group_to_the_api(
    world: World, group: str
) -> None:
    reader = basic("reader", PASSWORDS["reader"])
    for _, path, method in calls(group):
        for headers, status in ({}, 401), (reader, 404):
            assert world.ask(path, method, headers).status == status


def test_a_token_that_was_signed_again_unchanged_is_good(world: World) -> None:
    """So the rows of tokens with other claims say something about the claims."""
    name = name_in("mygroup")
    for present in (bearer(world.signed(name)), fresh_token(world, name)):
        assert world.ask(f"/v2/{name}/manifests/latest", "GET", present).status == 200


@pytest.mark.parametrize(("first", "second"), [("public", "private"), ("private", "public")])
def test_what_one_group_has_is_no_way_into_another(world: World, first: str, second: str) -> None:
    """What is on disk for one group is asked of the upstream for the other: a blob by HEAD, before
    both may share a file."""
    reader = basic("reader", PASSWORDS["reader"])
    paths = [
        f"/v2/{name_in(GROUPS[kind])}/{rest}"
        for kind in (first, second)
        for rest in (f"blobs/{BLOB}", f"manifests/{IMAGE.index}")
    ]
    for group in ("other", "mygroup"):
        world.purge(group)
    for path in paths:
        before = asked(world.registry, path)
        assert world.ask(path, "GET", reader).status == 200
        assert asked(world.registry, path) == before + 1
    for path in paths:
        status = 401 if "mygroup" in path else 200
        assert world.ask(path, "GET", {}).status == status


@pytest.mark.parametrize("kind", ["private", "unknown"])
@pytest.mark.parametrize("rest", ["manifests/-x", "manifests/a:b", "blobs/latest", "referrers/x"])
def test_who_may_not_pull_is_not_told_that_a_reference_is_none(
    world: World, kind: str, rest: str
) -> None:
    path = f"/v2/{name_in(GROUPS[kind])}/{rest}"
    assert world.ask(path, "GET", {}).status == 401
    assert world.ask(path, "GET", basic("stranger", PASSWORDS["stranger"])).status == 404


def test_what_is_cached_is_still_not_for_everybody(world: World) -> None:
    reader = basic("reader", PASSWORDS["reader"])
    for path, method in pulls("mygroup"):
        assert world.ask(path, method, reader).status == 200
        assert world.ask(path, method, {}).status == 401
        reply = world.ask(path, method, {"If-None-Match": f'"{path.rpartition("/")[2]}"'})
        assert reply.status == 401
    conditional = {"If-None-Match": f'"{BLOB}"', "Range": "bytes=0-0"}
    assert world.ask(pulls("mygroup")[3][0], "GET", conditional).status == 401


def test_who_may_not_purge_clears_nothing(world: World) -> None:
    reader = basic("reader", PASSWORDS["reader"])
    for group in ("mygroup", "other"):
        path = f"/v2/{name_in(group)}/manifests/{IMAGE.index}"
        world.ask(path, "GET", reader)
        for row in ROWS:
            kind = "private" if group == "mygroup" else "public"
            if row.status(kind, "purge") != 202:
                present = row.present(world, name_in(group))
                world.ask(f"/api/v4/groups/{group}/dependency_proxy/cache", "DELETE", present)
        assert world.ask(path, "GET", reader).cache == "hit"


def test_the_matrix_is_documented() -> None:
    rows = [
        [row.visitor, *(cell(getattr(row, kind)) for kind in GROUPS), named(row.reason)]
        for row in ROWS
    ]
    header = ["what is presented", *(f"{kind} group" for kind in GROUPS), "`error`"]
    assert_documented("access.md", "access matrix", header, rows)


def cell(statuses: str) -> str:
    return " · ".join(statuses.split())


def named(reason: str) -> str:
    return f"`{reason}`" if reason else ""
