"""The arrows between the rooms, as data: who may import whom, held against the imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tables import assert_documented

ROOT = Path(__file__).parents[1]
HOUSE = "depproxy"

ARROWS: dict[str, set[str]] = {
    "server": {"main"},
    "__main__": {"main"},
    "main": {
        *("service", "signals", "serving", "demo", "commands", "access", "logs", "shipped"),
        *("process", "config", "errors", HOUSE),
    },
    "service": {
        *("composition", "threads", "serving", "notify", "app", "handlers", "access", "store"),
        *("metrics", "readings", "config", "errors", HOUSE),
    },
    "composition": {
        *("readings", "metrics", "threads", "access", "cache", "upstream", "store"),
        *("oci", "config", "errors", HOUSE),
    },
    "readings": {
        *("metrics", "cache", "upstream", "store", "tallies", "config", "errors", HOUSE),
    },
    "app": {"handlers", "access", "cache", "metrics", "oci", "config", "errors", HOUSE},
    "handlers": {"access", "cache", "metrics", "oci", "config", "errors", "readable", HOUSE},
    "commands": {"access", "cache", "store", "oci", "config", "errors", "readable", HOUSE},
    "access": {"oci", "config", "errors"},
    "metrics": {"tallies"},
    "cache": {"upstream", "store", "tallies", "oci", "config", "errors"},
    "upstream": {"tallies", "oci", "config", "errors"},
    "store": {"oci", "config", "errors"},
    "demo": {"oci", "config", "errors"},
    "config": {"oci", "errors"},
    "oci": {"errors"},
    "serving": {"config", "errors"},
    "notify": set(),
    "signals": set(),
    "tallies": set(),
    "threads": set(),
    "process": set(),
    "readable": set(),
    "logs": set(),
    "shipped": set(),
    "errors": set(),
    HOUSE: set(),
}
"""Room → the rooms it may import, besides itself. `depproxy` is the package's own file."""

FORBIDDEN_IN_FILES: dict[str, set[str]] = {
    "depproxy/cache/fill.py": {"upstream"},
    "depproxy/cache/tags.py": {"upstream"},
    "depproxy/cache/transfer.py": {"upstream"},
    "depproxy/cache/upstream_choice.py": {"upstream", "store"},
    "depproxy/config/model.py": {"errors"},
}
"""File → rooms that its own room may import and it may not."""

IO_MODULES = {
    *("aiohttp", "asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "httpx", "io"),
    *("logging", "mmap", "multiprocessing", "os", "pathlib", "pycurl", "random", "requests"),
    *("secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys"),
    *("tempfile", "threading", "time", "tornado", "urllib3", "yaml"),
}

PURE: dict[str, set[str]] = {
    "depproxy/errors.py": set(),
    "depproxy/oci": set(),
    "depproxy/access/htpasswd.py": set(),
    "depproxy/access/rights.py": set(),
    "depproxy/access/tokens.py": set(),
    "depproxy/access/visitor.py": set(),
    "depproxy/config/model.py": {"pathlib"},
    "depproxy/cache/image_policy.py": set(),
    "depproxy/cache/paging.py": set(),
    "depproxy/cache/progress.py": set(),
    "depproxy/cache/tags.py": set(),
    "depproxy/cache/upstream_choice.py": set(),
    "depproxy/handlers/answers.py": {"http"},
    "depproxy/handlers/conditional.py": set(),
    "depproxy/handlers/identity.py": set(),
    "depproxy/handlers/pages/chart.py": set(),
    "depproxy/handlers/pages/places.py": set(),
    "depproxy/handlers/pages/policy.py": set(),
    "depproxy/handlers/pages/snippets.py": set(),
    "depproxy/handlers/paths.py": set(),
    "depproxy/readable.py": set(),
    "depproxy/serving/proxies.py": set(),
    "depproxy/upstream/addresses.py": {"socket"},
    "depproxy/upstream/challenge.py": set(),
    "depproxy/upstream/conversation.py": set(),
    "depproxy/upstream/tokens.py": set(),
}
"""File or folder that does no I/O → the modules with I/O of which it uses a harmless part."""

MAX_LINES = 450

FILES = sorted([ROOT / "server.py", *(ROOT / HOUSE).rglob("*.py")])
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
TESTS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """A module that a file imports, by its full name, and where."""

    module: str
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The room of the house that it belongs to."""
        return room_of_module(self.module) if self.top == HOUSE else None


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports_of(name: str) -> Iterator[Import]:
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if is_module(inner) else node.module, node.lineno)


def room_of_module(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else HOUSE


def room_of_file(name: str) -> str:
    parts = Path(name).with_suffix("").parts
    if len(parts) == 1:
        return parts[0]
    return HOUSE if parts[1] == "__init__" else parts[1]


def pure_files() -> Iterator[tuple[str, set[str]]]:
    for name in NAMES:
        for pure, harmless in PURE.items():
            if name == pure or name.startswith(f"{pure}/"):
                yield name, harmless


def test_every_file_belongs_to_a_room_of_the_table() -> None:
    assert {room_of_file(name) for name in NAMES} == set(ARROWS)


def test_the_documentation_has_the_same_arrows() -> None:
    rows = [
        (f"`{room}`", ", ".join(sorted(targets - {HOUSE})) or "nothing of ours")
        for room, targets in ARROWS.items()
        if room not in (HOUSE, "server", "__main__")
    ]
    assert_documented("architecture.md", "arrows", ("room", "may use"), rows)


def test_every_file_that_the_tables_name_exists() -> None:
    for name in (*FORBIDDEN_IN_FILES, *PURE):
        assert (ROOT / name).exists(), name


def test_the_arrows_form_no_cycle() -> None:
    left = dict(ARROWS)
    while left:
        leaves = [room for room, targets in left.items() if not targets & set(left)]
        assert leaves, f"a cycle among {', '.join(left)}"
        for room in leaves:
            del left[room]


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("handlers", {"store", "upstream", "app", "service", "main"}),
        ("store", {"upstream", "cache"}),
        ("upstream", {"store", "cache"}),
        ("oci", set(ARROWS) - {"oci", "errors"}),
    ],
)
def test_the_table_itself_leaves_out_what_must_never_be(room: str, never: set[str]) -> None:
    assert not ARROWS[room] & never


def test_only_the_top_of_the_house_is_above_the_application() -> None:
    above = {room for room, targets in ARROWS.items() if targets & {"main", "app", "service"}}
    assert above == {"server", "__main__", "main", "service"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_imports_only_the_rooms_that_its_own_may(name: str) -> None:
    own = room_of_file(name)
    allowed = ARROWS[own] | {own}
    allowed -= FORBIDDEN_IN_FILES.get(name, set())
    wrong = [
        f"{name}:{found.line}: {own} → {found.module}"
        for found in imports_of(name)
        if found.room and found.room not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "harmless"), list(pure_files()))
def test_a_pure_file_imports_nothing_that_does_io(name: str, harmless: set[str]) -> None:
    wrong = [
        f"{name}:{found.line}: {found.module}"
        for found in imports_of(name)
        if found.top in IO_MODULES - harmless and found.module != "tornado.httputil"
    ]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_only_the_upstream_room_knows_curl(name: str) -> None:
    if room_of_file(name) == "upstream":
        return
    curl = [
        found.module for found in imports_of(name) if found.top != HOUSE and "curl" in found.module
    ]
    assert curl == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_imported_inside_a_function(name: str) -> None:
    hidden = [
        f"{name}:{node.lineno}"
        for function in ast.walk(tree_of(name))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_imported_by_name_at_run_time(name: str) -> None:
    calls = [
        f"{name}:{node.lineno}"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Name) and node.id in ("__import__", "importlib")
    ]
    assert calls == []


@pytest.mark.parametrize("name", TESTS)
def test_a_test_borrows_from_no_other_test(name: str) -> None:
    """What several need has a name of its own, where nobody has to look for it in a test."""
    borrowed = [
        found.module
        for found in imports_of(name)
        if found.top == "tests"
        and any(part.startswith("test_") for part in found.module.split("."))
    ]
    assert borrowed == []


@pytest.mark.parametrize("name", [*NAMES, *TESTS])
def test_a_file_is_short_enough_to_scroll(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES
