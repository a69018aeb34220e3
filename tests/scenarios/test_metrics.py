"""``/-/metrics``: what is told, of whom, where, and through a reload."""

import http.client
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from depproxy.config import Address, Config, MetricsConfig, load_config
from depproxy.demo.image import Image
from depproxy.metrics.families import FAMILIES
from depproxy.serving.sockets import FOR_METRICS, listen
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start, write_config
from tests.waiting import wait_for

Labels = frozenset[tuple[str, str]]
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """The numbers of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: dict[str, dict[Labels, float]] = {}
        self.families = {family.name for family in parse_text(text)}
        for family in parse_text(text):
            for sample in family.samples:
                found = self.samples.setdefault(sample.name, {})
                found[frozenset(sample.labels.items())] = sample.value

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples that have these labels."""
        wanted = frozenset(labels.items())
        return sum(v for found, v in self.samples.get(name, {}).items() if wanted <= found)


def scrape(server: RunningServer) -> Scrape:
    reply = server.ask("/-/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Scrape(reply.body.decode())


def pull(server: RunningServer, image: Image) -> None:
    assert server.manifest("hello", "latest").status == 200
    for digest in image.blobs:
        assert server.blob("hello", digest).status == 200
    server.settle()


def test_every_metric_is_there(server: RunningServer) -> None:
    assert {family.name for family in FAMILIES} <= scrape(server).families
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert scrape(server).sum(name) > 0


def test_a_pull_is_seen_in_all_its_parts(
    server: RunningServer, hello: Image, registry: FakeRegistry
) -> None:
    registry.needs_token = True
    pull(server, hello)
    pull(server, hello)
    wait_for(lambda: scrape(server).sum("depproxy_fills_running") == 0)
    seen = scrape(server)
    blobs = len(hello.blobs)
    requests = "depproxy_requests_total"
    assert seen.sum(requests, group="mygroup", kind="blob", cache="stored", code="200") == blobs
    assert seen.sum(requests, group="mygroup", kind="blob", cache="hit", code="200") == blobs
    assert seen.sum(requests, group="mygroup", kind="manifest", cache="hit") == 1
    assert seen.sum(requests, group="mygroup", kind="manifest", cache="stored") == 1
    size = sum(map(len, hello.blobs.values())) + len(hello.manifests[hello.index][1])
    assert seen.sum("depproxy_served_bytes_total", group="mygroup") == 2 * size
    assert seen.sum("depproxy_fetched_bytes_total", group="mygroup") == size
    assert seen.sum("depproxy_fills_total", group="mygroup", outcome="stored") == blobs
    revalidations = "depproxy_revalidations_total"
    assert seen.sum(revalidations, group="mygroup", result="changed") == 1
    assert seen.sum(revalidations, group="mygroup", result="confirmed") == 1
    assert seen.sum("depproxy_stored_bytes", group="mygroup") == size
    assert seen.sum("depproxy_stored_blobs", group="mygroup") == blobs
    assert seen.sum("depproxy_stored_manifests", group="mygroup") == 1
    assert seen.sum("depproxy_upstream_answers_total", upstream="docker.io", code="2xx") > blobs
    assert seen.sum("depproxy_upstream_latency_seconds_count", upstream="docker.io") > blobs
    assert seen.sum("depproxy_upstream_errors_total") == 0
    assert seen.sum("depproxy_request_duration_seconds_count", kind="blob") == 2 * blobs
    assert seen.sum("depproxy_disk_free_bytes") > 0
    assert seen.sum("depproxy_disk_degraded") == 0


def test_a_broken_transfer_is_resumed_and_a_wrong_one_fails(
    start: Start, hello: Image, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", (0.0, 0.0, 0.0))
    server = start()
    first, second, *_ = hello.blobs
    registry.misbehave(behaviours.blob_until(10, "close"), f".*/blobs/{first}", "GET", times=1)
    assert server.blob("hello", first).status == 200
    wrong = b"x" * len(hello.blobs[second])
    registry.misbehave(behaviours.blob_bytes(wrong), f".*/blobs/{second}", "GET")
    server.blob("hello", second)
    server.settle()
    seen = scrape(server)
    assert seen.sum("depproxy_fill_resumptions_total", group="mygroup") == 1
    assert seen.sum("depproxy_fills_total", group="mygroup", outcome="failed") == 1
    failures = "depproxy_fill_failures_total"
    assert seen.sum(failures, group="mygroup", reason="wrong_content") == 1
    assert seen.sum("depproxy_upstream_errors_total", reason="unreachable") == 1


def test_stale_answers_and_the_upstreams_state_are_seen(
    server: RunningServer, hello: Image, registry: FakeRegistry
) -> None:
    pull(server, hello)
    assert scrape(server).sum("depproxy_upstream_state", state="reachable") == 1
    registry.misbehave(behaviours.status(503), ".*/manifests/.*", "HEAD")
    assert "Warning" in server.manifest("hello", "latest").headers
    seen = scrape(server)
    assert seen.sum("depproxy_stale_answers_total", group="mygroup") == 1
    assert seen.sum("depproxy_revalidations_total", group="mygroup", result="failed") == 1
    assert seen.sum("depproxy_upstream_state", state="failing") == 1
    assert seen.sum("depproxy_upstream_state", state="reachable") == 0
    assert seen.sum("depproxy_upstream_errors_total", reason="server_error") == 1


def test_the_rate_limit_is_told_as_the_upstream_told_it(
    server: RunningServer, hello: Image, registry: FakeRegistry
) -> None:
    assert scrape(server).sum("depproxy_upstream_rate_limit") == 0
    registry.misbehave(behaviours.rate_limited(100, 7), ".*/manifests/.*")
    server.manifest("hello", "latest", "HEAD")
    seen = scrape(server)
    assert seen.sum("depproxy_upstream_rate_limit", upstream="docker.io") == 100
    assert seen.sum("depproxy_upstream_rate_limit_remaining", upstream="docker.io") == 7


def test_what_strangers_make_up_is_no_label(server: RunningServer) -> None:
    for name in ("nosuch", "a/b/c"):
        server.ask(f"/v2/{name}/dependency_proxy/containers/x/manifests/latest")
        server.ask(f"/api/v4/groups/{name}/dependency_proxy")
        server.ask(f"/groups/{name}/-/dependency_proxy")
    server.ask("/v2/x/manifests/latest", "BREW")
    seen = scrape(server)
    assert "nosuch" not in seen.text
    assert "a/b/c" not in seen.text
    assert seen.sum("depproxy_requests_total", group="", kind="manifest", code="404") == 2
    assert seen.sum("depproxy_requests_total", kind="manifest", code="405") == 1


def test_every_surface_has_a_kind(server: RunningServer) -> None:
    for path in ("/v2/", "/jwt/auth", "/", "/-/health", "/api/v4/groups/mygroup/dependency_proxy"):
        assert server.ask(path).status == 200
    seen = scrape(server)
    for kind in ("version", "token", "page", "operations", "api"):
        assert seen.sum("depproxy_requests_total", kind=kind) == 1
    assert seen.sum("depproxy_requests_total", kind="api", group="mygroup") == 1


def test_openmetrics_is_sent_where_it_is_asked_for(server: RunningServer) -> None:
    reply = server.ask("/-/metrics", headers={"Accept": OPEN_METRICS})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(reply.body.decode())  # type: ignore[no-untyped-call]
    assert "depproxy_requests" in {family.name for family in families}
    head = server.ask("/-/metrics", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert server.ask("/-/metrics", "POST").status == 405


# -- private groups --------------------------------------------------------------------------


Write = Callable[[str], Config]


@pytest.fixture
def write(tmp_path: Path, registry: FakeRegistry) -> Write:
    """A configuration whose ``mygroup`` is as given, and whose ``other`` is private."""
    (tmp_path / "users").write_text("ada:" + "$2b$04$" + 53 * "." + "\n")

    def with_visibility(visibility: str, group: str = "mygroup") -> Config:
        more = f"auth: {{users_file: {tmp_path / 'users'}}}\n"
        write_config(tmp_path, registry.url, group=f"visibility: {visibility}", more=more)
        file = tmp_path / "depproxy.yml"
        text = file.read_text().replace("  other:\n", "  other:\n    visibility: private\n")
        file.write_text(text.replace("  mygroup:\n", f"  {group}:\n"))
        return load_config(file)

    return with_visibility


def test_private_groups_are_summed_on_the_main_address(write: Write) -> None:
    with RunningServer(write("public")) as server:
        seen = scrape(server)
    assert "other" not in {
        dict(labels)["group"] for labels in seen.samples["depproxy_stored_bytes"]
    }
    assert frozenset({("group", "(private)")}) in seen.samples["depproxy_stored_bytes"]
    assert frozenset({("group", "mygroup")}) in seen.samples["depproxy_stored_bytes"]


@pytest.mark.parametrize(
    ("visibility", "told"), [("public", "docker.io"), ("private", "(private)")]
)
def test_an_upstream_that_only_private_groups_have_has_no_name(
    write: Write, visibility: str, told: str
) -> None:
    with RunningServer(write(visibility)) as server:
        states = scrape(server).samples["depproxy_upstream_state"]
    assert {dict(labels)["upstream"] for labels in states} == {told}


def test_a_reload_makes_no_count_smaller_and_hides_what_became_private(
    write: Write, hello: Image
) -> None:
    with RunningServer(write("public")) as server:
        pull(server, hello)
        before = scrape(server)
        served = before.sum("depproxy_served_bytes_total", group="mygroup")
        server.reload(write("private"))
        after = scrape(server)
    assert "mygroup" not in after.text
    assert after.sum("depproxy_served_bytes_total", group="(removed)") == served > 0
    for name, samples in before.samples.items():
        if name.startswith("depproxy_") and name.endswith("_total"):
            assert after.sum(name) >= sum(samples.values()), name


def test_a_group_that_was_removed_stays_in_the_sum(write: Write, hello: Image) -> None:
    with RunningServer(write("public")) as server:
        pull(server, hello)
        served = scrape(server).sum("depproxy_served_bytes_total")
        server.reload(load_config(_renamed(write("public"))))
        seen = scrape(server)
    assert "mygroup" not in seen.text
    assert seen.sum("depproxy_served_bytes_total", group="(removed)") == served


def _renamed(config: Config) -> Path:
    file = config.data_dir.parent / "depproxy.yml"
    file.write_text(file.read_text().replace("  mygroup:\n", "  fresh:\n"))
    return file


# -- an address of its own -------------------------------------------------------------------


def ask_at(address: str, path: str) -> tuple[int, str]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", path, headers={"Connection": "close"})
    with connection.getresponse() as response:
        answer = response.status, response.read().decode()
    connection.close()
    return answer


def test_an_address_of_its_own_tells_all_and_the_main_one_nothing(
    tmp_path: Path, registry: FakeRegistry, write: Write, hello: Image
) -> None:
    write("public")
    file = tmp_path / "depproxy.yml"
    file.write_text(file.read_text() + "metrics: {listen: '127.0.0.1:0'}\n")
    with RunningServer(load_config(file)) as server:
        pull(server, hello)
        assert server.ask("/-/metrics").status == 404
        [address] = server.metrics_addresses
        assert ask_at(address, "/-/health")[0] == 200
        assert ask_at(address, "/-/readiness")[0] == 404
        assert ask_at(address, f"{PREFIX}/hello/manifests/latest")[0] == 404
        status, text = ask_at(address, "/-/metrics")
        seen = Scrape(text)
        assert status == 200
        assert frozenset({("group", "other")}) in seen.samples["depproxy_stored_bytes"]
        assert "(private)" not in text
        served = seen.sum("depproxy_served_bytes_total", group="mygroup")
        server.reload(load_config(_renamed(load_config(file))))
        assert server.metrics_addresses == [address]
        seen = Scrape(ask_at(address, "/-/metrics")[1])
        assert seen.sum("depproxy_served_bytes_total", group="mygroup") == served > 0


def test_the_address_of_metrics_stays_until_a_restart(
    server: RunningServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "depproxy.yml"
    file.write_text(file.read_text() + "metrics: {listen: '127.0.0.1:0'}\n")
    server.reload(load_config(file))
    assert "metrics: it cannot change while the server runs" in caplog.text
    assert server.ask("/-/metrics").status == 200


def test_a_socket_that_was_passed_by_that_name_is_for_metrics(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, registry.url)
    with socket.create_server(("127.0.0.1", 0)) as given:
        monkeypatch.setattr("depproxy.serving.sockets.FIRST_PASSED", given.fileno())
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": FOR_METRICS}
        listeners = listen(config, environ, 7)
        given.detach()
    assert [listener.name for listener in listeners.metrics] == [FOR_METRICS]
    assert [listener.name for listener in listeners.clients] == [""]
    listeners.close()


def test_where_metrics_cannot_listen_nobody_does(tmp_path: Path, registry: FakeRegistry) -> None:
    config = write_config(tmp_path, registry.url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as free:
            main = free.getsockname()[1]
        both = Config(
            **{
                **{name: getattr(config, name) for name in config.__slots__},
                "listen": (Address("127.0.0.1", main),),
                "metrics": MetricsConfig(Address("127.0.0.1", port)),
            }
        )
        with pytest.raises(Exception, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(both, {}, 0)
    with socket.create_server(("127.0.0.1", main)):
        pass


def test_where_metrics_are_is_in_the_log(
    tmp_path: Path, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_config(tmp_path, registry.url, more="metrics: {listen: '127.0.0.1:0'}\n")
    with RunningServer(load_config(tmp_path / "depproxy.yml")) as server:
        [address] = server.metrics_addresses
        assert ask_at(address, "/-/health")[0] == 200
        assert f"metrics are on {address}" in caplog.text
