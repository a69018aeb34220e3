"""`depproxy usage`: the counts of the API, by a walk of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from depproxy.config import load_config
from depproxy.demo.image import Image
from tests.commands.command_line import CommandLine, ask_usage, counts_of, pull, size_of
from tests.fakes.registry import FakeRegistry
from tests.real.programs import ROOT
from tests.running import RunningServer, Start

COUNTERS = ("hits", "misses", "bytes_served", "bytes_fetched", "bytes_saved")


def files_of(folder: Path) -> dict[str, int]:
    """Every file and folder, and when it was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_beside_a_server_it_counts_what_the_api_counts(
    server: RunningServer, hello: Image, twin: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, twin, "twin")
    done = command("usage", "--json")
    mine, other = done.json
    assert (done.code, mine["group"], other["group"]) == (0, "mygroup", "other")
    assert counts_of(mine) == counts_of(ask_usage(server))
    assert counts_of(other) == (0, 0, 0)


def test_without_a_server_it_counts_the_same(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, hello)
    told = ask_usage(server)
    server.stop()
    mine = command("usage", "--json").json[0]
    assert counts_of(mine) == counts_of(told) == (2, 3, size_of(hello))
    assert {name: mine[name] for name in COUNTERS} == {name: told[name] for name in COUNTERS}
    assert mine["bytes_fetched"] == size_of(hello)
    assert mine["bytes_saved"] == mine["bytes_served"] - mine["bytes_fetched"] > size_of(hello)


def test_people_get_a_table(server: RunningServer, hello: Image, command: CommandLine) -> None:
    pull(server, hello)
    server.stop()
    done = command("usage")
    header, mine, other = done.out.splitlines()
    assert header.split()[:4] == ["GROUP", "MANIFESTS", "BLOBS", "SIZE"]
    assert mine.split()[:5] == ["mygroup", "2", "3", f"{size_of(hello) / 1000:.1f}", "kB"]
    assert other.split()[:5] == ["other", "0", "0", "0", "B"]
    assert (done.code, done.err) == (0, "")


def test_it_changes_nothing(server: RunningServer, hello: Image, command: CommandLine) -> None:
    pull(server, hello)
    server.stop()
    before = files_of(server.data)
    assert command("usage").code == 0
    assert files_of(server.data) == before


def test_a_group_is_counted_whether_the_configuration_names_it_or_not(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    (server.data / "groups" / "mygroup").rename(server.data / "groups" / "former")
    rows = {row["group"]: row for row in command("usage", "--json").json}
    assert [(name, row["configured"]) for name, row in rows.items()] == [
        ("former", False),
        ("mygroup", True),
        ("other", True),
    ]
    assert counts_of(rows["former"]) == (2, 3, size_of(hello))
    assert counts_of(rows["mygroup"]) == (0, 0, 0)


def test_a_group_does_not_count_what_is_in_one_whose_name_begins_with_its_own(
    start: Start, hello: Image, command: CommandLine
) -> None:
    start().stop()
    text = command.file.read_text()
    command.file.write_text(f"{text}  mygroup/part:\n")
    server = RunningServer(load_config(command.file))
    with server:
        pull(server, hello, group="mygroup/part")
    rows = {row["group"]: row for row in command("usage", "--json").json}
    assert counts_of(rows["mygroup/part"]) == (2, 3, size_of(hello))
    assert counts_of(rows["mygroup"]) == (0, 0, 0)


def test_what_groups_hold_together_is_in_nobodys_size(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    pull(server, hello, group="other")
    manifests = sum(len(hello.manifests[d][1]) for d in hello.manifests)
    done = command("usage", "--json")
    for row in done.json:
        assert counts_of(row)[:2] == (2, 3)
        assert 0 < row["bytes"] < manifests  # each group has manifests of its own
        assert counts_of(row) == counts_of(ask_usage(server, row["group"]))
    assert "share files" in command("usage").out.splitlines()[-1]


def test_counters_that_cannot_be_read_count_as_none(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    file = server.data / "groups" / "mygroup" / "-usage.json"
    for text in ("", "[]", "{", '{"since": 0}', '{"since": 0, "total": {"x": 1}, "hours": []}'):
        file.write_text(text)
        mine = command("usage", "--json").json[0]
        assert [mine[name] for name in COUNTERS] == [0] * len(COUNTERS)
        assert counts_of(mine) == (2, 3, size_of(hello))


def test_a_purge_keeps_the_counters(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.purge()
    server.stop()
    mine = command("usage", "--json").json[0]
    assert counts_of(mine) == (0, 0, 0)
    assert mine["misses"] > 0


def test_what_a_crash_left_of_a_purge_is_not_counted(
    server: RunningServer, registry: FakeRegistry, hello: Image, command: CommandLine
) -> None:
    pull(server, hello)
    server.stop()
    os.rename(server.tree, server.data / "trash" / "left")
    assert counts_of(command("usage", "--json").json[0]) == (0, 0, 0)


def test_without_a_data_folder_it_says_so(start: Start, command: CommandLine) -> None:
    server = start()
    server.stop()
    server.data.rename(server.data.with_name("elsewhere"))
    done = command("usage")
    assert (done.code, done.out) == (1, "")
    assert f"there is no data folder {server.data}" in done.err


def test_a_wrong_configuration_or_argument_is_2(start: Start, command: CommandLine) -> None:
    start().stop()
    with pytest.raises(SystemExit) as exit_with:
        command("usage", "mygroup")
    assert exit_with.value.code == 2
    command.file.write_text("listne: 1\n")
    done = command("usage")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'listen'?" in done.err


def test_the_option_config_counts_behind_the_command_too(
    server: RunningServer, hello: Image, command: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    pull(server, hello)
    server.stop()
    wrong = CommandLine(command.file.with_name("missing.yml"), capsys)
    assert wrong("usage").code == 2
    done = wrong("usage", "--config", str(command.file), "--json")
    assert counts_of(json.loads(done.out)[0]) == (2, 3, size_of(hello))


def test_a_result_that_cannot_be_written_is_told_in_a_line(
    server: RunningServer, command: CommandLine
) -> None:
    arguments = [sys.executable, str(ROOT / "server.py"), "--config", str(command.file), "usage"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == ("depproxy: the result cannot be written: No space left on device\n")


def test_it_needs_no_secret_of_an_upstream(server: RunningServer, command: CommandLine) -> None:
    """The server's environment, and files that only it may read, are not the administrator's."""
    command.file.write_text(
        command.file.read_text().replace(
            "upstreams:\n",
            "upstreams:\n"
            "  quay.io: {username: me, password_env: NOT_SET_ANYWHERE, ca_file: /nowhere/ca}\n"
            "  ghcr.io: {username: me, password_file: /nowhere/password}\n",
        )
    )
    assert command("usage", "--json").code == 0
    assert command("--check-config").code == 2
