"""The chapter "Command line" of ``docs/reference.md`` has what the program's own help has."""

import ast
import re
import signal
from collections.abc import Callable

import pytest

from depproxy.main import COMMANDS, main
from tests.docs.markdown import ROOT, Page, code

PAGE = Page("docs/reference.md")
CHAPTER = "Command line"
[SYNOPSIS] = [block for block in PAGE.blocks if block.startswith("depproxy [--config")]

Usage = Callable[..., str]


@pytest.fixture
def usage(capsys: pytest.CaptureFixture[str]) -> Usage:
    """The first part of the help of a command, or of the program."""

    def ask(*command: str) -> str:
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        return capsys.readouterr().out.partition("\n\n")[0]

    return ask


def line_of(command: str) -> str:
    [line] = [line for line in SYNOPSIS.splitlines() if re.search(rf"\] {command}( |$)", line)]
    return line


def options_in(text: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", text))


def arguments_in(text: str) -> set[str]:
    """What stands for values: ``GROUP``, ``FILE``."""
    return set(re.findall(r"\b[A-Z]{3,}\b", text))


def test_the_program_has_the_options_that_are_documented(usage: Usage) -> None:
    options = options_in(usage()) | {"--help"}
    assert options_in(SYNOPSIS.splitlines()[0]) == options
    told = PAGE.table(CHAPTER, "option", "does").column("option")
    assert options_in(" ".join(told)) == options - {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_the_options_and_arguments_that_are_documented(
    usage: Usage, command: str
) -> None:
    line, text = line_of(command), usage(command)
    assert options_in(line) == options_in(text)
    assert arguments_in(line) == arguments_in(text)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_is_explained_for_the_commands_that_have_it(usage: Usage, command: str) -> None:
    table = PAGE.table(CHAPTER, "option", "of", "does")
    told = {
        option
        for cell, commands in zip(table.column("option"), table.column("of"), strict=True)
        for option in options_in(cell)
        if command in code(commands)
    }
    in_words = {"--config", "--remove"}  # of all commands, and of passwd, in its row
    assert told == options_in(usage(command)) - in_words


def test_every_command_is_explained_and_no_other() -> None:
    told = PAGE.table(CHAPTER, "command", "does").column("command")
    assert [word for cell in told for word in code(cell)] == list(COMMANDS)


def test_every_exit_code_is_explained_and_no_other() -> None:
    constants = {
        node.value.value
        for file in (ROOT / "depproxy").rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and str(getattr(node.targets[0], "id", "")).startswith("EXIT_")
        and isinstance(node.value, ast.Constant)
    }
    by_signals = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    told = PAGE.table(CHAPTER, "exit code").column("exit code")
    codes = {int(number) for cell in told for number in cell.split(", ")}
    assert codes == {0, *constants, *by_signals}


def test_every_signal_that_is_caught_is_explained() -> None:
    tree = ast.parse((ROOT / "depproxy" / "signals.py").read_text(encoding="utf-8"))
    caught = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("SIG") and node.attr.isupper()
    } - {"SIG_DFL"}
    told = PAGE.table(CHAPTER, "signal").column("signal")
    assert {word for cell in told for word in code(cell)} == caught
