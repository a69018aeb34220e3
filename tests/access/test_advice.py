"""What a start says of users and groups: problems that stop it, and warnings that do not."""

from pathlib import Path

import pytest

from depproxy.access.advice import problems, warnings
from depproxy.config import Config, load_config
from depproxy.errors import ConfigError
from tests.access.fakes import ALICES_HASH, users_file


def load(folder: Path, text: str) -> Config:
    file = folder / "depproxy.yml"
    file.write_text(text)
    return load_config(file)


def paths(found: list[str]) -> list[str]:
    return [problem.split(": ")[0] for problem in found]


def test_a_configuration_without_users_and_private_groups_is_right(tmp_path: Path) -> None:
    config = load(tmp_path, "groups: {acme: {}, acme/platform: {}}")
    assert problems(config) == []
    assert warnings(config) == []


def test_what_names_users_needs_a_file_of_users(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        groups:
          a: {visibility: private}
          a/b: {readers: [alice]}
          c: {visibility: private, readers: [alice], owners: [alice, bob]}
          d: {}
        """,
    )
    found = problems(config)
    assert paths(found) == [
        "groups.a.visibility",
        "groups.a/b.readers",
        "groups.c.visibility",
        "groups.c.readers",
        "groups.c.owners",
    ]
    assert all("auth.users_file" in problem for problem in found)


def test_everybody_who_is_named_has_to_be_in_the_file(tmp_path: Path) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH)
    config = load(
        tmp_path,
        f"""
        auth: {{users_file: {file}}}
        groups:
          a: {{visibility: private, readers: [alice, bob, Alice], owners: [carol]}}
          b: {{owners: [alice]}}
        """,
    )
    found = problems(config)
    assert paths(found) == ["groups.a.readers", "groups.a.readers", "groups.a.owners"]
    assert found[0] == (f"groups.a.readers: bob is not in {file}; 'depproxy passwd bob' adds him")


def test_wrong_lines_of_the_file_are_problems_and_their_users_do_not_exist(tmp_path: Path) -> None:
    file = users_file(tmp_path, alice=ALICES_HASH, bob="secret")
    config = load(tmp_path, f"auth: {{users_file: {file}}}\ngroups: {{a: {{readers: [bob]}}}}")
    wrong, unknown = problems(config)
    assert wrong.startswith(f"auth.users_file: {file}: line 2: expected a bcrypt hash of bob")
    assert unknown.startswith("groups.a.readers: bob is not in ")


def test_a_file_of_users_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", tmp_path):
        config = load(tmp_path, f"auth: {{users_file: {file}}}\ngroups: {{a: {{owners: [bob]}}}}")
        [problem] = problems(config)
        assert problem.startswith(f"auth.users_file: {file} cannot be read: ")
        assert ("depproxy passwd" in problem) is not file.exists()


def test_a_file_without_users_is_right(tmp_path: Path) -> None:
    config = load(tmp_path, f"auth: {{users_file: {users_file(tmp_path)}}}")
    assert problems(config) == []


def test_these_problems_come_together_with_the_files_own(tmp_path: Path) -> None:
    file = tmp_path / "depproxy.yml"
    file.write_text(
        f"""
        listen: nowhere
        auth: {{users_file: {users_file(tmp_path, alice=ALICES_HASH)}, token_lifetime: 1m}}
        groups: {{a: {{readers: [bob, 5, carol], stale_for: soon}}}}
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, problems)
    assert sorted(paths(list(caught.value.problems))) == [
        "auth.token_lifetime",
        "groups.a.readers",
        "groups.a.readers",
        "groups.a.readers[1]",
        "groups.a.stale_for",
        "listen",
    ]
    assert len(caught.value.problems) == 6
    [carols] = [problem for problem in caught.value.problems if "carol" in problem]
    assert carols.startswith("groups.a.readers: ")


def test_a_private_mirror_is_a_warning(tmp_path: Path) -> None:
    text = "groups: {a: {}, b: {visibility: private}}\nmirror: {group: %s}"
    [warning] = warnings(load(tmp_path, text % "b"))
    assert warning.startswith("mirror.group: b is private")
    assert warnings(load(tmp_path, text % "a")) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "'[::]:8080'", "10.0.0.1:80", "proxy:80"])
@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.2", "http://[::1]:80", "http://a.localhost"]
)
def test_an_external_url_that_leads_others_to_themselves_is_a_warning(
    tmp_path: Path, listen: str, url: str
) -> None:
    [warning] = warnings(load(tmp_path, f"listen: {listen}\nexternal_url: {url}"))
    assert warning.startswith(f"external_url: {url} leads clients")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8080", "http://localhost:8080"),
        ("'[::1]:8080'", "http://localhost:8080"),
        ("localhost:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:8080", "https://proxy.example.org"),
        ("0.0.0.0:8080", "http://10.0.0.1:8080"),
        ("127.0.0.1:8080", "https://proxy.example.org"),
    ],
)
def test_an_external_url_that_clients_can_reach_is_none(
    tmp_path: Path, listen: str, url: str
) -> None:
    assert warnings(load(tmp_path, f"listen: {listen}\nexternal_url: {url}")) == []
