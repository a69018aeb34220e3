"""Which upstream and which image a request means: named, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.cache.upstream_choice import Choice, UpstreamNames
from depproxy.config import GroupConfig, UpstreamConfig
from depproxy.errors import NameInvalid, NameUnknown
from depproxy.oci.names import GroupName, ImageName

NAMES = UpstreamNames(
    {
        upstream.name: upstream
        for upstream in (
            UpstreamConfig(
                "docker.io",
                "https://registry-1.docker.io",
                aliases=("index.docker.io", "registry-1.docker.io", "hub"),
            ),
            UpstreamConfig("quay.io", "https://quay.io", aliases=("quay:5000", "q.example:443")),
            UpstreamConfig("gcr.io", "https://gcr.io"),
        )
    }
)
GROUP = GroupConfig(GroupName("acme"), upstreams=("docker.io", "quay.io"))
OWN = ("proxy.example.org:8443", "proxy.example.org:443")


def choose(name: str, ns: str | None = None, group: GroupConfig = GROUP) -> Choice:
    return NAMES.choose(group, name, ns, OWN)


@pytest.mark.parametrize(
    "name",
    [
        "alpine",
        "library/alpine",
        "docker.io/alpine",
        "docker.io/library/alpine",
        "index.docker.io/alpine",
        "registry-1.docker.io/library/alpine",
    ],
)
def test_docker_hubs_official_images_have_one_name(name: str) -> None:
    assert choose(name) == Choice("docker.io", ImageName("library/alpine"))
    assert choose(name, ns="docker.io") == choose(name)


def test_library_is_added_for_docker_hub_only() -> None:
    group = GroupConfig(GroupName("acme"), upstreams=("quay.io",))
    assert choose("alpine", group=group) == Choice("quay.io", ImageName("alpine"))
    assert choose("quay.io/alpine").image == "alpine"
    assert choose("alpine", ns="quay.io").image == "alpine"


@pytest.mark.parametrize("name", ["linuxserver/nextcloud", "a/b/c"])
def test_without_a_host_the_groups_first_upstream_is_meant(name: str) -> None:
    assert (choose(name).upstream, choose(name).image) == ("docker.io", name)


def test_a_first_component_with_a_dot_is_the_upstreams_host() -> None:
    found = choose("quay.io/prometheus/node-exporter")
    assert (found.upstream, found.image) == ("quay.io", "prometheus/node-exporter")


def test_an_alias_without_a_dot_is_a_part_of_the_name_where_no_ns_is_given() -> None:
    assert choose("hub/alpine").image == "hub/alpine"


@pytest.mark.parametrize(
    ("name", "ns"),
    [
        ("gcr.io/google/pause", None),
        ("ghcr.io/a/b", None),
        ("alpine.example", None),
        ("alpine", "gcr.io"),
        ("alpine", "evil.example"),
        ("alpine", "quay.io:8443"),
        ("alpine", "quay"),
        ("alpine", "docker.io:80"),
        ("alpine", "\x00"),
        ("alpine", " docker.io"),
    ],
)
def test_an_upstream_that_the_group_does_not_list_is_unknown_and_those_it_has_are_named(
    name: str, ns: str | None
) -> None:
    with pytest.raises(NameUnknown, match=r"acme .*docker\.io, quay\.io"):
        choose(name, ns)


@pytest.mark.parametrize(
    ("ns", "upstream"),
    [
        ("docker.io", "docker.io"),
        ("docker.io:443", "docker.io"),
        ("DOCKER.IO", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("hub", "docker.io"),
        ("quay.io", "quay.io"),
        ("quay:5000", "quay.io"),
        ("q.example", "quay.io"),
        ("q.example:443", "quay.io"),
    ],
)
def test_ns_names_the_upstream_by_its_key_or_an_alias(ns: str, upstream: str) -> None:
    assert choose("a/b", ns) == Choice(upstream, ImageName("a/b"))


@pytest.mark.parametrize(
    "ns", ["proxy.example.org:8443", "Proxy.Example.org:8443", "proxy.example.org"]
)
def test_ns_that_names_this_server_counts_as_none(ns: str) -> None:
    assert choose("alpine", ns) == choose("alpine")
    assert choose("quay.io/a/b", ns) == choose("quay.io/a/b")


def test_ns_that_names_another_port_of_this_host_is_another_upstream() -> None:
    with pytest.raises(NameUnknown):
        choose("alpine", "proxy.example.org:5000")


@pytest.mark.parametrize("name", ["quay.io/a/b", "q.example/a/b"])
def test_with_ns_the_same_upstreams_host_is_taken_off(name: str) -> None:
    found = choose(name, ns="quay.io")
    assert (found.upstream, found.image) == ("quay.io", "a/b")


@pytest.mark.parametrize("name", ["docker.io/a/b", "gcr.io/a/b", "hub/a"])
def test_with_ns_a_known_host_of_another_upstream_is_a_contradiction(name: str) -> None:
    with pytest.raises(NameUnknown):
        choose(name, ns="quay.io")


def test_with_ns_any_other_host_belongs_to_the_images_name() -> None:
    group = GroupConfig(GroupName("acme"), upstreams=("gcr.io",))
    found = choose("google.com/cloudsdktool/google-cloud-cli", ns="gcr.io", group=group)
    assert (found.upstream, found.image) == ("gcr.io", "google.com/cloudsdktool/google-cloud-cli")


@pytest.mark.parametrize(("name", "ns"), [("docker.io", None), ("quay.io", "quay.io")])
def test_a_host_alone_is_no_image(name: str, ns: str | None) -> None:
    with pytest.raises(NameInvalid):
        choose(name, ns)


@pytest.mark.parametrize("name", ["", "Alpine", "quay.io:443/a", "a//b", "quay.io/", "a" * 256])
@pytest.mark.parametrize("ns", [None, "quay.io"])
def test_a_name_follows_the_grammar(name: str, ns: str | None) -> None:
    with pytest.raises(NameInvalid):
        choose(name, ns)


PARTS = st.sampled_from(["docker.io", "quay.io", "gcr.io", "hub", "library", "alpine", "a.b", "A"])


@given(
    st.lists(PARTS, max_size=4).map("/".join) | st.text(),
    st.none() | PARTS | st.sampled_from(["quay:5000", *OWN]) | st.text(),
)
def test_whatever_is_asked_the_upstream_is_one_of_the_groups(name: str, ns: str | None) -> None:
    try:
        found = choose(name, ns)
    except (NameInvalid, NameUnknown):
        return
    assert found.upstream in GROUP.upstreams
    assert choose(f"{found.upstream}/{found.image}") == found
    if ns and ns not in OWN:
        assert NAMES.owner(ns) == found.upstream
