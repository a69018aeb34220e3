"""A real Prometheus scrapes the server, and promtool finds nothing to complain of."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.metrics.families import FAMILIES
from tests.fakes.registry import FakeRegistry
from tests.real.programs import ROOT, Depproxy, free_port, need, run, running, wait_until

pytestmark = pytest.mark.real

ALERTS = ROOT / "conf" / "prometheus-alerts.yml"


class Prometheus:
    """Debian's, with a configuration and a storage of the test's own."""

    def __init__(self, folder: Path, target: str) -> None:
        self.port = free_port()
        self.log = folder / "prometheus.log"
        self._config = folder / "prometheus.yml"
        self._config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{ALERTS}']\n"
            "scrape_configs:\n"
            "  - job_name: depproxy\n"
            "    metrics_path: /-/metrics\n"
            f"    static_configs: [{{targets: ['{target}']}}]\n"
        )
        self._command = [
            "prometheus",
            f"--config.file={self._config}",
            f"--storage.tsdb.path={folder / 'storage'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    @contextmanager
    def serving(self) -> "Iterator[subprocess.Popen[bytes]]":
        with running(self._command, self.log) as process:
            wait_until(self._is_ready, process, self.log)
            yield process

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("targets")["activeTargets"])
        except OSError:
            return False

    def ask(self, resource: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{resource}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url) as reply:
            document = json.loads(reply.read())
        assert document["status"] == "success"
        return document["data"]

    def query(self, expression: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found


def exposition(proxy: Depproxy) -> str:
    with urllib.request.urlopen(f"{proxy.url}/-/metrics") as reply:
        return str(reply.read().decode())


def pull(proxy: Depproxy, image: Image) -> None:
    base = f"{proxy.url}/v2/mygroup/dependency_proxy/containers/hello"
    paths = ["manifests/latest", *(f"blobs/{digest}" for digest in image.blobs)]
    for path in paths:
        with urllib.request.urlopen(f"{base}/{path}") as reply:
            reply.read()


def dashboard_queries() -> Iterator[str]:
    """With Grafana's variables replaced as Grafana does."""
    dashboard = json.loads((ROOT / "conf" / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "1m")
            yield re.sub(r"\$(job|instance|group|upstream)\b", ".*", text)


def test_prometheus_scrapes_the_server_and_can_answer_the_dashboard(
    tmp_path: Path, registry: FakeRegistry, hello: Image
) -> None:
    need("prometheus")
    proxy = Depproxy(tmp_path, registry.url)
    prometheus = Prometheus(tmp_path, proxy.host)
    wanted = f'depproxy_requests_total{{kind="blob",cache="stored"}} == {len(hello.blobs)}'
    with proxy.serving(), prometheus.serving() as process:
        pull(proxy, hello)
        wait_until(lambda: bool(prometheus.query(wanted)), process, prometheus.log)
        [target] = prometheus.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        names = set(prometheus.ask("label/__name__/values"))
        for family in FAMILIES:
            if not family.name.startswith(
                ("depproxy_upstream_rate_limit", "depproxy_fill_failures")
            ):
                assert names & {family.full_name, f"{family.name}_bucket"}, family.name
        for query in dashboard_queries():
            prometheus.query(query)
        [group] = prometheus.ask("rules")["groups"]
        assert {rule["lastError"] for rule in group["rules"] if "lastError" in rule} <= {""}
        print(f"{len(names)} metrics scraped in {target['lastScrapeDuration'] * 1000:.1f} ms")


def test_promtool_finds_nothing_wrong_with_the_metrics(
    tmp_path: Path, registry: FakeRegistry, hello: Image
) -> None:
    need("promtool")
    proxy = Depproxy(tmp_path, registry.url)
    with proxy.serving():
        pull(proxy, hello)
        text = exposition(proxy)
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    need("promtool")
    checked = run("promtool", "check", "rules", str(ALERTS))
    assert "SUCCESS: 10 rules found" in checked.stdout
    run("promtool", "test", "rules", str(ROOT / "tests" / "real" / "prometheus-alerts-test.yml"))
