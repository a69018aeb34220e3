"""How far an address is from here, and which of them a redirect may lead to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.upstream.addresses import Reach, may_follow, reach_of

ANY_REACH = st.sampled_from(Reach)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("10.0.0.1", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00:ec2::254", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.255.255.254", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("0.0.0.0", Reach.LOOPBACK),
        ("::", Reach.LOOPBACK),
        ("169.254.169.254", Reach.LINK_LOCAL),
        ("fe80::1", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("::ffff:169.254.169.254", Reach.LINK_LOCAL),
        ("::ffff:8.8.8.8", Reach.PUBLIC),
        ("64:ff9b::169.254.169.254", Reach.LINK_LOCAL),
        ("64:ff9b::10.0.0.1", Reach.PRIVATE),
    ],
)
def test_every_address_has_a_reach(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_as_itself(address: ipaddress.IPv4Address) -> None:
    assert reach_of(f"::ffff:{address}") is reach_of(str(address))
    assert reach_of(f"64:ff9b::{address}") is reach_of(str(address))


@given(st.ip_addresses(v=4))
def test_what_the_world_cannot_reach_is_not_public(address: ipaddress.IPv4Address) -> None:
    assert address.is_global or reach_of(str(address)) is not Reach.PUBLIC


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "10.0.0.1:80", "[::1]", "%eth0", "1"])
def test_what_is_no_literal_address_has_no_reach(text: str) -> None:
    with pytest.raises(ValueError):
        reach_of(text)


@given(st.none() | ANY_REACH, st.booleans())
def test_a_redirect_never_leads_to_a_link_local_address(
    upstream: Reach | None, listed: bool
) -> None:
    assert not may_follow(Reach.LINK_LOCAL, upstream, listed)


@given(st.none() | ANY_REACH, st.booleans())
def test_a_redirect_may_always_lead_to_a_public_address(
    upstream: Reach | None, listed: bool
) -> None:
    assert may_follow(Reach.PUBLIC, upstream, listed)


@pytest.mark.parametrize("target", [Reach.PRIVATE, Reach.LOOPBACK])
def test_a_near_address_is_followed_only_where_the_upstream_is_there_or_the_host_listed(
    target: Reach,
) -> None:
    for upstream in (None, *Reach):
        assert may_follow(target, upstream, host_is_listed=True)
        assert may_follow(target, upstream, host_is_listed=False) == (upstream is target)
