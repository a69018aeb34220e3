"""Holdings that several threads change at once."""

from concurrent.futures import ThreadPoolExecutor

from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Selection
from depproxy.store.shared import SharedFiles
from tests.store.holdings.files import (
    ALPINE,
    BODIES,
    DIGESTS,
    KEYS,
    LAYERS,
    SIZES,
    TAGS,
    never,
    new_holdings,
    reference,
)


def test_threads_that_change_everything_at_once_leave_no_trace() -> None:
    """Adders, removers, counters and questioners; at the end all is removed."""
    pair = [Holdings(shared := SharedFiles(), exact=True), Holdings(shared, exact=True)]

    def work(number: int) -> None:
        one, other = pair if number % 2 else reversed(pair)
        name = f"m{number % 3}"
        tag = TAGS[number % 2]
        for _ in range(40):
            one.add_blob(DIGESTS[name], SIZES[name])
            one.learn(DIGESTS[name], BODIES[name])
            one.set_digest(reference(name))
            one.set_tag(reference(name, tag))
            for layer in LAYERS:
                one.add_blob(DIGESTS[layer], 100)
                for holdings in (one, other):
                    holdings.share(DIGESTS[layer], LAYERS.index(layer))
            with one.counting() as counting:
                counting.found_blob(KEYS[name], SIZES[name], None)
                counting.complete = number % 3 == 0
            assert one.totals().size >= 0
            unused, amount = one.drop(Selection(ALPINE, is_whole=True))
            assert amount.manifests + amount.blobs == len(unused)
            for key in unused:
                one.take(key, never, lambda: True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for holdings in pair:
        holdings.drop(Selection(ALPINE, is_whole=True))
        for key in holdings.sizes():
            assert holdings.take(key, never, lambda: True)
    for holdings in pair:
        totals = holdings.totals()
        assert (totals.manifests, totals.blobs, totals.size) == (0, 0, 0)
        assert not holdings.ask(lambda inventory: any(map(inventory.graph.is_used, KEYS.values())))
        assert holdings.shared_size() == 0


def test_of_threads_that_remove_one_blob_one_does() -> None:
    holdings = new_holdings()
    holdings.add_blob(DIGESTS["l0"], 100)
    there = [True]

    def move() -> bool:
        return there.pop() if there else False

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: holdings.take(KEYS["l0"], never, move), range(8)))
    assert taken.count(True) == 1
