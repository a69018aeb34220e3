"""Single values of the configuration: what they mean, and that anything else says what was
expected."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.config import Address, values

PARSERS: list[Callable[[Any], Any]] = [
    values.text,
    values.path,
    values.duration,
    values.positive_duration,
    values.token_lifetime,
    values.size,
    values.connections,
    values.host,
    values.registry_host,
    values.registry_alias,
    values.http_url,
    values.external_url,
    values.listen_address,
    values.trusted_proxy,
    values.variable,
    values.user,
    values.group_name,
    values.image_pattern,
]

SOUP = st.text("https://unix:[]@.%?#0123456789abcdsmhGiB- ")
ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | SOUP | st.binary()
) | st.lists(st.text())


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_any_value_is_parsed_or_raises_nothing_but_value_error(parse: Callable[[Any], Any]) -> None:
    @given(ANYTHING)
    def check(value: Any) -> None:
        with suppress(ValueError):
            parse(value)

    check()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0s", 0.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("12h", 43200.0),
        ("90d", 7776000.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
    ],
)
def test_a_duration_is_in_seconds(value: str, seconds: float) -> None:
    assert values.duration(value) == seconds


@pytest.mark.parametrize(
    "value", [30, 30.0, "30", "s", "-1s", "1w", "1 s", "1e3s", "1H", "1h30m", "٣s"]
)
def test_what_has_no_unit_or_another_one_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="duration such as 30s, 5m, 12h or 90d"):
        values.duration(value)


def test_some_durations_are_above_zero() -> None:
    assert values.positive_duration("1s") == 1
    with pytest.raises(ValueError):
        values.positive_duration("0s")


@pytest.mark.parametrize("value", ["299s", "4m", "0s", "1ms"])
def test_a_token_lives_at_least_five_minutes(value: str) -> None:
    assert values.token_lifetime("5m") == 300
    with pytest.raises(ValueError, match="5m"):
        values.token_lifetime(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0B", 0),
        ("1kB", 1000),
        ("500MB", 500_000_000),
        ("2TB", 2 * 10**12),
        ("1KiB", 1024),
        ("50GiB", 50 * 2**30),
        ("1.5GiB", 3 * 2**29),
    ],
)
def test_a_size_is_in_bytes(value: str, size: int) -> None:
    assert values.size(value) == size


@pytest.mark.parametrize("value", [500, "500", "MB", "-1MB", "5mb", "5Gi", "5 EiB", "5GiB "])
def test_what_has_no_unit_or_another_one_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="500MB or 50GiB"):
        values.size(value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.1:8080", Address(host="127.0.0.1", port=8080)),
        ("localhost:80", Address(host="localhost", port=80)),
        ("[::1]:8080", Address(host="::1", port=8080)),
        ("unix:/run/depproxy.sock", Address(unix="/run/depproxy.sock")),
    ],
)
def test_an_address_to_listen_on_reads_back_as_it_was_written(value: str, address: Address) -> None:
    assert values.listen_address(value) == address
    assert str(address) == value


@pytest.mark.parametrize(
    "value",
    [8080, "8080", ":8080", "::1:8080", "host", "host:", "h:x", "h:65536", "unix:", "unix:x"],
)
def test_what_has_no_host_or_port_is_no_address_to_listen_on(value: object) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:8080"):
        values.listen_address(value)


@pytest.mark.parametrize("value", ["https://registry.example.org", "http://10.0.0.1:5000/path"])
def test_a_url_is_kept_without_its_last_slash(value: str) -> None:
    assert values.http_url(value) == value
    assert values.http_url(f"{value}/") == value


@pytest.mark.parametrize(
    "value",
    [
        "registry.example.org",
        "ftp://registry.example.org",
        "https://",
        "https:///path",
        "https://host:0",
        "https://host:99999",
        "https://host/?query=1",
        "https://host/#fragment",
        "https://ho st",
        "https://[::1",
    ],
)
def test_another_scheme_a_query_or_no_host_is_no_url(value: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        values.http_url(value)


def test_a_url_carries_no_credentials() -> None:
    with pytest.raises(ValueError, match="credentials"):
        values.http_url("https://user:password@registry.example.org")


def test_an_external_url_has_no_path() -> None:
    assert (
        values.external_url("https://proxy.example.org:8443/") == "https://proxy.example.org:8443"
    )
    with pytest.raises(ValueError, match="without a path"):
        values.external_url("https://proxy.example.org/cache")


@pytest.mark.parametrize("value", ["docker.io", "registry.example.org", "127.0.0.1"])
def test_an_upstream_has_a_dotted_host_name(value: str) -> None:
    assert values.registry_host(value) == value


@pytest.mark.parametrize(
    "value", ["", "localhost", "docker.io:443", "Docker.io", "a..b", "-a.b", "a_b.c"]
)
def test_an_upstreams_name_has_a_dot_no_capitals_and_no_port(value: str) -> None:
    with pytest.raises(ValueError, match="host name with a dot"):
        values.registry_host(value)


@pytest.mark.parametrize("value", ["quay.io", "registry:5000", "10.0.0.1:443", "mirror"])
def test_an_alias_may_carry_a_port(value: str) -> None:
    assert values.registry_alias(value) == value


@pytest.mark.parametrize("value", ["", "host:", "host:0", "host:99999", "host:x", "host/path"])
def test_an_alias_is_a_host_with_a_real_port(value: str) -> None:
    with pytest.raises(ValueError):
        values.registry_alias(value)


@pytest.mark.parametrize(
    ("value", "host"),
    [("Auth.Docker.io", "auth.docker.io"), ("[::1]", "::1"), ("::1", "::1"), ("cdn", "cdn")],
)
def test_a_trusted_host_is_a_name_or_an_address(value: str, host: str) -> None:
    assert values.host(value) == host


@pytest.mark.parametrize(
    "value", ["", "*.docker.io", "auth.docker.io:443", "https://auth.docker.io"]
)
def test_a_trusted_host_is_one_exact_name(value: str) -> None:
    with pytest.raises(ValueError):
        values.host(value)


@pytest.mark.parametrize("value", [0, -1, 10_001, True, "64", 1.5])
def test_connections_are_a_whole_number_in_reason(value: object) -> None:
    assert values.connections(64) == 64
    with pytest.raises(ValueError):
        values.connections(value)


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("unix", "unix"),
    ],
)
def test_a_proxy_is_trusted_by_address_network_or_as_unix(value: str, network: str) -> None:
    assert values.trusted_proxy(value) == network


def test_a_path_is_not_empty_and_holds_no_nul() -> None:
    assert values.path("data") == Path("data")
    for value in ("", "a\0b", 5):
        with pytest.raises(ValueError):
            values.path(value)


@pytest.mark.parametrize("value", ["acme", "acme/platform"])
def test_a_group_has_a_name_of_the_grammar(value: str) -> None:
    assert values.group_name(value) == value


@pytest.mark.parametrize("value", ["", "Acme", "acme/", "acme/dependency_proxy", "-", 5, None])
def test_any_other_name_of_a_group_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="acme/platform"):
        values.group_name(value)
