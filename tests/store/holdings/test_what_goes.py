"""What is summed up before it goes, and what is not taken."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from depproxy.oci.names import ImageName
from depproxy.store.holdings import Holdings, Totals
from depproxy.store.inventory import Selection
from depproxy.store.repository import Repository
from tests.store.holdings.files import (
    ALPINE,
    BODIES,
    DIGESTS,
    KEYS,
    LATEST,
    SIZES,
    TAGS,
    Files,
    never,
    reference,
)


@pytest.fixture
def full(holdings: Holdings) -> Holdings:
    """``a`` is m0, ``b`` is m1; they share two layers."""
    files = Files()
    for name in ("m0", "m1", "l0", "l1", "l2", "shared"):
        files.add_blob(name, holdings)
    for tag, name in zip(TAGS, ("m0", "m1"), strict=True):
        files.set_tag(tag, name, holdings)
        files.set_digest(name, holdings)
    return holdings


def test_adding_twice_is_adding_once(full: Holdings) -> None:
    before = full.totals()
    full.add_blob(DIGESTS["l0"], SIZES["l0"])
    full.learn(DIGESTS["m0"], BODIES["m0"])
    full.set_tag(reference("m0", TAGS[0]))
    full.set_digest(reference("m0"))
    assert full.totals() == before
    unused, _ = full.drop(Selection(ALPINE, tags=[TAGS[0]], digests=[DIGESTS["m0"]]))
    assert set(unused) == {KEYS["m0"], KEYS["l0"]}


def test_what_goes_is_summed_up_without_what_others_need(full: Holdings) -> None:
    assert full.totals() == Totals(2, 4, 400 + SIZES["m0"] + SIZES["m1"], exact=True)
    unused, amount = full.drop(Selection(ALPINE, tags=[TAGS[0]], digests=[DIGESTS["m0"]]))
    assert set(unused) == {KEYS["m0"], KEYS["l0"]}
    assert amount == Totals(1, 1, 100 + SIZES["m0"], exact=True)
    assert full.drop(Selection(ALPINE, is_whole=True))[1].blobs == 3


@pytest.mark.parametrize(
    "selection",
    [
        Selection(ALPINE, tags=[TAGS[0]], digests=[DIGESTS["m0"]]),
        Selection(ALPINE, tags=[TAGS[1]]),
        Selection(ALPINE, tags=[LATEST], digests=[DIGESTS["l0"]]),
        Selection(ALPINE, is_whole=True),
        Selection(Repository("docker.io", ImageName("library/nginx")), is_whole=True),
    ],
)
def test_what_would_go_is_what_goes(full: Holdings, selection: Selection) -> None:
    before = full.totals()
    would_go = full.amount(selection)
    assert full.totals() == before
    assert full.amount(selection) == would_go
    assert full.drop(selection)[1] == would_go


def test_what_is_not_on_disk_is_not_summed_up(full: Holdings) -> None:
    full.remove_blob(DIGESTS["l0"])
    unused, amount = full.drop(Selection(ALPINE, tags=[TAGS[0]], digests=[DIGESTS["m0"]]))
    assert unused == [KEYS["m0"]]
    assert amount == Totals(1, 0, SIZES["m0"], exact=True)


def test_what_something_leads_to_is_not_taken(full: Holdings) -> None:
    moved: list[str] = []
    for name in ("m0", "l0", "shared"):

        def move(name: str = name) -> bool:
            moved.append(name)
            return True

        assert not full.take(KEYS[name], never, move)
    assert moved == []


def test_what_is_protected_or_cannot_be_moved_is_not_taken(full: Holdings) -> None:
    full.drop(Selection(ALPINE, is_whole=True))
    before, left = full.sizes(), full.totals()
    assert not full.take(KEYS["l0"], lambda key: key == KEYS["l0"], lambda: True)
    assert not full.take(KEYS["l0"], never, lambda: False)
    assert full.sizes() == before
    assert full.totals().size == left.size + before[KEYS["l0"]], "it stays, and so it counts"
    assert full.take(KEYS["l0"], never, lambda: True)
    assert full.size(KEYS["l0"]) == 0


def test_nobody_comes_between_the_question_and_the_taking(full: Holdings) -> None:
    full.drop(Selection(ALPINE, is_whole=True))
    began, told = threading.Event(), threading.Event()

    def point_again() -> None:
        began.set()
        full.set_tag(reference("m0", LATEST))
        told.set()

    with ThreadPoolExecutor(1) as pool:

        def move() -> bool:
            pool.submit(point_again)
            assert began.wait()
            return not told.is_set()

        assert full.take(KEYS["m0"], never, move)
    assert told.is_set()
    assert full.size(KEYS["m0"]) == 0
