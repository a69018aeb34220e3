"""What has to go: least recently pulled first, no more than needed, and never what is protected."""

from collections.abc import Collection
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.cache.eviction import Entry, IdleBlob, Limits, choose, make_room, oversized

BLOBS = "abcdefgh"
NOW = 20.0

SIZES = st.integers(0, 500)
AGES = st.integers(0, 20).map(float)
"""Few, so that some are equal."""

_Entry = Entry[int, str]


@dataclass(frozen=True)
class Group:
    """What is on disk: ``sizes`` of blobs, each of which some entry leads to."""

    entries: list[_Entry]
    sizes: dict[str, int]
    protected: frozenset[str]

    def choose(self, limits: Limits) -> list[_Entry]:
        return choose(self.entries, self.sizes, self.protected, limits, NOW)

    def kept(self, chosen: Collection[_Entry]) -> list[_Entry]:
        return [entry for entry in self.entries if entry not in chosen]

    def stays(self, chosen: Collection[_Entry]) -> set[str]:
        """The blobs that kept entries lead to, and what is protected."""
        needed = {blob for entry in self.kept(chosen) for blob in entry.blobs}
        return (needed | self.protected) & self.sizes.keys()

    def size(self, blobs: Collection[str]) -> int:
        return sum(self.sizes[blob] for blob in blobs)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Entries that share blobs, one for each blob that no other leads to, and what is in use; some
    lead to what is not on disk."""
    reaches = draw(st.lists(st.frozensets(st.sampled_from(BLOBS), max_size=4), max_size=7))
    sizes = draw(st.dictionaries(st.sampled_from(BLOBS), st.integers(0, 100)))
    led = {blob for reach in reaches for blob in reach}
    reaches += [frozenset(blob) for blob in sizes if blob not in led]
    entries = [Entry(number, draw(AGES), reach) for number, reach in enumerate(reaches)]
    return Group(entries, sizes, draw(st.frozensets(st.sampled_from(BLOBS), max_size=3)))


GROUPS = groups()


@settings(max_examples=70)
@given(GROUPS, SIZES, st.none() | AGES)
def test_what_stays_is_at_most_max_size_besides_what_is_protected(
    group: Group, max_size: int, age: float | None
) -> None:
    """A blob that many lead to counts once."""
    chosen = group.choose(Limits(age, max_size))
    stays = group.stays(chosen)
    assert group.size(stays) <= max_size or group.size(stays - group.protected) == 0
    assert group.size(stays - group.protected) <= max_size


@settings(max_examples=70)
@given(GROUPS, SIZES)
def test_no_more_goes_than_has_to(group: Group, max_size: int) -> None:
    """Without the last of what goes, it would not have been enough."""
    chosen = group.choose(Limits(max_size=max_size))
    if chosen:
        assert group.size(group.stays(chosen[:-1])) > max_size
    else:
        assert group.size(group.stays([])) <= max_size or all(
            entry.blobs <= group.protected for entry in group.entries
        )


@settings(max_examples=70)
@given(GROUPS, SIZES, st.none() | AGES)
def test_the_least_recently_pulled_go_first(group: Group, max_size: int, age: float | None) -> None:
    chosen = group.choose(Limits(age, max_size))
    assert [entry.pulled for entry in chosen] == sorted(entry.pulled for entry in chosen)
    for kept in group.kept(chosen):
        if not kept.blobs <= group.protected:
            assert all(entry.pulled <= kept.pulled for entry in chosen)


@settings(max_examples=70)
@given(GROUPS, st.none() | SIZES, AGES)
def test_what_nobody_pulled_for_too_long_goes_and_nothing_else_without_a_size(
    group: Group, max_size: int | None, age: float
) -> None:
    old = [entry for entry in group.entries if NOW - entry.pulled > age]
    chosen = group.choose(Limits(age, max_size))
    assert all(entry in chosen for entry in old)
    if max_size is None:
        assert len(chosen) == len(old)


@settings(max_examples=70)
@given(GROUPS, SIZES)
def test_what_frees_nothing_is_passed_over(group: Group, max_size: int) -> None:
    for entry in group.choose(Limits(max_size=max_size)):
        assert entry.blobs - group.protected


@settings(max_examples=20)
@given(GROUPS)
def test_without_limits_nothing_goes(group: Group) -> None:
    assert not Limits()
    assert group.choose(Limits()) == []


@settings(max_examples=70)
@given(GROUPS, SIZES, AGES)
def test_whoever_has_chosen_once_has_nothing_to_choose_again(
    group: Group, max_size: int, age: float
) -> None:
    limits = Limits(age, max_size)
    chosen = group.choose(limits)
    stays = group.stays(chosen)
    left = {blob: size for blob, size in group.sizes.items() if blob in stays}
    assert choose(group.kept(chosen), left, group.protected, limits, NOW) == []


@settings(max_examples=70)
@given(GROUPS, SIZES, SIZES)
def test_a_smaller_limit_takes_no_less(group: Group, one: int, other: int) -> None:
    most, least = (group.choose(Limits(max_size=size)) for size in sorted((one, other)))
    assert [entry for entry in least if entry not in most] == []


def entry(name: int, pulled: float, blobs: str) -> _Entry:
    return Entry(name, pulled, frozenset(blobs))


def names(chosen: Collection[_Entry]) -> list[int]:
    return [found.name for found in chosen]


@pytest.mark.parametrize("limits", [Limits(expire_after=0.0), Limits(max_size=0)])
def test_a_limit_of_nothing_is_a_limit(limits: Limits) -> None:
    assert limits
    assert names(choose([entry(1, 10, "a")], {"a": 1}, (), limits, NOW)) == [1]


def test_what_was_pulled_just_so_long_ago_stays() -> None:
    entries = [entry(1, NOW - 10, "a"), entry(2, NOW - 10.5, "b")]
    assert names(choose(entries, {"a": 1, "b": 1}, (), Limits(expire_after=10), NOW)) == [2]


def test_a_blob_that_others_lead_to_is_freed_with_the_last_of_them() -> None:
    """So the younger ones have to go as well."""
    entries = [entry(1, 1, "ab"), entry(2, 2, "b"), entry(3, 3, "c")]
    sizes = {"a": 1, "b": 100, "c": 10}
    assert names(choose(entries, sizes, (), Limits(max_size=110), NOW)) == [1]
    assert names(choose(entries, sizes, (), Limits(max_size=50), NOW)) == [1, 2]


def test_what_is_protected_is_passed_over_and_a_younger_one_goes() -> None:
    entries = [entry(1, 1, "a"), entry(2, 2, "b"), entry(3, 3, "c")]
    sizes = dict.fromkeys("abc", 10)
    assert names(choose(entries, sizes, {"a"}, Limits(max_size=20), NOW)) == [2]
    assert names(choose(entries, sizes, {"a"}, Limits(max_size=0), NOW)) == [2, 3]


def test_what_is_protected_does_not_count_as_freed() -> None:
    entries = [entry(1, 1, "ab"), entry(2, 2, "c")]
    sizes = {"a": 100, "b": 1, "c": 50}
    assert names(choose(entries, sizes, {"a"}, Limits(max_size=120), NOW)) == [1, 2]


def test_what_is_old_goes_though_its_blobs_are_read_now() -> None:
    """Its blobs stay for the time being."""
    entries = [entry(1, 1, "a")]
    assert names(choose(entries, {"a": 1}, {"a"}, Limits(expire_after=10), NOW)) == [1]


@settings(max_examples=70)
@given(st.dictionaries(st.sampled_from(BLOBS), SIZES), st.sets(st.sampled_from(BLOBS)), SIZES)
def test_a_blob_larger_than_the_group_may_be_goes_unless_it_is_read(
    sizes: dict[str, int], busy: set[str], max_size: int
) -> None:
    found = set(oversized(sizes, busy, Limits(max_size=max_size)))
    assert found.isdisjoint(busy)
    assert found | busy >= {blob for blob, size in sizes.items() if size > max_size}
    assert all(sizes[blob] > max_size for blob in found)


def test_without_a_size_no_blob_is_too_large() -> None:
    assert oversized({"a": 10**15}, (), Limits(expire_after=0.0)) == []


IDLE: st.SearchStrategy[IdleBlob[str]] = st.builds(
    IdleBlob,
    AGES,
    st.integers(0, 100),
    st.lists(st.sampled_from(BLOBS), min_size=1, max_size=2),
)


@settings(max_examples=70)
@given(st.lists(IDLE), st.integers(-10, 500))
def test_room_is_made_by_the_least_recently_pulled_and_no_more_than_wanted(
    blobs: list[IdleBlob[str]], wanted: int
) -> None:
    chosen = make_room(blobs, wanted)
    assert [blob.used for blob in chosen] == sorted(blob.used for blob in blobs)[: len(chosen)]
    assert sum(blob.size for blob in chosen) >= wanted or len(chosen) == len(blobs)
    if chosen:
        assert sum(blob.size for blob in chosen[:-1]) < wanted


@pytest.mark.parametrize("wanted", [0, -5])
def test_where_there_is_room_none_is_made(wanted: int) -> None:
    assert make_room([IdleBlob(1.0, 10, "a")], wanted) == []
