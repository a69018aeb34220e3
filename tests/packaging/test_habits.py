"""What the project promises about itself: versions, their history, and how old a library may be."""

import re
import tomllib

import depproxy
from tests.real.programs import ROOT

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

_SEMANTIC = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?"
"""Semantic Versioning 2.0.0, points 2 and 9."""


def test_the_version_is_semantic() -> None:
    assert re.fullmatch(_SEMANTIC, depproxy.__version__)


def test_the_changelog_begins_with_what_is_unreleased_and_then_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\](?: - (.+))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    version, date = headings[1]
    assert version == depproxy.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)


def test_the_floors_that_are_tested_are_those_that_pip_is_told() -> None:
    told = sorted(requirement.replace(">=", "==") for requirement in _PROJECT["dependencies"])
    lines = (ROOT / "tests" / "floors.txt").read_text().splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == told


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Dependencies")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| ([\w-]+) \|", table, re.MULTILINE))
    ini = (ROOT / "tox.ini").read_text()
    needed = {re.split(r"[>=]", requirement)[0] for requirement in _PROJECT["dependencies"]}
    tools = set(re.findall(r"^(?:deps = |    )([\w-]+)==", ini, re.MULTILINE))
    assert named == {*needed, *(tool for tool in tools if not tool.startswith("types-")), "tox"}
