"""Messages that the documentation quotes are those of the program."""

from collections.abc import Iterator

import pytest

from tests.docs.markdown import Page, Table, code
from tests.docs.messages import is_said

OF_CLIENTS = {"podman login", "invalid username/password"}
"""What clients say by themselves, in a table with what this server says."""

TABLES = [
    ("docs/operations.md", "What this server says", "message"),
    ("docs/operations.md", "At the start, and in the log", "message"),
    ("docs/access.md", "Errors and warnings at the start", "error, exit code 2"),
    ("docs/access.md", "Errors and warnings at the start", "warning"),
    ("docs/clients.md", "What you read when it fails", "docker, podman or skopeo says"),
]


def quoted() -> Iterator[str]:
    for name, heading, column in TABLES:
        table: Table = Page(name).table(heading, column)
        for cell in table.column(column):
            for message in code(cell):
                yield message.removeprefix("unauthorized: ")  # docker's word for the code


@pytest.mark.parametrize("message", sorted(set(quoted()) - OF_CLIENTS))
def test_a_message_that_is_quoted_can_be_said(message: str) -> None:
    assert is_said(message)


@pytest.mark.parametrize(
    "message",
    [
        "there is no grup … on this server: check the prefix",
        "…: it refuses nothing (…)",
        "… is lost",
    ],
)
def test_another_message_cannot(message: str) -> None:
    assert not is_said(message)


def test_every_message_has_a_reason_and_something_to_do() -> None:
    for name, heading, column in TABLES:
        assert all(all(row) for row in Page(name).table(heading, column).rows)
