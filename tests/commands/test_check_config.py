"""``--check-config``: what is wrong or strange about users is told with everything else."""

from pathlib import Path

import pytest

from depproxy.main import main
from tests.access.fakes import ALICES_HASH, users_file


def check(folder: Path, text: str) -> int:
    config = folder / "depproxy.yml"
    config.write_text(text)
    return main(["--check-config", "--config", str(config)])


def paths(error: str) -> list[str]:
    """The dotted paths of the problems, which stand below the first line."""
    return [line.strip().split(": ")[0] for line in error.splitlines()[1:]]


def test_users_who_do_not_exist_are_told_with_the_other_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH)
    text = f"""
        auth: {{users_file: {file}}}
        shutdown_timeout: soon
        groups:
          acme: {{visibility: private, readers: [alice, bob], owners: [carol], stale_fro: 1h}}
    """
    assert check(tmp_path, text) == 2
    error = capsys.readouterr().err
    assert sorted(paths(error)) == [
        "groups.acme.owners",
        "groups.acme.readers",
        "groups.acme.stale_fro",
        "shutdown_timeout",
    ]
    assert f"groups.acme.owners: carol is not in {file}" in error


def test_a_private_group_without_a_file_of_users_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "groups: {acme: {visibility: private, readers: [alice]}, other: {owners: [bob]}}"
    assert check(tmp_path, text) == 2
    assert paths(capsys.readouterr().err) == [
        "groups.acme.visibility",
        "groups.acme.readers",
        "groups.other.owners",
    ]


def test_a_file_of_users_that_is_not_there_is_told_with_the_way_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, f"auth: {{users_file: {tmp_path / 'missing'}}}") == 2
    error = capsys.readouterr().err
    assert paths(error) == ["auth.users_file"]
    assert "'depproxy passwd USER' makes it" in error


def test_wrong_lines_of_the_file_of_users_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH, eve="hunter2")
    assert check(tmp_path, f"auth: {{users_file: {file}}}") == 2
    error = capsys.readouterr().err
    assert f"auth.users_file: {file}: line 2: expected a bcrypt hash of eve" in error
    assert "hunter2" not in error


def test_what_is_strange_is_told_and_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH)
    text = f"""
        listen: 0.0.0.0:8080
        auth: {{users_file: {file}}}
        groups: {{acme: {{visibility: private, readers: [alice]}}}}
        mirror: {{group: acme}}
    """
    assert check(tmp_path, text) == 0
    out, error = capsys.readouterr()
    assert out == f"{tmp_path / 'depproxy.yml'}: right\n"
    assert [line.split(": ")[1] for line in error.splitlines()] == ["mirror.group", "external_url"]


def test_what_is_right_is_said_to_be_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH)
    text = f"""
        auth: {{users_file: {file}}}
        groups: {{acme: {{visibility: private, owners: [alice]}}}}
    """
    assert check(tmp_path, text) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'depproxy.yml'}: right\n", "")
