"""What a tag's pointer becomes when something is learned, and how long a stale one is served."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.cache.staleness import may_serve_stale
from depproxy.cache.tags import announced, arrived, gone
from depproxy.config import GroupConfig
from depproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, Descriptor
from depproxy.oci.names import GroupName
from depproxy.store.pointer_format import TagPointer

OLD, NEW, NEWEST = (
    Descriptor(Digest.of(body), OCI_INDEX, len(body)) for body in (b"a", b"bb", b"ccc")
)
MANIFESTS = st.sampled_from([OLD, NEW, NEWEST])
POINTERS = st.none() | st.builds(
    TagPointer, st.none() | MANIFESTS, st.none() | MANIFESTS, st.booleans()
)
GROUP = GroupConfig(GroupName("acme"))
HOUR = 3600.0
FAILURES: list[UpstreamError] = [
    UpstreamFailed("u", "x", 503),
    UpstreamLimited("u", "x"),
    UpstreamTimeout("u", "x"),
    UpstreamUnreachable("u", "x"),
]
SLOW = UpstreamTimeout("u", "x")
REFUSED = UpstreamRefused("u", "x")


def newest(pointer: TagPointer) -> Descriptor | None:
    """What the upstream named last."""
    return pointer.announced or pointer.current


@pytest.mark.parametrize("pointer", [None, TagPointer(current=OLD), TagPointer(OLD, NEW)])
def test_a_manifest_on_disk_becomes_the_current_one_at_once(pointer: TagPointer | None) -> None:
    assert announced(pointer, NEWEST, on_disk=True) == TagPointer(current=NEWEST)


@pytest.mark.parametrize(
    ("pointer", "current"),
    [(None, None), (TagPointer(current=OLD), OLD), (TagPointer(OLD, NEW), OLD)],
)
def test_a_manifest_that_is_not_on_disk_is_announced_beside_the_current_one(
    pointer: TagPointer | None, current: Descriptor | None
) -> None:
    assert announced(pointer, NEWEST, on_disk=False) == TagPointer(current, NEWEST)


def test_a_tag_that_returns_to_its_current_manifest_announces_nothing() -> None:
    for on_disk in (True, False):
        assert announced(TagPointer(OLD, NEW), OLD, on_disk) == TagPointer(current=OLD)


@given(POINTERS, MANIFESTS, st.booleans())
def test_what_the_upstream_named_last_is_the_newest_and_the_tag_is_alive(
    pointer: TagPointer | None, manifest: Descriptor, on_disk: bool
) -> None:
    found = announced(pointer, manifest, on_disk)
    assert newest(found) == manifest
    assert not found.gone
    assert announced(found, manifest, on_disk) == found


@given(POINTERS, MANIFESTS)
def test_only_a_body_on_disk_makes_a_manifest_the_current_one(
    pointer: TagPointer | None, manifest: Descriptor
) -> None:
    before = pointer.current if pointer else None
    assert announced(pointer, manifest, on_disk=False).current == before


def test_an_announced_manifest_that_arrives_is_the_current_one() -> None:
    assert arrived(TagPointer(OLD, NEW), NEW.digest) == TagPointer(current=NEW)
    assert arrived(TagPointer(announced=NEW), NEW.digest) == TagPointer(current=NEW)


@pytest.mark.parametrize("pointer", [None, TagPointer(current=OLD), TagPointer(OLD, NEW)])
def test_any_other_manifest_that_arrives_changes_nothing(pointer: TagPointer | None) -> None:
    assert arrived(pointer, NEWEST.digest) == pointer


@given(POINTERS, MANIFESTS)
def test_an_arrival_neither_revives_a_tag_nor_changes_what_is_newest(
    pointer: TagPointer | None, manifest: Descriptor
) -> None:
    found = arrived(pointer, manifest.digest)
    assert (found is None) == (pointer is None)
    if found and pointer:
        assert (found.gone, newest(found)) == (pointer.gone, newest(pointer))


@given(POINTERS)
def test_a_tag_that_is_gone_keeps_what_it_meant(pointer: TagPointer | None) -> None:
    found = gone(pointer)
    assert found == (replace(pointer, gone=True) if pointer else None)
    assert gone(found) == found


@given(POINTERS, MANIFESTS, st.booleans())
def test_only_a_new_announcement_revives_a_tag(
    pointer: TagPointer | None, manifest: Descriptor, on_disk: bool
) -> None:
    dead = gone(pointer)
    still = arrived(dead, manifest.digest)
    assert still is None or still.gone
    assert not announced(still, manifest, on_disk).gone


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("last_checked", [None, 0.0])
def test_without_a_limit_a_failure_is_bridged_for_ever(
    error: UpstreamError, last_checked: float | None
) -> None:
    assert may_serve_stale(error, GROUP, last_checked, 10**9)


@pytest.mark.parametrize("error", [*FAILURES, REFUSED])
def test_stale_for_counts_from_the_last_good_answer(error: UpstreamError) -> None:
    group = replace(GROUP, stale_for=HOUR)
    assert may_serve_stale(error, group, 1000, 1000 + HOUR)
    assert not may_serve_stale(error, group, 1000, 1001 + HOUR)


def test_a_refusal_counts_at_most_refused_stale_for() -> None:
    assert may_serve_stale(REFUSED, GROUP, 1000, 1000 + 24 * HOUR)
    assert not may_serve_stale(REFUSED, GROUP, 1000, 1001 + 24 * HOUR)


def test_a_refusal_is_bridged_no_longer_than_any_failure() -> None:
    group = replace(GROUP, stale_for=HOUR, refused_stale_for=2 * HOUR)
    assert not may_serve_stale(REFUSED, group, 1000, 1001 + HOUR)
    group = replace(GROUP, stale_for=HOUR, refused_stale_for=0.0)
    assert not may_serve_stale(REFUSED, group, 1000, 1001)


def test_with_a_limit_and_no_good_answer_on_record_nothing_stale_is_served() -> None:
    assert not may_serve_stale(SLOW, replace(GROUP, stale_for=HOUR), None, 1000)
    assert not may_serve_stale(REFUSED, GROUP, None, 1000)


@given(
    st.sampled_from([*FAILURES, REFUSED]),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
    st.floats(0, 1e6),
)
def test_what_may_be_served_now_might_have_been_served_before(
    error: UpstreamError,
    stale_for: float | None,
    refused_stale_for: float,
    checked: float,
    age: float,
) -> None:
    group = replace(GROUP, stale_for=stale_for, refused_stale_for=refused_stale_for)
    if may_serve_stale(error, group, checked, checked + age):
        assert may_serve_stale(error, group, checked, checked + age / 2)
