"""How long work shows that it goes on: a bar on a terminal, plain lines elsewhere."""

import json

import pytest

from depproxy.demo.image import Image
from tests.commands.command_line import CommandLine, pull, read_to_end, size_of
from tests.running import RunningServer


@pytest.mark.parametrize("arguments", [["verify"], ["warm", "mygroup", "hello"]])
def test_on_a_terminal_a_bar_is_shown_and_taken_away(
    server: RunningServer, hello: Image, command: CommandLine, arguments: list[str]
) -> None:
    command.aim_at(server)
    pull(server, hello)
    with command.on_terminal(*arguments, "--json") as (process, terminal):
        shown = read_to_end(terminal)
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait() == 0
    label = arguments[-1].encode()
    assert b"\r%b: " % label in shown
    assert b"0%" in shown
    assert b"\n" not in shown
    assert shown.rpartition(b"\r")[2].strip() == b""
    json.loads(printed)


@pytest.mark.parametrize("arguments", [["verify"], ["warm", "mygroup", "hello"]])
def test_elsewhere_lines_are_printed_now_and_then(
    server: RunningServer,
    hello: Image,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.setattr("depproxy.commands.command._LINE_EVERY", 0.0)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    command.aim_at(server)
    pull(server, hello)
    done = command(*arguments, "--json")
    lines = done.err.splitlines()
    sizes = [line.removeprefix(f"{arguments[-1]}: ").partition(" of ") for line in lines]
    assert len(lines) >= 3
    assert len({total for _, _, total in sizes}) == 1
    assert sizes[-1][0] == sizes[-1][2]
    assert "\r" not in done.err
    json.loads(done.out)


def test_the_last_line_tells_that_all_is_done(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.commands.command._LINE_EVERY", 0.0)
    pull(server, hello)
    size = f"{size_of(hello) / 1000:.1f} kB"
    done = command("verify")
    assert done.err.splitlines()[-1] == f"verify: {size} of {size}"
    assert done.out == f"5 blobs, {size}: nothing wrong\n"


def test_what_is_over_soon_prints_no_lines(
    server: RunningServer, hello: Image, command: CommandLine
) -> None:
    command.aim_at(server)
    for arguments in (["warm", "mygroup", "hello", "--platform", "all"], ["verify"]):
        assert command(*arguments).err == ""
