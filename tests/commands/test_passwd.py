"""``depproxy passwd``: who gets a password where, what is refused, and what a terminal sees."""

import io
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import bcrypt
import pytest

from depproxy.access.htpasswd import parse_users
from depproxy.main import main
from tests.access.fakes import ALICES_HASH, BOBS_HASH, users_file
from tests.real.programs import ROOT

PASSWORD = "pässwörd, with spaces "
Type = Callable[[str], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the users are; the file itself is not there yet."""
    return tmp_path / "htpasswd"


@pytest.fixture
def config(tmp_path: Path, file: Path) -> str:
    return written(tmp_path, f"auth: {{users_file: {file}}}\n")


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def written(folder: Path, text: str) -> str:
    config = folder / "depproxy.yml"
    config.write_text(text)
    return str(config)


def is_password(file: Path, user: str, password: str) -> bool:
    stored = parse_users(file.read_text()).hashes[user]
    return bcrypt.checkpw(password.encode(), stored.encode())


@dataclass
class Terminal:
    """The program on a terminal of its own, where somebody types."""

    arguments: list[str]
    seen: str = ""

    def __enter__(self) -> Self:
        self.end, other = pty.openpty()
        command = [sys.executable, str(ROOT / "server.py"), *self.arguments]
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, start_new_session=True, cwd=ROOT
        )
        os.close(other)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.end)
        self.process.kill()
        self.process.wait()

    def type(self, prompt: str, text: str) -> None:
        """Wait for the prompt, then type."""
        self._read_until(prompt)
        os.write(self.end, text.encode())

    def interrupt(self, prompt: str) -> None:
        """Wait for the prompt, then do what Ctrl-C does."""
        self._read_until(prompt)
        self.process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        while self._read():
            pass
        return self.process.wait()

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self.end)[3] & termios.ECHO)

    def _read_until(self, prompt: str) -> None:
        before = self.seen.count(prompt)
        while self.seen.count(prompt) == before:
            assert self._read(), self.seen

    def _read(self) -> bool:
        """More of what is to be seen; False when the program has ended."""
        try:
            found = os.read(self.end, 4096)
        except OSError:
            return False
        self.seen += found.decode()
        return bool(found)


@pytest.mark.parametrize("line", [f"{PASSWORD}\n", f"{PASSWORD}\r\nx\n", PASSWORD])
def test_the_first_line_of_the_input_becomes_the_password_in_a_new_file(
    file: Path, config: str, type_in: Type, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    type_in(line)
    assert main(["passwd", "alice", "--config", config]) == 0
    assert is_password(file, "alice", PASSWORD)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert capsys.readouterr() == (f"the password of alice was set in {file}\n", "")


def test_the_configuration_is_named_before_or_behind_the_command(
    file: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["--config", config, "passwd", "--remove", "alice"],
        [f"--config={config}", "passwd", "alice", "--remove"],
        ["passwd", "--config", config, "alice", "--remove"],
        ["passwd", "alice", "--remove", "--config", config],
    ):
        users_file(file.parent, alice=ALICES_HASH, bob=BOBS_HASH)
        assert main(arguments) == 0
        assert file.read_text() == f"bob:{BOBS_HASH}\n"
        assert capsys.readouterr().out == f"alice was removed from {file}\n"


def test_a_password_is_replaced_and_everything_else_stays(
    file: Path, config: str, type_in: Type
) -> None:
    file.write_text(f"# ours\nalice:{ALICES_HASH}\neve:secret\nbob:{BOBS_HASH}\n")
    file.chmod(0o604)
    type_in("new\n")
    assert main(["--config", config, "passwd", "alice"]) == 0
    assert file.read_text().startswith(f"# ours\neve:secret\nbob:{BOBS_HASH}\nalice:$2b$12$")
    assert is_password(file, "alice", "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


def test_the_first_user_is_made_where_groups_already_name_him(
    tmp_path: Path, file: Path, type_in: Type
) -> None:
    """A server would not start on this configuration: the command is the way out."""
    config = written(
        tmp_path,
        f"auth: {{users_file: {file}}}\ngroups: {{a: {{visibility: private, owners: [alice]}}}}\n",
    )
    assert main(["--check-config", "--config", config]) == 2
    type_in("secret\n")
    assert main(["--config", config, "passwd", "alice"]) == 0
    assert main(["--check-config", "--config", config]) == 0


def test_without_a_file_of_users_there_is_nowhere_to_put_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "groups: {a: {}}\n")
    assert main(["--config", config, "passwd", "alice"]) == 1
    assert "auth.users_file" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["depproxy.yml"]


@pytest.mark.parametrize("user", ["", "a b", "a:b", "a,b", "a/b", "a\nb", "a" * 129, "#alice"])
@pytest.mark.parametrize("more", [[], ["--remove"]])
def test_what_is_no_users_name_is_refused(
    file: Path,
    config: str,
    type_in: Type,
    capsys: pytest.CaptureFixture[str],
    user: str,
    more: list[str],
) -> None:
    """It would not be found again in the file: ``#`` begins a comment there."""
    type_in("secret\n")
    assert main(["--config", config, "passwd", user, *more]) == 1
    assert "no user's name" in capsys.readouterr().err
    assert not file.exists()


def test_a_name_that_is_no_text_is_refused_before_anything_is_changed(
    file: Path, config: str
) -> None:
    """The server reads the file as UTF-8, and would know nobody of that name."""
    done = subprocess.run(
        [sys.executable, "server.py", "--config", config, "passwd", b"J\xe4ger"],
        input=b"secret\n",
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("line", ["", "\n", "\r\n", "a" * 73, "ä" * 37, "a\0b\n", "\udce4\n"])
def test_what_can_be_no_password_is_refused_and_nothing_changes(
    file: Path, config: str, type_in: Type, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    users_file(file.parent, alice=ALICES_HASH)
    type_in(line)
    assert main(["--config", config, "passwd", "alice"]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("depproxy: ")
    assert error.endswith("nothing was changed\n")
    assert not out
    assert file.read_text() == f"alice:{ALICES_HASH}\n"


def test_a_password_that_is_no_text_is_refused_with_a_word_of_ours(file: Path, config: str) -> None:
    done = subprocess.run(
        [sys.executable, "server.py", "--config", config, "passwd", "alice"],
        input=b"\xe4\xff\n",
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 1
    assert b"nothing was changed" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("text", [None, "", f"bob:{BOBS_HASH}\n"])
def test_a_user_who_is_not_there_cannot_be_removed(
    file: Path, config: str, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        file.write_text(text)
    assert main(["--config", config, "passwd", "--remove", "alice"]) == 1
    assert capsys.readouterr() == (
        "",
        "depproxy: there is no user alice: nothing was changed\n",
    )
    assert (file.read_text() if file.exists() else None) == text


@pytest.mark.parametrize("arguments", [["ann"], ["--remove", "root"]])
def test_a_file_of_another_kind_is_left_alone(
    file: Path,
    config: str,
    type_in: Type,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    text = "root:x:0:0:root:/root:/bin/bash\n"
    file.write_text(text)
    type_in("secret\n")
    assert main(["--config", config, "passwd", *arguments]) == 1
    assert capsys.readouterr().err == (
        f"depproxy: {file} is no htpasswd file: nothing was changed\n"
    )
    assert file.read_text() == text


def test_a_file_that_cannot_be_changed_is_told(
    tmp_path: Path, type_in: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "missing" / "htpasswd"
    config = written(tmp_path, f"auth: {{users_file: {file}}}\n")
    type_in("secret\n")
    assert main(["--config", config, "passwd", "alice"]) == 1
    assert f"depproxy: {file} cannot be changed: " in capsys.readouterr().err


def test_a_wrong_configuration_stops_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "auth: {users_fiel: x}\n")
    assert main(["--config", config, "passwd", "alice"]) == 2
    assert "auth.users_fiel: unknown key; did you mean 'users_file'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["passwd"], ["passwd", "a", "b"], ["password", "a"]])
def test_wrong_arguments_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: depproxy" in capsys.readouterr().err


def test_a_terminal_asks_twice_and_shows_nothing_of_the_password(file: Path, config: str) -> None:
    with Terminal(["passwd", "alice", "--config", config]) as terminal:
        terminal.type("New password of alice: ", f"{PASSWORD}\n")
        terminal.type("Once more: ", f"{PASSWORD}\n")
        assert terminal.exit_code() == 0
        assert PASSWORD.strip() not in terminal.seen
        assert terminal.seen.endswith(f"the password of alice was set in {file}\r\n")
        assert terminal.echoes()
    assert is_password(file, "alice", PASSWORD)


def test_two_passwords_that_differ_change_nothing(file: Path, config: str) -> None:
    with Terminal(["passwd", "alice", "--config", config]) as terminal:
        terminal.type("New password of alice: ", "secret\n")
        terminal.type("Once more: ", "Secret\n")
        assert terminal.exit_code() == 1
        assert terminal.seen.endswith("the two passwords differ: nothing was changed\r\n")
        assert "ecret" not in terminal.seen
    assert not file.exists()


def test_ctrl_c_ends_the_command_and_changes_nothing(file: Path, config: str) -> None:
    with Terminal(["passwd", "alice", "--config", config]) as terminal:
        terminal.interrupt("New password of alice: ")
        assert terminal.exit_code() == 130
        assert "Traceback" not in terminal.seen
        assert terminal.echoes()
    assert not file.exists()


def test_ctrl_d_ends_the_command_and_changes_nothing(file: Path, config: str) -> None:
    with Terminal(["passwd", "alice", "--config", config]) as terminal:
        terminal.type("New password of alice: ", "\x04")
        assert terminal.exit_code() == 1
        assert "Traceback" not in terminal.seen
    assert not file.exists()
