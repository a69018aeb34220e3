"""Every problem of a configuration file at once, each with its dotted path."""

from pathlib import Path

import pytest

from depproxy.config import Address, load_config
from depproxy.errors import ConfigError
from tests.config.reading import Load, Problems


def paths(problems: list[str]) -> list[str]:
    """The dotted paths in front of the problems."""
    return [problem.split(": ")[0] for problem in problems]


def test_every_problem_is_reported_at_once_with_its_dotted_path(problems: Problems) -> None:
    found = problems(
        """
        listen: nowhere
        log: {format: xml, level: 5}
        shutdown_timeout: 30
        upstreams:
          quay.io: {url: quay.io, stall_timeout: 0s, max_connections: 0}
          localhost: {}
        groups:
          Acme: {}
          acme: {upstreams: [ghcr.io], visibility: secret, readers: bob, stale_for: soon}
        auth: {token_lifetime: 1m}
        housekeeping: {min_free: lots}
        extra: 1
        """
    )
    assert sorted(paths(found)) == [
        "auth.token_lifetime",
        "extra",
        "groups.Acme",
        "groups.acme.readers",
        "groups.acme.stale_for",
        "groups.acme.upstreams",
        "groups.acme.visibility",
        "housekeeping.min_free",
        "listen",
        "log.format",
        "log.level",
        "shutdown_timeout",
        "upstreams.localhost",
        "upstreams.quay.io.max_connections",
        "upstreams.quay.io.stall_timeout",
        "upstreams.quay.io.url",
    ]


def test_a_problem_says_what_was_expected_and_what_is_there(problems: Problems) -> None:
    [problem] = problems("shutdown_timeout: soon")
    assert problem.startswith("shutdown_timeout: expected a duration such as 30s")
    assert "'soon'" in problem


def test_a_wrong_item_of_a_list_has_its_number(problems: Problems) -> None:
    found = problems("upstreams: {docker.io: {redirect_hosts: [cdn.example.org, 'a b', 5]}}")
    assert paths(found) == [
        "upstreams.docker.io.redirect_hosts[1]",
        "upstreams.docker.io.redirect_hosts[2]",
    ]


@pytest.mark.parametrize(
    ("text", "path", "nearest"),
    [
        ("listne: 127.0.0.1:80", "listne", "listen"),
        ("group: {}", "group", "groups"),
        ("groups: {a: {upstream: [docker.io]}}", "groups.a.upstream", "upstreams"),
        ("groups: {a: {revalidate-after: 1s}}", "groups.a.revalidate-after", "revalidate_after"),
        ("upstreams: {quay.io: {uri: x}}", "upstreams.quay.io.uri", "url"),
        ("log: {Level: info}", "log.Level", "level"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one_suggested(
    problems: Problems, text: str, path: str, nearest: str
) -> None:
    assert problems(text) == [f"{path}: unknown key; did you mean '{nearest}'?"]


def test_an_unknown_key_that_is_near_to_nothing_gets_them_all(problems: Problems) -> None:
    [problem] = problems("log: {zzz: 1}")
    assert problem == "log.zzz: unknown key; known are format, level"


@pytest.mark.parametrize("text", ["upstreams: {quay.io: {password: x}}", "8080: x", "true: x"])
def test_a_key_that_does_not_exist_is_a_problem_whatever_it_is(
    problems: Problems, text: str
) -> None:
    [problem] = problems(text)
    assert "unknown key" in problem


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("just words", "the file"),
        ("[1, 2]", "the file"),
        ("log: text", "log"),
        ("groups: [mygroup]", "groups"),
        ("groups: {mygroup: docker.io}", "groups.mygroup"),
        ("upstreams: {quay.io: https://quay.io}", "upstreams.quay.io"),
    ],
)
def test_where_a_mapping_belongs_nothing_else_will_do(
    problems: Problems, text: str, path: str
) -> None:
    [problem] = problems(text)
    assert problem.startswith(f"{path}: expected a mapping")


@pytest.mark.parametrize(
    "text",
    [
        "data_dir: a\ndata_dir: b\n",
        "groups:\n  acme: {}\n  acme: {}\n",
        "groups: {acme: {stale_for: 1h, stale_for: 2h}}",
    ],
)
def test_a_key_that_stands_twice_is_a_problem(problems: Problems, text: str) -> None:
    [problem] = problems(text)
    assert "twice" in problem
    assert "line " in problem


@pytest.mark.parametrize(
    "name",
    ["Acme", "acme/", "/acme", "acme//b", "a b", "-", "dependency_proxy", "acme/dependency_proxy"],
)
def test_a_groups_name_follows_the_grammar(problems: Problems, name: str) -> None:
    [problem] = problems(f"groups: {{'{name}': {{}}}}")
    assert problem.startswith(f"groups.{name}: key: expected a group's name")


@pytest.mark.parametrize("name", ["localhost", "quay.io:443", "Quay.io", "https://quay.io"])
def test_an_upstreams_name_is_a_dotted_host_without_a_port(problems: Problems, name: str) -> None:
    [problem] = problems(f"upstreams: {{'{name}': {{}}}}")
    assert problem.startswith(f"upstreams.{name}: key: expected a host name with a dot")


@pytest.mark.parametrize("listed", ["[ghcr.io]", "[]", "[docker.io, docker.io]"])
def test_a_group_lists_upstreams_that_exist_each_once(problems: Problems, listed: str) -> None:
    assert "groups.a.upstreams" in paths(problems(f"groups: {{a: {{upstreams: {listed}}}}}"))


@pytest.mark.parametrize(
    ("upstreams", "path"),
    [
        ("quay.io: {aliases: [docker.io]}", "upstreams.quay.io.aliases"),
        ("quay.io: {aliases: ['docker.io:443']}", "upstreams.quay.io.aliases"),
        ("quay.io: {aliases: [index.docker.io]}", "upstreams.quay.io.aliases"),
        ("quay.io: {aliases: ['q:1']}, ghcr.io: {aliases: ['q:1']}", "upstreams.ghcr.io.aliases"),
        ("quay.io: {aliases: [q]}, ghcr.io: {aliases: ['q:443']}", "upstreams.ghcr.io.aliases"),
    ],
)
def test_an_alias_belongs_to_one_upstream_only(
    problems: Problems, upstreams: str, path: str
) -> None:
    assert paths(problems(f"upstreams: {{{upstreams}}}")) == [path]


def test_an_alias_may_repeat_its_own_upstream(load: Load) -> None:
    quay = load("upstreams: {quay.io: {aliases: [quay.io, 'quay.io:443', 'quay.io:8443']}}")
    assert quay.upstreams["quay.io"].aliases == ("quay.io", "quay.io:443", "quay.io:8443")


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("username: me", "upstreams.quay.io.password_file"),
        ("password_file: secret", "upstreams.quay.io.username"),
        (
            "username: me, password_file: secret, password_env: SECRET",
            "upstreams.quay.io.password_env",
        ),
    ],
)
def test_credentials_are_a_name_and_one_place_for_the_password(
    problems: Problems, entry: str, path: str
) -> None:
    assert path in paths(problems(f"upstreams: {{quay.io: {{{entry}}}}}"))


@pytest.mark.parametrize("key", ["password_file", "ca_file"])
def test_a_file_that_cannot_be_read_is_a_problem(problems: Problems, key: str) -> None:
    found = problems(f"upstreams: {{quay.io: {{username: me, {key}: /nowhere}}}}")
    assert f"upstreams.quay.io.{key}: expected a file that can be read, found '/nowhere'" in found


def test_an_environment_variable_that_is_not_set_is_a_problem(problems: Problems) -> None:
    [problem] = problems("upstreams: {quay.io: {username: me, password_env: NOT_SET_ANYWHERE}}")
    assert problem.startswith("upstreams.quay.io.password_env: ")


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_a_file_without_a_whole_certificate_vouches_for_nobody(
    problems: Problems, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    [problem] = problems(f"upstreams: {{quay.io: {{ca_file: {file}}}}}")
    assert problem.startswith("upstreams.quay.io.ca_file: expected a file of certificates in PEM")


@pytest.mark.parametrize(("given", "missing"), [("certificate", "key"), ("key", "certificate")])
def test_certificate_and_key_go_together(problems: Problems, given: str, missing: str) -> None:
    assert f"tls.{missing}" in paths(problems(f"tls: {{{given}: x.pem}}"))


def test_a_token_lives_at_least_five_minutes(problems: Problems) -> None:
    [problem] = problems("auth: {token_lifetime: 4m}")
    assert problem.startswith("auth.token_lifetime: expected a duration of at least 5m")


def test_the_mirrors_group_is_one_of_the_groups(problems: Problems) -> None:
    found = problems("groups: {a: {}}\nmirror: {group: b}")
    assert "mirror.group: expected one of the groups, found 'b'" in found


def test_metrics_have_an_address_of_their_own_or_none(load: Load, problems: Problems) -> None:
    assert load("metrics: {listen: '127.0.0.1:9090'}").metrics.listen == Address("127.0.0.1", 9090)
    assert load("metrics: {listen: 'unix:/run/m'}").metrics.listen == Address(unix="/run/m")
    [problem] = problems("listen: [127.0.0.1:1, 127.0.0.1:2]\nmetrics: {listen: 127.0.0.1:2}")
    assert problem == "metrics.listen: expected an address that is not in listen, too"


@pytest.mark.parametrize(
    "text",
    [
        "listen: [",
        "a: b: c",
        "\tlisten: x",
        "--- a\n--- b\n",
        "&a [*b]",
        "!!python/object:os.system {}",
        "listen: !unknown x",
        "2001-99-99",
        "? [a]\n: b",
        "[" * 10_000,
        "\x01",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_yaml_is_one_problem(problems: Problems, text: str) -> None:
    [problem] = problems(text)
    assert problem.startswith("is not YAML: ")
    assert "\n" not in problem
    assert "byte string" not in problem


def test_what_is_not_yaml_is_told_with_its_line(problems: Problems) -> None:
    [problem] = problems("groups:\n\tmygroup: {}\n")
    assert "at line 2, column 1" in problem


@pytest.mark.parametrize("text", ["a: !!bool maybe", "a: !!timestamp soon", "a: !!int ''"])
def test_a_value_that_belies_its_yaml_tag_is_a_problem_too(problems: Problems, text: str) -> None:
    assert problems(text)


def test_bytes_that_are_no_text_are_one_problem(tmp_path: Path) -> None:
    file = tmp_path / "depproxy.yml"
    file.write_bytes(b"\xff\x00\x80listen")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert len(caught.value.problems) == 1


def test_a_missing_file_or_a_folder_cannot_be_read(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.yml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_config(file)
        assert caught.value.source == str(file)
        [problem] = caught.value.problems
        assert problem.startswith("cannot be read: ")
