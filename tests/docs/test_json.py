"""JSON that the server answers, prints and writes has the fields that the reference has."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image
from tests.commands.command_line import CommandLine, pull
from tests.docs.markdown import Page, code
from tests.running import RunningServer

PAGE = Page("docs/reference.md")
API = "/api/v4/groups/mygroup/dependency_proxy"
SOMETIMES = {"exact"}
"""Fields that are there while the cache has not been counted."""


@pytest.fixture
def pulled(server: RunningServer, hello: Image) -> RunningServer:
    """A server that has an image."""
    pull(server, hello)
    server.wait_for_counts()
    return server


def fields(heading: str, first: str = "field", number: int = 0) -> set[str]:
    """The names in the first column of a table; ``number`` tells equal heads apart."""
    tables = [t for t in PAGE.tables if t.heading == heading and t.header[0] == first]
    return {name for cell in tables[number].column(first) for name in code(cell)}


def keys(documents: Iterable[dict[str, Any]]) -> set[str]:
    return {key for document in documents for key in document}


def test_usage_has_the_fields_of_the_reference(pulled: RunningServer) -> None:
    usage = pulled.ask(API).json
    assert set(usage) == fields("Usage") - SOMETIMES
    assert keys(usage["upstreams"]) == fields("Usage", "field of an upstream")


def test_the_list_of_what_is_cached_has_the_fields_and_headers_of_the_reference(
    pulled: RunningServer,
) -> None:
    reply = pulled.ask(f"{API}/manifests")
    assert keys(reply.json) == fields("What is cached")
    for name in fields("What is cached", "header"):
        assert name in reply.headers


def test_a_purge_has_the_fields_of_the_reference(pulled: RunningServer) -> None:
    row = next(row for row in PAGE.table("Clearing a cache", "status").rows if row[0] == "202")
    assert set(pulled.purge().json) == set(json.loads(code(row[1])[0]))


def test_readiness_is_told_in_the_words_of_the_reference(pulled: RunningServer) -> None:
    [ready] = [row for row in PAGE.table("Readiness", "status").rows if row[2] == "all is well"]
    assert pulled.ask("/-/readiness").json == json.loads(code(ready[1])[0])


def test_files_have_the_fields_of_the_reference(pulled: RunningServer) -> None:
    pulled.ask("/v2/mygroup/dependency_proxy/containers/hello/tags/list")
    pulled.stop()  # counters are written then
    pointers = {path for path in (pulled.tree / "manifests").rglob("*.json") if is_tag(path)}
    assert keys(map(read, pointers)) == fields("Files on disk")
    usage = read(pulled.data / "groups" / "mygroup" / "-usage.json")
    assert set(usage) == fields("Files on disk", number=1)
    lists = (pulled.tree / "manifests").rglob("lists/*.json")
    assert keys(map(read, lists)) == fields("Files on disk", number=2)


def is_tag(path: Path) -> bool:
    return path.parent.name == "tags"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_commands_print_the_fields_of_the_reference(
    pulled: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(tmp_path / "depproxy.yml", capsys)
    command.aim_at(pulled)
    rows = PAGE.table("Command line", "command", "fields of `--json`").rows
    told = {code(name)[0]: set(code(text)) for name, text in rows}
    printed = {
        "usage": command("usage", "--json").json[0],
        "warm": command("warm", "--json", "--platform", "all", "mygroup", "hello").json[0],
        "verify": command("verify", "--json").json,
        "health": command("health", "--json").json,
        "purge": command("purge", "--json", "mygroup").json,
    }
    assert {name: set(document) for name, document in printed.items()} == {
        name: names - {"groups/"} for name, names in told.items()
    }
