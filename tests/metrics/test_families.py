"""Names follow Prometheus' conventions, and the documentation has every one."""

import re
from pathlib import Path

import pytest

from depproxy.metrics.families import COUNTER, FAMILIES, GAUGE, HISTOGRAM, Family
from tests.tables import assert_documented

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_has_our_prefix_and_its_unit_and_no_type(family: Family) -> None:
    assert re.fullmatch(r"depproxy_[a-z_]+[a-z]", family.name)
    assert not family.name.endswith(("_total", "_count", "_bucket", "_sum"))
    assert family.type in (COUNTER, GAUGE, HISTOGRAM)
    if family.type == HISTOGRAM:
        assert family.name.endswith("_seconds")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_help_text_is_a_sentence_that_says_the_unit(family: Family) -> None:
    assert family.help.endswith(".")
    for unit in ("bytes", "seconds"):
        if family.name.endswith(f"_{unit}"):
            assert family.help.startswith(unit.capitalize())


def test_no_name_is_there_twice() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)


def test_the_table_of_metrics_has_all_of_them_and_no_other() -> None:
    rows = [
        (f"`{family.full_name}`", family.type, ", ".join(family.labels) or "—", family.help)
        for family in FAMILIES
    ]
    assert_documented("operations.md", "metrics", ("metric", "type", "labels", "meaning"), rows)


def test_the_documentation_names_no_metric_that_is_not_there() -> None:
    known = {family.full_name for family in FAMILIES}
    known |= {f"{family.name}_{end}" for family in FAMILIES for end in ("bucket", "sum", "count")}
    named = set(re.findall(r"\bdepproxy_[a-z_]+\b", OPERATIONS.read_text(encoding="utf-8")))
    assert named <= known
