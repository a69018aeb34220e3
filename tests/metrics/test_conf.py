"""The dashboard and the alerts ask for what the server has, and every alert is explained."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from depproxy.metrics.families import COUNTER, FAMILIES, HISTOGRAM

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "conf" / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((ROOT / "conf" / "prometheus-alerts.yml").read_text())
ALERTS: list[dict[str, Any]] = RULES["groups"][0]["rules"]
PANELS: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]

OF_A_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds."""


def labels_by_name() -> dict[str, set[str]]:
    """The names that queries may use, with the labels that each has."""
    known: dict[str, set[str]] = {}
    for family in FAMILIES:
        if family.type == HISTOGRAM:
            known[f"{family.name}_bucket"] = {*family.labels, "le"}
            known[f"{family.name}_sum"] = known[f"{family.name}_count"] = set(family.labels)
        else:
            known[family.full_name] = set(family.labels)
    return known


def queries() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"][1:]:
        yield variable["definition"]
    yield from (rule["expr"] for rule in ALERTS)


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_uses_metrics_and_labels_that_there_are(query: str) -> None:
    known = labels_by_name()
    found = re.findall(r"\b(depproxy_[a-z_]+)(?:\{([^}]*)\})?", query)
    for name, selector in found:
        labels = set(re.findall(r"([a-z]+)\s*(?:=~|!=|=)", selector))
        assert labels <= known[name] | OF_A_SCRAPE, query
    for grouping in re.findall(r"by \(([^)]*)\)", query):
        everything = set().union(*(known[name] for name, _ in found)) | OF_A_SCRAPE
        assert set(grouping.split(", ")) <= everything


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries())
    for family in FAMILIES:
        name = family.full_name if family.type == COUNTER else family.name
        assert re.search(rf"\b{name}", shown), name


def test_every_panel_has_a_place_a_unit_and_the_chosen_data_source() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        cells |= taken
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith(".")
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}


def test_the_dashboard_knows_no_server_of_anybodys() -> None:
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    assert DASHBOARD["schemaVersion"] <= 38  # Grafana 10.0's


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_how_bad_it_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["description"].endswith(".")
    assert rule["for"]


def test_every_alert_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(Depproxy\w+)` \| .+ \| .+ \|$", text, re.MULTILINE)
    assert explained == [rule["alert"] for rule in ALERTS]
