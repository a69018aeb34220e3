"""``docs/architecture.md`` tells of every room and file that there is, and of no other."""

import re

import pytest

from depproxy.cache import fill
from depproxy.cache.fill import NEXT, State
from tests.docs.markdown import ROOT, Page, code

HOUSE = "depproxy"
PAGE = Page("docs/architecture.md")
TEXT = PAGE.path.read_text(encoding="utf-8")
[ROOMS] = [block for block in PAGE.blocks if block.startswith("server.py")]
PATH = re.compile(r"[a-z_]+(?:/[a-z_]+)*\.(?:py|html|js)")
MEMBER = re.compile(r"([A-Z][A-Za-z]+)\.(_?[a-z_]+)")
"""A method or a field: ``Fill.error``."""

FILES = sorted(
    str(file.relative_to(ROOT / HOUSE))
    for file in (ROOT / HOUSE).rglob("*.py")
    if not file.name.startswith("__")
)


def spans(pattern: re.Pattern[str]) -> list[str]:
    return sorted({span for span in PAGE.spans if pattern.fullmatch(span)})


@pytest.mark.parametrize("name", spans(PATH))
def test_a_file_in_the_text_is_there(name: str) -> None:
    assert any(path.is_file() for path in (ROOT / name, *(ROOT / HOUSE).rglob(name)))


@pytest.mark.parametrize("name", spans(MEMBER))
def test_a_method_or_field_in_the_text_is_there(name: str) -> None:
    found = MEMBER.fullmatch(name)
    assert found
    cut = re.compile(rf"^class {found[1]}\b.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
    bodies = [
        body
        for path in (ROOT / HOUSE).rglob("*.py")
        for body in cut.findall(path.read_text(encoding="utf-8"))
    ]
    assert any(re.search(rf"def {found[2]}\b|\b{found[2]}\b.* = ", body) for body in bodies)


@pytest.mark.parametrize("name", re.findall(r"^(\S+)", ROOMS, re.MULTILINE))
def test_a_room_of_the_list_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_room_is_in_the_list() -> None:
    inside = [path for path in (ROOT / HOUSE).iterdir() if not path.is_symlink()]
    rooms = {f"{HOUSE}/{path.name}/" for path in inside if path.is_dir()} - {
        f"{HOUSE}/__pycache__/"
    }
    rooms |= {f"{HOUSE}/{name}" for name in FILES if "/" not in name}
    assert rooms <= set(re.findall(rf"\b{HOUSE}/[a-z_]+(?:/|\.py)", ROOMS))


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_package_is_told_of(name: str) -> None:
    short = name.rpartition("/")[2]
    assert (
        re.search(rf"`(?:depproxy/)?(?:{re.escape(name)}|{re.escape(short)})`", TEXT)
        or name in ROOMS
    )


# -- a fill's states ----------------------------------------------------------------------------


def test_a_fills_states_are_in_the_page_as_they_are_in_the_code() -> None:
    table = PAGE.table("A fill and its states", "state")
    told = {
        State[code(row[0])[0]]: frozenset(State[name] for name in code(row[2]))
        for row in table.rows
    }
    assert told == NEXT


def test_a_fills_states_are_in_its_docstring_as_they_are_in_the_code() -> None:
    lines = re.findall(r"^    ([A-Z]+) +.*?(?:→ ([A-Z, ]+))?$", str(fill.__doc__), re.MULTILINE)
    told = {
        State[name]: frozenset(State[each] for each in following.split(", ") if each)
        for name, following in lines
    }
    assert told == NEXT
