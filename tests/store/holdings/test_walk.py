"""Whoever is told of every change, and whoever walks meanwhile, ends as the files are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.store.holdings import Totals
from depproxy.store.inventory import Selection
from tests.store.holdings.files import (
    ALPINE,
    BODIES,
    CHANGES,
    DIGESTS,
    KEYS,
    LATEST,
    OLD,
    SIZES,
    Change,
    Files,
    change,
    expected,
    new_holdings,
    reference,
    seen,
)


@given(st.lists(CHANGES, max_size=25))
def test_whoever_is_told_of_every_change_needs_no_walk(changes: list[Change]) -> None:
    files, holdings = Files(), new_holdings()
    for what in changes:
        change(files, what, holdings)
    assert seen(holdings) == expected(files)


@given(st.lists(CHANGES, max_size=15))
def test_a_walk_alone_sees_what_is_there(changes: list[Change]) -> None:
    files, holdings = Files(), new_holdings(exact=False)
    for what in changes:
        change(files, what)
    with holdings.counting() as counting:
        for step in files.walk(counting):
            step()
        files.read_bodies(counting)
        counting.complete = True
    assert holdings.is_exact
    assert seen(holdings) == expected(files)


@settings(max_examples=300)
@given(st.lists(CHANGES, max_size=12), st.data())
def test_a_walk_and_what_happens_meanwhile_end_as_the_files_are(
    before: list[Change], data: st.DataObject
) -> None:
    """The walk has looked at everything when the changes begin, and tells of it between them."""
    files, holdings = Files(), new_holdings(exact=False)
    for what in before:
        change(files, what)
    with holdings.counting() as counting:
        for step in files.walk(counting):
            for what in data.draw(st.lists(CHANGES, max_size=2)):
                change(files, what, holdings)
            step()
        for what in data.draw(st.lists(CHANGES, max_size=4)):
            change(files, what, holdings)
        files.read_bodies(counting)
        counting.complete = True
    assert seen(holdings) == expected(files)


def test_a_tag_that_went_while_the_walk_had_it_in_hand_does_not_come_back() -> None:
    holdings = new_holdings(exact=False)
    with holdings.counting() as counting:
        holdings.drop(Selection(ALPINE, tags=[LATEST]))
        counting.found_tag(reference("m0", LATEST))
        counting.complete = True
    assert not holdings.ask(lambda inventory: inventory.graph.is_used(KEYS["m0"]))


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_digest_that_went_while_the_walk_had_it_in_hand_does_not_come_back(
    is_whole: bool,
) -> None:
    holdings = new_holdings(exact=False)
    selection = Selection(ALPINE, is_whole=True)
    with holdings.counting() as counting:
        holdings.drop(selection if is_whole else Selection(ALPINE, digests=[DIGESTS["m0"]]))
        counting.found_digest(reference("m0"))
        counting.complete = True
    assert not holdings.ask(lambda inventory: inventory.graph.is_used(KEYS["m0"]))


def test_a_tag_that_came_again_after_it_went_is_there() -> None:
    holdings = new_holdings(exact=False)
    with holdings.counting() as counting:
        holdings.drop(Selection(ALPINE, is_whole=True))
        holdings.set_tag(reference("m1", LATEST))
        counting.found_tag(reference("m0", LATEST))
        counting.complete = True
    assert holdings.ask(lambda inventory: inventory.graph.is_used(KEYS["m1"]))
    assert not holdings.ask(lambda inventory: inventory.graph.is_used(KEYS["m0"]))


def test_a_blob_that_went_and_came_meanwhile_is_there() -> None:
    holdings = new_holdings(exact=False)
    with holdings.counting() as counting:
        for _ in range(2):
            holdings.remove_blob(DIGESTS["l0"])
            counting.found_blob(KEYS["l0"], 100, None)
            assert counting.inventory.blobs == {}
            holdings.add_blob(DIGESTS["l0"], 100)
        counting.complete = True
    assert holdings.totals() == Totals(0, 1, 100, exact=True)


def test_a_body_that_went_while_the_walk_had_it_in_hand_leads_nowhere() -> None:
    holdings = new_holdings(exact=False)
    with holdings.counting() as counting:
        counting.found_blob(KEYS["m0"], SIZES["m0"], None)
        counting.found_tag(reference("m0", LATEST))
        assert counting.unread() == [KEYS["m0"]]
        holdings.remove_blob(DIGESTS["m0"])
        counting.found_body(KEYS["m0"], BODIES["m0"])
        counting.complete = True
    assert not holdings.ask(lambda inventory: inventory.graph.is_used(KEYS["l0"]))


@given(st.lists(CHANGES, max_size=12), st.lists(CHANGES, max_size=6))
def test_a_walk_that_was_given_up_changes_nothing(
    before: list[Change], meanwhile: list[Change]
) -> None:
    files, holdings = Files(), new_holdings(exact=False)
    for what in before:
        change(files, what, holdings)
    with holdings.counting() as counting:
        counting.found_blob(KEYS["l3"], 10**6, 5)
        counting.found_tag(reference("m2", OLD))
        for what in meanwhile:
            change(files, what, holdings)
    assert not holdings.is_exact
    assert seen(holdings) == expected(files)


def test_a_walk_that_breaks_changes_nothing_and_tells_why() -> None:
    holdings = new_holdings(exact=False)
    holdings.add_blob(DIGESTS["l0"], 100)

    def break_off() -> None:
        with holdings.counting() as counting:
            counting.found_blob(KEYS["l1"], 100, None)
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        break_off()
    assert holdings.totals() == Totals(0, 1, 100, exact=False)
    holdings.add_blob(DIGESTS["l2"], 100)
    assert holdings.totals().blobs == 2


def test_of_two_walks_the_later_one_counts() -> None:
    holdings = new_holdings(exact=False)
    with holdings.counting() as slow:
        with holdings.counting() as quick:
            quick.found_blob(KEYS["l0"], 100, None)
            quick.complete = True
        slow.found_blob(KEYS["l1"], 100, None)
        slow.complete = True
    assert holdings.totals() == Totals(0, 1, 100, exact=True)
    assert holdings.size(KEYS["l0"]) == 100


def test_one_caller_counts_and_another_one_only_when_there_is_doubt() -> None:
    holdings = new_holdings(exact=False)
    assert [holdings.claim() for _ in range(3)] == [True, False, False]
    assert holdings.doubt()
    assert not holdings.is_exact
    assert not holdings.claim()


def test_a_new_tree_needs_no_count() -> None:
    holdings = new_holdings()
    assert not holdings.claim()
    assert holdings.totals() == Totals(0, 0, 0, exact=True)
