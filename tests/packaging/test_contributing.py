"""The first change of a newcomer, as CONTRIBUTING.md tells it, in a copy of the source tree."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.packaging.conftest import LEFT_BEHIND, as_stranger
from tests.real.programs import ROOT


def is_green(clone: Path, file: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    return (
        subprocess.run(command, cwd=clone, env=as_stranger(), capture_output=True).returncode == 0
    )


def test_the_first_change_is_red_and_then_green_as_it_is_told(tmp_path: Path) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = guide.partition("## Your first change")[2].partition("\n## ")[0]
    rule = re.search(r"^ {7}def test_.*?(?=^\d)", steps, re.MULTILINE | re.DOTALL)
    assert rule
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, symlinks=True, ignore=LEFT_BEHIND)
    tests, code = "tests/config/test_values.py", clone / "depproxy" / "config" / "values.py"
    assert is_green(clone, tests)
    with (clone / tests).open("a") as file:
        file.write("\n\n" + textwrap.dedent(rule[0]))
    assert not is_green(clone, tests)
    text = code.read_text()
    for name in ("_SIZE", "_BYTES"):
        assert f"`{name}`" in steps
    changed = text.replace("|TiB)", "|TiB|PiB)").replace(
        '"TiB": 2**40,', '"TiB": 2**40, "PiB": 2**50,'
    )
    assert changed.count("PiB") == 2
    code.write_text(changed)
    assert is_green(clone, tests)
