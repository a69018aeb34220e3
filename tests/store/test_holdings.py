"""The picture in memory: told of every change, counted anew meanwhile, and shared by threads."""

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.graph import Key
from depproxy.store.holdings import Counting, Holdings, Totals
from depproxy.store.inventory import Inventory, Reference, Selection, key_of
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles

ALPINE = Repository("docker.io", ImageName("library/alpine"))
LATEST, OLD = Tag("latest"), Tag("3.19")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def document(*layers: str) -> bytes:
    return json.dumps({"layers": [{"digest": digest(layer)} for layer in layers]}).encode()


BODIES = {f"m{number}": document(f"l{number}", f"l{number + 1}", "shared") for number in range(3)}
LAYERS = ["l0", "l1", "l2", "l3", "shared"]
DIGESTS = {name: Digest.of(body) for name, body in BODIES.items()} | {
    name: digest(name) for name in LAYERS
}
KEYS = {name: key_of(digest) for name, digest in DIGESTS.items()}
SIZES = {name: len(BODIES.get(name, b"")) or 100 for name in DIGESTS}
TAGS = [Tag("a"), Tag("b")]


def reference(name: str, tag: Tag | None = None, cached: float = 1000.0) -> Reference:
    found = Descriptor(DIGESTS[name], OCI_MANIFEST, SIZES[name])
    return Reference(ALPINE, tag or found.digest, found, cached)


@dataclass
class Files:
    """What is on disk, as a walk would see it, and as `Holdings` are told of it."""

    blobs: set[str] = field(default_factory=set)
    tags: dict[Tag, str] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)

    def add_blob(self, name: str, *told: Holdings) -> None:
        self.blobs.add(name)
        for holdings in told:
            holdings.add_blob(DIGESTS[name], SIZES[name])
            if name in BODIES:
                holdings.learn(DIGESTS[name], BODIES[name])

    def remove_blob(self, name: str, *told: Holdings) -> None:
        self.blobs.discard(name)
        for holdings in told:
            holdings.remove_blob(DIGESTS[name])

    def set_tag(self, tag: Tag, name: str, *told: Holdings) -> None:
        self.tags[tag] = name
        for holdings in told:
            holdings.set_tag(reference(name, tag))

    def set_digest(self, name: str, *told: Holdings) -> None:
        self.digests.add(name)
        for holdings in told:
            holdings.set_digest(reference(name))

    def drop(self, selection: Selection, *told: Holdings) -> None:
        for tag in TAGS if selection.is_whole else selection.tags:
            self.tags.pop(tag, None)
        self.digests -= {
            name
            for name in list(self.digests)
            if selection.is_whole or DIGESTS[name] in selection.digests
        }
        for holdings in told:
            holdings.drop(selection)

    def walk(self, counting: Counting) -> "list[Callable[[], None]]":
        """What a walk that has looked at all files by now is still to say of them."""
        steps: list[Callable[[], None]] = [
            lambda name=name: counting.found_blob(KEYS[name], SIZES[name], None)  # type: ignore[misc]
            for name in sorted(self.blobs)
        ]
        for tag, name in sorted(self.tags.items()):
            seen = reference(name, tag)
            steps.append(lambda seen=seen: counting.found_tag(seen))  # type: ignore[misc]
        for name in sorted(self.digests):
            seen = reference(name)
            steps.append(lambda seen=seen: counting.found_digest(seen))  # type: ignore[misc]
        return steps

    def read_bodies(self, counting: Counting) -> None:
        for key in counting.unread():
            for name in BODIES:
                if KEYS[name] == key and name in self.blobs:
                    counting.found_body(key, BODIES[name])


def seen(holdings: Holdings) -> object:
    """All that a picture tells, but for documents that no reference names: a walk reads none."""

    def look(inventory: Inventory) -> object:
        return (
            dict(inventory.blobs),
            inventory.total,
            {name for name in DIGESTS if inventory.graph.is_used(KEYS[name])},
            {name for name in DIGESTS if inventory.knows(reference(name))},
            {
                tag: sorted(inventory.selection(ALPINE, tag).digests)
                for tag in TAGS
                if inventory.knows(reference("m0", tag))
            },
        )

    return (
        holdings.ask(look),
        {(root.reference, root.descriptor.digest) for root in holdings.roots()},
        set(holdings.orphans(holdings.sizes())),
    )


def expected(files: Files) -> object:
    """The picture of a tree that has never held anything else."""
    fresh = new_holdings()
    for name in files.blobs:
        files.add_blob(name, fresh)
    for tag, name in files.tags.items():
        files.set_tag(tag, name, fresh)
    for name in files.digests:
        files.set_digest(name, fresh)
    return seen(fresh)


def new_holdings(*, exact: bool = True) -> Holdings:
    return Holdings(SharedFiles(), exact=exact)


@pytest.fixture
def holdings() -> Holdings:
    return new_holdings()


CHANGES = st.one_of(
    st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(sorted(DIGESTS)), st.none()),
    st.tuples(st.just("tag"), st.sampled_from(sorted(BODIES)), st.sampled_from(TAGS)),
    st.tuples(st.just("digest"), st.sampled_from(sorted(BODIES)), st.none()),
    st.tuples(st.just("drop tag"), st.just(""), st.sampled_from(TAGS)),
    st.tuples(st.just("drop digest"), st.sampled_from(sorted(BODIES)), st.none()),
    st.tuples(st.just("drop all"), st.just(""), st.none()),
)
Change = tuple[str, str, Tag | None]


def change(files: Files, what: Change, *told: Holdings) -> None:
    match what:
        case ("add", name, _):
            files.add_blob(name, *told)
        case ("remove", name, _):
            files.remove_blob(name, *told)
        case ("tag", name, Tag() as tag):
            files.set_tag(tag, name, *told)
        case ("digest", name, _):
            files.set_digest(name, *told)
        case ("drop tag", _, Tag() as tag):
            files.drop(Selection(ALPINE, tags=[tag]), *told)
        case ("drop digest", name, _):
            files.drop(Selection(ALPINE, digests=[DIGESTS[name]]), *told)
        case ("drop all", _, _):
            files.drop(Selection(ALPINE, is_whole=True), *told)


# -- the walk --------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(CHANGES, max_size=25))
def test_whoever_is_told_of_every_change_needs_no_walk(changes: list[Change]) -> None:
    files, holdings = Files(), new_holdings()
    for what in changes:
        change(files, what, holdings)
    assert seen(holdings) == expected(files)


@settings(deadline=None)
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


@settings(deadline=None, max_examples=300)
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
    assert not holdings.ask(lambda inventory: inventory.knows(reference("m0", LATEST)))


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


@settings(deadline=None)
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


# -- what goes -------------------------------------------------------------------------------


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


def never(_: Key) -> bool:
    return False


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
    before = full.totals()
    assert not full.take(KEYS["l0"], lambda key: key == KEYS["l0"], lambda: True)
    assert not full.take(KEYS["l0"], never, lambda: False)
    assert full.totals() == before
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


# -- files that several trees hold -----------------------------------------------------------

INODE = 77


@pytest.fixture
def pair() -> tuple[Holdings, Holdings]:
    """Two trees of one data folder."""
    shared = SharedFiles()
    return Holdings(shared, exact=True), Holdings(shared, exact=True)


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


# -- threads ---------------------------------------------------------------------------------


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
