"""Commands that work on files, and a data folder that they cannot look into."""

import pytest

from tests.commands.command_line import CommandLine
from tests.running import RunningServer


@pytest.mark.parametrize("arguments", [["usage"], ["purge", "mygroup"], ["verify"]], ids=str)
def test_a_cache_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(
    server: RunningServer, command: CommandLine, arguments: list[str]
) -> None:
    """As for a user that may not; but root, who runs some of our tests, may."""
    server.stop()
    (server.data / "groups").rename(server.data / "elsewhere")
    (server.data / "groups").touch()
    done = command(*arguments)
    assert (done.code, done.out) == (1, "")
    assert f"the data folder {server.data} is opened" in done.err
