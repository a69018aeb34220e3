"""Several upstreams: which one is asked, as whom, and that none is taken for another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from depproxy.demo.image import Image, make_image
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, Start

GROUP = "upstreams: [docker.io, quay.io]"


@pytest.fixture
def quay() -> Iterator[FakeRegistry]:
    """A second registry, with another image under the same name."""
    with FakeRegistry() as fake:
        fake.add_image("library/hello", "latest", make_image("Quay's own."))
        fake.add_image("prometheus/node-exporter", "v1", make_image("An exporter."))
        yield fake


@pytest.fixture
def server(start: Start, quay: FakeRegistry, hello: Image) -> RunningServer:
    return start(group=GROUP, more=f"  quay.io: {{url: {quay.url}}}\nmirror: {{group: mygroup}}\n")


DOCKER = "docker.io"
QUAY = "quay.io"


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        (f"{PREFIX}/hello/manifests/latest", DOCKER),
        (f"{PREFIX}/quay.io/library/hello/manifests/latest", QUAY),
        (f"{PREFIX}/library/hello/manifests/latest?ns=quay.io", QUAY),
        (f"{PREFIX}/library/hello/manifests/latest?ns=quay.io:443", QUAY),
        (f"{PREFIX}/quay.io/library/hello/manifests/latest?ns=quay.io", QUAY),
        (f"{PREFIX}/library/hello/manifests/latest?ns=docker.io", DOCKER),
        ("/v2/library/hello/manifests/latest", DOCKER),
        ("/v2/hello/manifests/latest", DOCKER),
        ("/v2/library/hello/manifests/latest?ns=docker.io", DOCKER),
        ("/v2/library/hello/manifests/latest?ns=quay.io", QUAY),
        ("/v2/quay.io/library/hello/manifests/latest", QUAY),
    ],
)
def test_each_name_gets_its_own_registrys_image(
    server: RunningServer, hello: Image, path: str, upstream: str
) -> None:
    reply = server.ask(path)
    expected = hello.index if upstream == DOCKER else make_image("Quay's own.").index
    assert reply.headers["Docker-Content-Digest"] == expected
    assert reply.headers["OCI-Namespace"] == (upstream if "ns=" in path else None)


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/ghcr.io/library/hello/manifests/latest",
        f"{PREFIX}/library/hello/manifests/latest?ns=ghcr.io",
        f"{PREFIX}/library/hello/manifests/latest?ns=quay.io:5000",
        f"{PREFIX}/quay.io/library/hello/manifests/latest?ns=docker.io",
        "/v2/library/hello/manifests/latest?ns=ghcr.io",
        "/v2/other/dependency_proxy/containers/quay.io/library/hello/manifests/latest",
    ],
)
def test_an_upstream_that_is_not_meant_is_never_asked(
    server: RunningServer, registry: FakeRegistry, quay: FakeRegistry, path: str
) -> None:
    reply = server.ask(path)
    assert (reply.status, reply.error) == (404, "NAME_UNKNOWN")
    assert (registry.requests, quay.requests) == ([], [])


@pytest.mark.parametrize("path", ["nope/manifests/latest", "nope/tags/list", "a/blobs/x:y"])
def test_errors_say_whose_image_was_asked_for_too(server: RunningServer, path: str) -> None:
    reply = server.ask(f"{PREFIX}/{path}?ns=quay.io")
    assert reply.status in (400, 404)
    assert reply.headers["OCI-Namespace"] == "quay.io"


def test_a_dotted_first_part_belongs_to_the_name_where_ns_says_whose_it_is(
    server: RunningServer, quay: FakeRegistry
) -> None:
    quay.add_image("google.com/sdk", "latest", make_image("An odd name."))
    assert server.ask(f"{PREFIX}/google.com/sdk/manifests/latest?ns=quay.io").status == 200


def test_ns_that_is_this_server_counts_as_none(server: RunningServer, hello: Image) -> None:
    for ns in (f"127.0.0.1:{server.port}", "localhost:8080"):
        reply = server.ask(f"{PREFIX}/hello/manifests/latest?ns={ns}")
        assert (reply.status, reply.headers["OCI-Namespace"]) == (200, None)


def test_the_same_blob_of_two_upstreams_is_fetched_once(
    server: RunningServer, registry: FakeRegistry, quay: FakeRegistry
) -> None:
    digest = registry.add_blob("library/hello", b"shared" * 50_000)
    quay.add_blob("prometheus/node-exporter", b"shared" * 50_000)
    server.blob("hello", digest)
    assert server.blob("quay.io/prometheus/node-exporter", digest).cache == "hit"
    assert not quay.requests


def test_a_mirror_of_no_group_is_404(start: Start) -> None:
    reply = start().ask("/v2/library/hello/manifests/latest")
    assert (reply.status, reply.error) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "rest", ["manifests/latest", f"blobs/sha256:{'a' * 64}", "tags/list", "/manifests/latest"]
)
def test_a_group_without_an_image_is_not_asked_of_the_mirrors_upstream(
    server: RunningServer, registry: FakeRegistry, rest: str
) -> None:
    reply = server.ask(f"{PREFIX}/{rest}")
    assert (reply.status, reply.error) == (400, "NAME_INVALID")
    assert not registry.requests


# -- credentials -------------------------------------------------------------------------------


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    return file


def test_a_basic_challenge_gets_the_password_and_redirects_do_not(
    start: Start, registry: FakeRegistry, hello: Image, password: Path
) -> None:
    registry.basic = "me:s3cret"
    with FakeRegistry() as storage:
        storage.add_image("library/hello", "latest", hello)
        server = start(extra=f"username: me\npassword_file: {password}")
        assert server.manifest("hello", "latest").status == 200
        registry.redirect_blobs_to = storage.url
        assert server.blob("hello", next(iter(hello.blobs))).status == 200
        assert all("authorization" not in seen.headers for seen in storage.requests)
    unauthorized = [s for s in registry.requests if "authorization" not in s.headers]
    assert len(unauthorized) == 1


def test_a_bearer_realm_gets_the_password_and_the_registry_does_not(
    start: Start, registry: FakeRegistry, hello: Image, password: Path
) -> None:
    registry.needs_token = True
    registry.token_basic = "me:s3cret"
    server = start(extra=f"username: me\npassword_file: {password}")
    assert server.manifest("hello", "latest").status == 200
    for seen in registry.requests:
        if seen.path != "/token":
            assert not seen.headers.get("authorization", "").startswith("Basic")


def test_a_new_password_counts_from_the_next_question_on(
    start: Start, registry: FakeRegistry, hello: Image, password: Path
) -> None:
    registry.basic = "me:s3cret"
    server = start(extra=f"username: me\npassword_file: {password}")
    assert server.manifest("hello", "latest").status == 200
    registry.basic = "me:another"
    assert server.manifest("hello", "other").status == 403
    password.write_text("another")
    assert server.manifest("hello", "missing").status == 404


def test_wrong_credentials_are_403_and_tell_no_secret(
    start: Start, registry: FakeRegistry, password: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.basic = "me:right"
    reply = start(extra=f"username: me\npassword_file: {password}").manifest("hello", "latest")
    assert (reply.status, reply.error) == (403, "DENIED")
    assert "s3cret" not in reply.message + caplog.text


def test_a_groups_own_credentials_count_and_keep_its_cache(
    start: Start, registry: FakeRegistry, hello: Image, password: Path
) -> None:
    registry.basic = "group:s3cret"
    own = f"credentials: {{docker.io: {{username: group, password_file: {password}}}}}"
    server = start(group=own)
    assert server.manifest("hello", "latest").status == 200
    other = server.ask("/v2/other/dependency_proxy/containers/hello/manifests/latest")
    assert other.status == 404
    server.stop()
    assert start().manifest("hello", hello.index).cache == "hit"


def test_a_password_may_come_from_the_environment(
    start: Start, registry: FakeRegistry, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_PASSWORD", "from-env")
    registry.basic = "me:from-env"
    server = start(extra="username: me\npassword_env: UPSTREAM_PASSWORD")
    assert server.manifest("hello", "latest").status == 200


# -- allow and deny ----------------------------------------------------------------------------

PATHS = (
    "manifests/latest",
    f"blobs/sha256:{'a' * 64}",
    "tags/list",
    f"referrers/sha256:{'a' * 64}",
)


@pytest.mark.parametrize("resource", PATHS)
@pytest.mark.parametrize(
    "name", ["hello", "library/hello", "docker.io/hello", "index.docker.io/library/hello"]
)
@pytest.mark.parametrize(
    "rule", ["deny: [hello]", "deny: [docker.io/library/*]", "allow: [acme/*, quay.io/*]"]
)
def test_what_a_rule_forbids_is_403_by_every_name(
    start: Start, registry: FakeRegistry, hello: Image, resource: str, name: str, rule: str
) -> None:
    reply = start(group=rule).ask(f"{PREFIX}/{name}/{resource}")
    assert (reply.status, reply.error) == (403, "DENIED")
    assert rule[:4] in reply.message
    assert not registry.requests


def test_a_rule_counts_for_what_is_cached_too(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    server = start()
    server.manifest("hello", "latest")
    server.stop()
    again = start(group="deny: [library/hello]")
    assert again.manifest("hello", hello.index).status == 403
    again.stop()
    assert start(group="allow: ['hello']").manifest("hello", "latest").status == 200


def test_a_proxy_on_the_way_out_is_asked_for_everything(
    start: Start, registry: FakeRegistry, hello: Image
) -> None:
    async def forward(exchange: behaviours.Exchange) -> None:
        await registry.answer_honestly(exchange)

    with FakeRegistry() as proxy:
        proxy.misbehave(forward)
        server = start(extra=f"proxy: {proxy.url}", upstream="http://registry.invalid")
        assert server.manifest("hello", "latest").status == 200
        assert server.blob("hello", next(iter(hello.blobs))).status == 200
        assert {seen.headers["host"] for seen in proxy.requests} == {"registry.invalid"}


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "2130706433", "[::1]"])
def test_behind_a_proxy_redirects_to_literal_addresses_are_checked(start: Start, host: str) -> None:
    with FakeRegistry() as proxy:
        proxy.misbehave(behaviours.redirect(f"http://{host}/secret"))
        server = start(extra=f"proxy: {proxy.url}", upstream="http://registry.invalid")
        assert server.manifest("hello", "latest").status == 502
        assert all("secret" not in seen.path for seen in proxy.requests)
