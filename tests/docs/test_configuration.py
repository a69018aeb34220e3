"""``docs/configuration.md`` has the keys and the defaults that the code has, and its examples work.

Keys and defaults are those of the dataclasses in `depproxy.config.model`, as the loader fills them.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
import yaml

from depproxy.access import advice
from depproxy.config import Config, Credentials, load_config
from depproxy.config.values import _BYTES, _SECONDS
from depproxy.errors import ConfigError
from tests.docs.markdown import NAMES, ROOT, Page, code

PAGE = Page("docs/configuration.md")
HUB = "upstreams.docker.io"
CHOSEN = {"upstreams": "registry.example.net", "groups": "mygroup", "credentials": "docker.io"}
"""Names that a user might choose, in place of ``<name>`` and ``<upstream>``."""

SMALLEST: dict[str, Any] = {
    "upstreams": {CHOSEN["upstreams"]: None},
    "groups": {CHOSEN["groups"]: {"credentials": {CHOSEN["credentials"]: None}}},
}
"""A file that leaves out every key, and has one entry of each kind."""

Load = Callable[[Any], Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_it(document: Any) -> Config:
        file = tmp_path / "depproxy.yml"
        file.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        try:
            return load_config(file)
        except ConfigError as exc:
            raise AssertionError("\n".join(exc.problems)) from exc

    return load_it


def documented() -> dict[str, str]:
    """The tables' keys by their whole dotted paths, with the word for their default."""
    found: dict[str, str] = {}
    for table in PAGE.tables:
        if table.header[:2] != ("key", "default"):
            continue
        prefix = "".join(code(table.heading))
        for key, default, *_ in table.rows:
            [name] = code(key)
            path = f"{prefix}.{name}" if prefix else name
            assert path not in found, f"{path} stands there twice"
            found[path] = default
    return found


def known(value: Any, path: str = "", *, is_entry: bool = False) -> Iterator[tuple[str, Any]]:
    """The keys of a configuration, with what they are."""
    if is_dataclass(value):
        for each in fields(value):
            inner = getattr(value, each.name)
            if is_entry and each.name == "name":
                continue  # it is the entry's own key
            is_flat = isinstance(inner, Credentials)
            yield from known(inner, path if is_flat else f"{path}.{each.name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if f"{path}.{name}" != HUB:
                placeholder = "<upstream>" if path.endswith("credentials") else "<name>"
                yield from known(inner, f"{path}.{placeholder}", is_entry=True)
    else:
        yield path, value


def with_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """A document that has these keys, with names in the places of placeholders."""
    document: dict[str, Any] = {}
    for path, value in keys.items():
        *sections, key = re.findall(r"docker\.io|[^.]+", path)
        inner, parent = document, ""
        for section in sections:
            name = CHOSEN[parent] if section.startswith("<") else section
            inner, parent = inner.setdefault(name, {}), section
        inner[key] = value
    return document


def values() -> dict[str, Any]:
    """The documented defaults, read as YAML; None where the table says none."""
    found: dict[str, Any] = {}
    for path, default in documented().items():
        if default.partition(":")[0] == "none":
            found[path] = None
        else:
            [text] = code(default)
            found[path] = yaml.safe_load(text.replace("<name>", CHOSEN["upstreams"]))
    return found


def test_the_tables_have_every_key_of_the_code_and_no_other(load: Load) -> None:
    keys = {path for path, _ in known(load(SMALLEST))}
    assert {path for path in documented() if not path.startswith(HUB)} == keys


def test_every_key_of_the_tables_is_accepted(load: Load) -> None:
    load(with_keys(dict.fromkeys(documented())))


def test_every_key_that_the_loader_takes_is_in_the_tables() -> None:
    tree = ast.parse((ROOT / "depproxy" / "config" / "load.py").read_text(encoding="utf-8"))
    taken = {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("take", "take_list", "one_of", "section")
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant)
    }
    words = {part for path in documented() for part in path.split(".")}
    assert taken == words - {"<name>", "<upstream>", "docker", "io"}


def test_a_file_that_says_every_default_is_as_one_that_says_nothing(load: Load) -> None:
    assert load(with_keys(values())) == load(SMALLEST)


def test_where_the_tables_say_none_there_is_no_value(load: Load) -> None:
    said = values()
    for path, value in known(load(SMALLEST)):
        if said[path] is None:
            assert value is None, path


def test_docker_hubs_own_defaults_are_those_that_differ_from_other_upstreams(load: Load) -> None:
    config = load(SMALLEST)
    hub, other = config.upstreams["docker.io"], config.upstreams[CHOSEN["upstreams"]]
    different = {
        f"{HUB}.{each.name}"
        for each in fields(hub)
        if each.name != "name" and getattr(hub, each.name) != getattr(other, each.name)
    }
    assert {path for path in documented() if path.startswith(HUB)} == different


@pytest.mark.parametrize("table", [t for t in PAGE.tables if t.header[:1] == ("key",)])
def test_every_key_has_a_meaning_and_a_reason(table: Any) -> None:
    assert table.header == ("key", "default", "means", "why")
    assert all(len(row) == 4 and all(row) for row in table.rows)


def test_the_table_of_units_has_those_that_are_read() -> None:
    durations, sizes = (code(cell) for cell in PAGE.table("Units", "").column("units"))
    assert {unit for unit in durations if unit.isalpha()} == set(_SECONDS)
    assert {unit for unit in sizes if unit.isalpha()} == set(_BYTES)


# -- examples -----------------------------------------------------------------------------------


def examples() -> Iterator[Any]:
    """What is a piece of configuration in the documentation: blocks, and words in backticks."""
    sections = {each.name for each in fields(Config)}
    for name in NAMES:
        page = Page(name)
        spans = [span for span in page.spans if "…" not in span]  # messages, and halves
        for text in (*page.blocks, *spans):
            try:
                document = yaml.safe_load(text)
            except yaml.YAMLError:
                continue
            if isinstance(document, dict) and sections & set(document):
                yield pytest.param(text, id=f"{name}: {text.partition(':')[0]}")


def completed(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A fragment, with the upstreams and groups that it speaks of, and files that there are."""
    file = folder / "file"
    trustme.CA().cert_pem.write_to_path(str(file))  # as good as any for a password
    groups = document.get("groups") or {}
    mirrored = (document.get("mirror") or {}).get("group")
    if mirrored and not groups:
        groups = document["groups"] = {mirrored: None}
    named = {name for group in groups.values() for name in (group or {}).get("upstreams", ())}
    if "upstreams" not in document:
        document["upstreams"] = dict.fromkeys(named)
    return {key: _with_files(value, str(file)) for key, value in document.items()}


def _with_files(document: Any, file: str) -> Any:
    if isinstance(document, dict):
        return {
            key: file if key in ("password_file", "ca_file") else _with_files(value, file)
            for key, value in document.items()
        }
    return document


@pytest.mark.parametrize("text", list(examples()))
def test_an_example_is_accepted(
    text: str, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_PASSWORD", "x")
    load(completed(yaml.safe_load(text), tmp_path))


def test_the_first_example_could_be_served_as_it_is(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_PASSWORD", "x")
    [text] = [block for block in PAGE.blocks if block.startswith("listen:")]
    document = completed(yaml.safe_load(text), tmp_path)
    names = {user for group in document["groups"].values() for user in _users(group)}
    users = tmp_path / "users"
    some_hash = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    users.write_text("".join(f"{name}:{some_hash}\n" for name in names))
    document["auth"]["users_file"] = str(users)
    config = load(document)
    assert advice.problems(config) == []
    assert advice.warnings(config) == []


def _users(group: dict[str, Any]) -> Iterator[str]:
    yield from group.get("readers", ())
    yield from group.get("owners", ())


def test_the_shipped_file_is_accepted(load: Load) -> None:
    load((ROOT / "conf" / "depproxy.yml").read_text(encoding="utf-8"))


def test_a_typing_error_in_an_example_would_be_noticed(load: Load, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="did you mean 'expire_after'"):
        load(completed({"groups": {"mygroup": {"expires_after": "90d"}}}, tmp_path))
