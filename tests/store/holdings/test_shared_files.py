"""Files that several trees hold."""

from collections.abc import Iterable

import pytest

from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Selection
from tests.store.holdings.files import ALPINE, DIGESTS, KEYS, LATEST, SIZES, Files

INODE = 77


def link(one: Holdings, other: Holdings) -> None:
    for holdings in (one, other):
        holdings.add_blob(DIGESTS["l0"], 100)
        holdings.share(DIGESTS["l0"], INODE)


def sizes(pair: Iterable[Holdings]) -> list[int]:
    return [holdings.totals().size for holdings in pair]


def test_a_shared_file_is_counted_where_the_last_link_goes(
    pair: tuple[Holdings, Holdings],
) -> None:
    link(*pair)
    assert sizes(pair) == [0, 0]
    assert [holdings.totals().blobs for holdings in pair] == [1, 1]
    assert [holdings.shared_size() for holdings in pair] == [100, 100]
    pair[0].remove_blob(DIGESTS["l0"])
    assert sizes(pair) == [0, 100]
    assert pair[1].shared_size() == 0


def test_linking_twice_is_linking_once(pair: tuple[Holdings, Holdings]) -> None:
    for _ in range(2):
        link(*pair)
    pair[1].remove_blob(DIGESTS["l0"])
    assert sizes(pair) == [100, 0]


def test_a_purge_of_a_group_frees_only_what_no_other_holds(
    pair: tuple[Holdings, Holdings],
) -> None:
    one, other = pair
    link(one, other)
    one.add_blob(DIGESTS["l1"], 100)
    assert one.totals().size == 100
    one.release()
    assert other.totals().size == 100


def test_a_purge_of_an_image_sums_up_only_what_no_other_group_holds(
    pair: tuple[Holdings, Holdings],
) -> None:
    for holdings in pair:
        files = Files()
        for name in ("m0", "l0", "l1", "shared"):
            files.add_blob(name, holdings)
        files.set_tag(LATEST, "m0", holdings)
    for holdings in pair:
        holdings.share(DIGESTS["l0"], INODE)
    _, amount = pair[0].drop(Selection(ALPINE, is_whole=True))
    assert amount.blobs + amount.manifests == 4
    assert amount.size == 200 + SIZES["m0"]


@pytest.mark.parametrize("walk_sees", [INODE, None], ids=["after", "before"])
def test_a_link_that_is_made_during_a_walk_is_known_after_it(
    pair: tuple[Holdings, Holdings], walk_sees: int | None
) -> None:
    """Whether the walk looked at the file after the link was made, or before."""
    one, other = pair
    with one.counting() as counting:
        link(one, other)
        counting.found_blob(KEYS["l0"], 100, walk_sees)
        counting.complete = True
    assert sizes(pair) == [0, 0]


def test_links_are_found_by_walks(pair: tuple[Holdings, Holdings]) -> None:
    for holdings in pair:
        with holdings.counting() as counting:
            counting.found_blob(KEYS["l0"], 100, INODE)
            counting.complete = True
    assert sizes(pair) == [0, 0]


def test_a_link_that_goes_during_a_walk_is_gone_after_it(
    pair: tuple[Holdings, Holdings],
) -> None:
    one, other = pair
    link(one, other)
    with one.counting() as counting:
        counting.found_blob(KEYS["l0"], 100, INODE)
        one.remove_blob(DIGESTS["l0"])
        counting.complete = True
    assert sizes(pair) == [0, 100]


def test_a_file_that_was_replaced_by_one_of_its_own_is_shared_no_longer(
    pair: tuple[Holdings, Holdings],
) -> None:
    """Another process has removed the link, and a fill has brought the blob again."""
    one, other = pair
    link(one, other)
    with one.counting() as counting:
        counting.found_blob(KEYS["l0"], 100, None)
        counting.complete = True
    assert sizes(pair) == [100, 100]


def test_a_link_that_a_walk_no_longer_finds_is_no_link(
    pair: tuple[Holdings, Holdings],
) -> None:
    one, other = pair
    link(one, other)
    with one.counting() as counting:
        counting.complete = True
    assert sizes(pair) == [0, 100]
